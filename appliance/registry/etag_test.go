//go:build integration

package registry

import (
	"net/http"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// A conditional request is answered 304 where there is what the client has, and
// 404 where there is not.
func TestManifestsThatTheClientHas(t *testing.T) {
	m := newMachine(t)
	m.memory = true
	m.config(t, "error")
	m.start(t)
	layer := v1.Descriptor{MediaType: v1.MediaTypeImageLayer, Digest: m.pushBlob(t, "app", noise(1000)), Size: 1000}
	image := v1.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageManifest, Config: layer, Layers: []v1.Descriptor{layer}}
	_, d := m.putManifest(t, "app", "1", v1.MediaTypeImageManifest, image)
	image.Annotations = map[string]string{"deleted": "soon"}
	_, deleted := m.putManifest(t, "app", "2", v1.MediaTypeImageManifest, image)
	if a, err := m.do(http.MethodDelete, "https://"+m.host()+"/v2/app/manifests/"+deleted.String(), nil); err != nil || a.StatusCode != http.StatusAccepted {
		t.Fatalf("%v, %v", a.Status, err)
	}
	quoted := func(d digest.Digest) string { return `"` + d.String() + `"` }
	for _, c := range []struct {
		repo, reference, have string
		want                  int
	}{
		{"app", d.String(), quoted(d), 304}, {"app", "1", quoted(d), 304}, {"app", d.String(), "W/" + quoted(d), 304},
		{"app", d.String(), "*", 304}, {"app", "1", `"x", W/` + quoted(d), 304}, {"app", d.String(), d.String(), 304},
		{"app", "1", quoted(deleted), 200}, {"app", d.String(), `"x"`, 200},
		{"app", deleted.String(), quoted(deleted), 404}, {"app", deleted.String(), "*", 404},
		{"app", digest.FromString("never").String(), quoted(digest.FromString("never")), 404},
		{"nobody", d.String(), quoted(d), 404}, {"app", "none", quoted(d), 404},
	} {
		for _, method := range []string{http.MethodGet, http.MethodHead} {
			a, err := m.do(method, "https://"+m.host()+"/v2/"+c.repo+"/manifests/"+c.reference, nil, "Accept", anyManifest, "If-None-Match", c.have)
			check(t, err)
			if a.StatusCode != c.want {
				t.Errorf("%s %s/%s with %s: %s, want %d", method, c.repo, c.reference, c.have, a.Status, c.want)
			}
			if c.want == 304 && (a.Header.Get("ETag") != quoted(d) || a.body != "" || a.Header.Get("Docker-Content-Digest") != d.String()) {
				t.Errorf("%s: %v %q", c.have, a.Header, a.body)
			}
		}
	}
}
