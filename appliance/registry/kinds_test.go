//go:build integration

package registry

import (
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// cacheExport is the index that buildctl --export-cache makes: its entries are
// layers and a configuration, not manifests.
func cacheExport(layers ...v1.Descriptor) v1.Index {
	return v1.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageIndex, Manifests: layers}
}

// No answer depends on what is cached, and blobs are not taken for manifests nor
// the other way round.
func TestAnswersDoNotDependOnTheCache(t *testing.T) {
	for name, cache := range map[string]func(m *machine){
		"no cache": func(*machine) {},
		"memory":   func(m *machine) { m.memory = true },
		"redis":    func(m *machine) { m.redis = startRedis(t).socket },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := newMachine(t)
			cache(m)
			m.extra = "validation: {manifests: {indexes: {platforms: all}}}\n"
			m.config(t, "error")
			m.start(t)
			data := noise(2000)
			layer := v1.Descriptor{MediaType: v1.MediaTypeImageLayer, Digest: m.pushBlob(t, "app", data), Size: 2000}
			image := v1.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageManifest,
				Config: v1.Descriptor{MediaType: v1.MediaTypeImageConfig, Digest: layer.Digest, Size: layer.Size}, Layers: []v1.Descriptor{layer}}
			a, imageDigest := m.putManifest(t, "app", "image", v1.MediaTypeImageManifest, image)
			if a.StatusCode != http.StatusCreated {
				t.Fatalf("the image: %s %s", a.Status, a.body)
			}
			missing := v1.Descriptor{MediaType: v1.MediaTypeImageLayer, Digest: digest.FromString("missing"), Size: 7}
			image.Layers[0].Digest = imageDigest // no layer
			for _, state := range []string{"warm", "cold", "warm again"} {
				if state == "cold" {
					m.reload(t)
				}
				m.holds(t, "app", data)
				for what, c := range map[string]struct {
					path string
					want int
				}{
					"the image":                {"manifests/" + imageDigest.String(), http.StatusOK},
					"a blob as a manifest":     {"manifests/" + layer.Digest.String(), http.StatusNotFound},
					"an image as a blob":       {"blobs/" + imageDigest.String(), http.StatusNotFound},
					"a blob that nobody has":   {"blobs/" + missing.Digest.String(), http.StatusNotFound},
					"the image once more":      {"manifests/" + imageDigest.String(), http.StatusOK},
					"no blob as a manifest":    {"manifests/" + missing.Digest.String(), http.StatusNotFound},
					"a blob as a tag's digest": {"manifests/" + layer.Digest.String(), http.StatusNotFound},
				} {
					if a := m.get(t, "/v2/app/"+c.path, "Accept", anyManifest); a.StatusCode != c.want {
						t.Errorf("%s, %s: %s %s", state, what, a.Status, a.body)
					}
				}
				for what, c := range map[string]struct {
					mediaType string
					manifest  any
					want      int
				}{
					"an index of layers":           {v1.MediaTypeImageIndex, cacheExport(layer), http.StatusCreated},
					"an index of what is missing":  {v1.MediaTypeImageIndex, cacheExport(layer, missing), http.StatusBadRequest},
					"an image whose layer is none": {v1.MediaTypeImageManifest, image, http.StatusBadRequest},
				} {
					if a, _ := m.putManifest(t, "app", "other", c.mediaType, c.manifest); a.StatusCode != c.want {
						t.Errorf("%s, %s: %s %s", state, what, a.Status, a.body)
					}
				}
				if a, _ := m.putManifest(t, "elsewhere", "other", v1.MediaTypeImageIndex, cacheExport(layer)); a.StatusCode != http.StatusBadRequest {
					t.Errorf("%s, an index of another repository's layers: %s", state, a.Status)
				}
			}
		})
	}
}

// A manifest says how large its layers are. One that is not is damaged: the client
// is told that it is missing, and its next push heals it, whatever is cached.
func TestAManifestFindsDamagedLayers(t *testing.T) {
	m := newMachine(t)
	m.config(t, "error")
	m.start(t)
	data := noise(2000)
	layer := v1.Descriptor{MediaType: v1.MediaTypeImageLayer, Digest: m.pushBlob(t, "app", data), Size: 2000}
	image := v1.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageManifest,
		Config: v1.Descriptor{MediaType: v1.MediaTypeImageConfig, Digest: layer.Digest, Size: layer.Size}, Layers: []v1.Descriptor{layer}}
	check(t, os.Truncate(m.file(layer.Digest), 10))
	if a, _ := m.putManifest(t, "app", "image", v1.MediaTypeImageManifest, image); a.StatusCode != http.StatusBadRequest || !strings.Contains(a.body, "MANIFEST_BLOB_UNKNOWN") {
		t.Errorf("an image of a damaged layer: %s %s", a.Status, a.body)
	}
	if a, err := m.do(http.MethodHead, "https://"+m.host()+"/v2/app/blobs/"+layer.Digest.String(), nil); err != nil || a.StatusCode != http.StatusNotFound {
		t.Errorf("HEAD of the damaged layer: %v, %v", a.Status, err)
	}
	m.pushBlob(t, "app", data)
	if a, _ := m.putManifest(t, "app", "image", v1.MediaTypeImageManifest, image); a.StatusCode != http.StatusCreated {
		t.Errorf("the image after the push: %s %s", a.Status, a.body)
	}
	m.holds(t, "app", data)
	// A size that the client gets wrong is no damage.
	image.Layers[0].Size = 5
	if a, _ := m.putManifest(t, "app", "image", v1.MediaTypeImageManifest, image); a.StatusCode != http.StatusCreated {
		t.Errorf("an image with a wrong size: %s %s", a.Status, a.body)
	}
}
