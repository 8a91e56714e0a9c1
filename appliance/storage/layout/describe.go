package layout

import (
	"encoding/json"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// Describe makes the descriptor of a manifest in a list of referrers (OCI distribution
// specification 1.1, "Listing Referrers"), and gives what it refers to.
func Describe(dgst digest.Digest, data []byte) (desc v1.Descriptor, subject digest.Digest) {
	var m struct {
		MediaType    string            `json:"mediaType"`
		ArtifactType string            `json:"artifactType"`
		Annotations  map[string]string `json:"annotations"`
		Config       *v1.Descriptor    `json:"config"`
		Manifests    json.RawMessage   `json:"manifests"`
	}
	if json.Unmarshal(data, &m) != nil {
		return v1.Descriptor{}, ""
	}
	if m.MediaType == "" { // it may be left out
		m.MediaType = v1.MediaTypeImageManifest
		if m.Manifests != nil {
			m.MediaType = v1.MediaTypeImageIndex
		}
	}
	if m.ArtifactType == "" && m.Config != nil {
		m.ArtifactType = m.Config.MediaType
	}
	return v1.Descriptor{
		MediaType: m.MediaType, Digest: dgst, Size: int64(len(data)),
		ArtifactType: m.ArtifactType, Annotations: m.Annotations,
	}, ReferencesOf(data).Subject
}
