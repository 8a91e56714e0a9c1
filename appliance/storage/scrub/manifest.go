package scrub

import (
	"encoding/json"
	"errors"

	"github.com/opencontainers/go-digest"
)

// reference is what a manifest needs.
type reference struct {
	kind   string // config, layer, manifest or subject
	digest digest.Digest
	size   int64 // bytes; -1 where the manifest does not say
}

// The kinds of references.
const (
	config   = "config"
	layer    = "layer"
	manifest = "manifest"
	subject  = "subject"
)

// largest is the size in bytes of the largest manifest that distribution accepts.
const largest = 4 << 20

type descriptor struct {
	Digest digest.Digest `json:"digest"`
	Size   *int64        `json:"size"`
	URLs   []string      `json:"urls"`
}

// references reads a manifest or an index of Docker's or OCI's kinds. Each digest
// is valid and comes once; layers that clients fetch from elsewhere are left out.
func references(data []byte) ([]reference, error) {
	var m struct {
		SchemaVersion int             `json:"schemaVersion"`
		Config        *descriptor     `json:"config"`
		Layers        []descriptor    `json:"layers"`
		Blobs         []descriptor    `json:"blobs"` // OCI's short-lived artifact manifest
		Manifests     []descriptor    `json:"manifests"`
		Subject       *descriptor     `json:"subject"`
		FSLayers      json.RawMessage `json:"fsLayers"`
	}
	if err := json.Unmarshal(data, &m); err != nil {
		return nil, errors.New("it is not JSON as manifests are")
	}
	if m.FSLayers != nil || m.SchemaVersion == 1 {
		return nil, errors.New("it is of schema 1, which no present registry serves")
	}
	if m.Config == nil && m.Layers == nil && m.Blobs == nil && m.Manifests == nil {
		return nil, errors.New("it is no manifest and no index")
	}
	var list []reference
	seen := map[digest.Digest]bool{}
	add := func(kind string, descriptors ...descriptor) error {
		for _, d := range descriptors {
			if err := d.Digest.Validate(); err != nil {
				return errors.New("a digest in it is not valid")
			}
			if seen[d.Digest] || kind == layer && len(d.URLs) > 0 {
				continue
			}
			seen[d.Digest] = true
			size := int64(-1)
			if d.Size != nil {
				size = *d.Size
			}
			list = append(list, reference{kind, d.Digest, size})
		}
		return nil
	}
	err := errors.Join(add(config, optional(m.Config)...), add(layer, m.Layers...), add(layer, m.Blobs...),
		add(manifest, m.Manifests...), add(subject, optional(m.Subject)...))
	if err != nil {
		return nil, errors.New("a digest in it is not valid")
	}
	return list, nil
}

func optional(d *descriptor) []descriptor {
	if d == nil {
		return nil
	}
	return []descriptor{*d}
}
