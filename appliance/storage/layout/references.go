package layout

import (
	"encoding/json"
	"regexp"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// References are what a manifest or an index says that it needs. Every digest is valid.
type References struct {
	Blobs     []v1.Descriptor // its config and its layers
	Manifests []v1.Descriptor // what an index lists: manifests, or layers of a build's cache
	Subject   digest.Digest   // what it refers to; empty: nothing
}

// ReferencesOf reads a manifest of Docker's or OCI's kinds. In what is none of them, or
// is damaged, each digest counts as that of a blob.
func ReferencesOf(data []byte) References {
	var m struct {
		Config    *v1.Descriptor  `json:"config"`
		Layers    []v1.Descriptor `json:"layers"`
		Blobs     []v1.Descriptor `json:"blobs"` // OCI's short-lived artifact manifest
		Manifests []v1.Descriptor `json:"manifests"`
		Subject   *v1.Descriptor  `json:"subject"`
		FSLayers  json.RawMessage `json:"fsLayers"`
	}
	err := json.Unmarshal(data, &m)
	var refs References
	if err == nil && m.Subject != nil && m.Subject.Digest.Validate() == nil {
		refs.Subject = m.Subject.Digest
	}
	if err != nil || m.FSLayers != nil || m.Config == nil && m.Layers == nil && m.Blobs == nil && m.Manifests == nil {
		refs.Blobs = anyIn(data)
		return refs
	}
	if m.Config != nil {
		m.Layers = append(m.Layers, *m.Config)
	}
	refs.Blobs, refs.Manifests = valid(append(m.Layers, m.Blobs...)), valid(m.Manifests)
	return refs
}

func valid(list []v1.Descriptor) (kept []v1.Descriptor) {
	for _, d := range list {
		if d.Digest.Validate() == nil {
			kept = append(kept, d)
		}
	}
	return kept
}

var anyDigest = regexp.MustCompile(`sha256:[0-9a-f]{64}|sha384:[0-9a-f]{96}|sha512:[0-9a-f]{128}`)

func anyIn(data []byte) (list []v1.Descriptor) {
	for _, found := range anyDigest.FindAll(data, -1) {
		list = append(list, v1.Descriptor{Digest: digest.Digest(found)})
	}
	return list
}
