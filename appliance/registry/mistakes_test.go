//go:build integration

package registry

import (
	"bytes"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// What a client does wrongly is answered as upstream does, on each storage: none of
// it is the storage's fault, for which a client would try again.
func TestMistakesOfClients(t *testing.T) {
	eachStorage(t, func(t *testing.T, storage string) {
		m := newMachine(t)
		m.bucket, m.memory = storage, true
		m.config(t, "error")
		m.start(t)
		data, other := noise(10_000), digest.FromString("something else")
		d := m.pushBlob(t, "app", data)
		layer := v1.Descriptor{MediaType: v1.MediaTypeImageLayer, Digest: d, Size: 10_000}
		image := v1.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageManifest, Config: layer, Layers: []v1.Descriptor{layer}}
		missing := image
		missing.Layers = []v1.Descriptor{{MediaType: v1.MediaTypeImageLayer, Digest: other, Size: 1}}
		ask := func(method, path string, body io.Reader, header ...string) func(*testing.T) answer {
			return func(t *testing.T) answer {
				if strings.HasPrefix(path, "/") {
					path = "https://" + m.host() + path
				}
				a, err := m.do(method, path, body, header...)
				check(t, err)
				return a
			}
		}
		end := func(location string, data []byte, digest string) func(*testing.T) answer {
			return ask(http.MethodPut, location+"&digest="+digest, bytes.NewReader(data))
		}
		put := func(reference string, manifest any) func(*testing.T) answer {
			return func(t *testing.T) answer {
				a, _ := m.putManifest(t, "app", reference, v1.MediaTypeImageManifest, manifest)
				return a
			}
		}
		ended, cancelled, begun := m.open(t, "app"), m.open(t, "app"), m.chunk(t, m.open(t, "app"), data)
		end(ended, data, d.String())(t)
		ask(http.MethodDelete, cancelled, nil)(t)
		stale := m.open(t, "app")
		m.chunk(t, stale, data)
		for name, c := range map[string]struct {
			ask    func(*testing.T) answer
			status int
			code   string
		}{
			"another digest, in one request": {end(m.open(t, "app"), data, other.String()), 400, "DIGEST_INVALID"},
			"another digest, in chunks":      {end(m.chunk(t, m.open(t, "app"), data), nil, other.String()), 400, "DIGEST_INVALID"},
			"another digest, streamed":       {ask(http.MethodPut, m.open(t, "app")+"&digest="+other.String(), io.MultiReader(bytes.NewReader(data))), 400, "DIGEST_INVALID"},
			"nothing for a digest":           {end(m.open(t, "app"), nil, d.String()), 400, "DIGEST_INVALID"},
			"no digest":                      {ask(http.MethodPut, begun, nil), 400, "DIGEST_INVALID"},
			"a digest that is none":          {end(m.open(t, "app"), data, "sha256:x"), 400, "DIGEST_INVALID"},
			"an upload that has ended":       {end(ended, data, d.String()), 404, "BLOB_UPLOAD_UNKNOWN"},
			"more of one that has ended":     {ask(http.MethodPatch, ended, bytes.NewReader(data)), 404, "BLOB_UPLOAD_UNKNOWN"},
			"one that was cancelled":         {ask(http.MethodPatch, cancelled, bytes.NewReader(data)), 404, "BLOB_UPLOAD_UNKNOWN"},
			"the status of one":              {ask(http.MethodGet, cancelled, nil), 404, "BLOB_UPLOAD_UNKNOWN"},
			"a state that is another's":      {ask(http.MethodPatch, strings.Split(begun, "?")[0]+"?_state=x", bytes.NewReader(data)), 404, "BLOB_UPLOAD_INVALID"},
			"a chunk that was sent":          {ask(http.MethodPatch, stale, bytes.NewReader(data)), 416, "RANGE_INVALID"},
			"a chunk after a gap":            {ask(http.MethodPatch, begun, bytes.NewReader(data), "Content-Range", "20000-29999"), 416, "RANGE_INVALID"},
			"no such blob":                   {ask(http.MethodGet, "/v2/app/blobs/"+other.String(), nil), 404, "BLOB_UNKNOWN"},
			"no such blob to delete":         {ask(http.MethodDelete, "/v2/app/blobs/"+other.String(), nil), 404, "BLOB_UNKNOWN"},
			"no such manifest":               {ask(http.MethodGet, "/v2/app/manifests/"+other.String(), nil), 404, "MANIFEST_UNKNOWN"},
			"no such tag":                    {ask(http.MethodGet, "/v2/app/manifests/none", nil), 404, "MANIFEST_UNKNOWN"},
			"no such tag to delete":          {ask(http.MethodDelete, "/v2/app/manifests/none", nil), 404, "MANIFEST_UNKNOWN"},
			"no such repository":             {ask(http.MethodGet, "/v2/nobody/tags/list", nil), 404, "NAME_UNKNOWN"},
			"a manifest that is none":        {put("1", "text"), 400, "MANIFEST_INVALID"},
			"a manifest without a layer":     {put("1", missing), 400, "MANIFEST_BLOB_UNKNOWN"},
			"a manifest's other digest":      {put(other.String(), image), 400, "DIGEST_INVALID"},
		} {
			a := c.ask(t)
			if a.StatusCode != c.status || !strings.Contains(a.body, c.code) || a.Header.Get("Retry-After") != "" || strings.Contains(a.body, m.dir) {
				t.Errorf("%s: %s %s, want %d %s", name, a.Status, a.body, c.status, c.code)
			}
		}
		m.holds(t, "app", data)
	})
}
