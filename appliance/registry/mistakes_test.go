//go:build integration

package registry

import (
	"bytes"
	"io"
	"net/http"
	"strconv"
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
		m.pushBlob(t, "team/app", data)
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
			"a manifest of no repository":    {ask(http.MethodGet, "/v2/nobody/manifests/1", nil), 404, "NAME_UNKNOWN"},
			"one by digest":                  {ask(http.MethodGet, "/v2/nobody/manifests/"+other.String(), nil), 404, "NAME_UNKNOWN"},
			"one to delete":                  {ask(http.MethodDelete, "/v2/nobody/manifests/"+other.String(), nil), 404, "NAME_UNKNOWN"},
			"a blob of no repository":        {ask(http.MethodGet, "/v2/nobody/blobs/"+d.String(), nil), 404, "NAME_UNKNOWN"},
			"a blob of a part of a name":     {ask(http.MethodGet, "/v2/team/blobs/"+d.String(), nil), 404, "NAME_UNKNOWN"},
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

// Clients are told how large their chunks had better be, and smaller ones are taken.
func TestTheSizeOfChunks(t *testing.T) {
	eachStorage(t, func(t *testing.T, storage string) {
		t.Parallel()
		m := newMachine(t)
		m.bucket = storage
		m.config(t, "error")
		m.start(t)
		a, err := m.do(http.MethodPost, "https://"+m.host()+"/v2/app/blobs/uploads/", nil)
		check(t, err)
		if size, err := strconv.Atoi(a.Header.Get("OCI-Chunk-Min-Length")); err != nil || size < 1<<20 || size > 64<<20 {
			t.Errorf("OCI-Chunk-Min-Length: %q", a.Header.Get("OCI-Chunk-Min-Length"))
		}
		m.pushBlob(t, "app", noise(10))
	})
}

// Who goes on at the wrong place is told the right one, and can go on from there with
// the answer alone.
func TestAChunkOutOfOrder(t *testing.T) {
	eachStorage(t, func(t *testing.T, storage string) {
		t.Parallel()
		m := newMachine(t)
		m.bucket = storage
		m.config(t, "error")
		m.start(t)
		data := noise(30_000)
		for name, refused := range map[string]func(stale, now string) (answer, error){
			"a chunk again": func(stale, _ string) (answer, error) {
				return m.do(http.MethodPatch, stale, bytes.NewReader(data[:10_000]))
			},
			"the end of what is less": func(stale, _ string) (answer, error) { return m.end(stale, data, digest.FromBytes(data)) },
			"a chunk after a gap": func(_, now string) (answer, error) {
				return m.do(http.MethodPatch, now, bytes.NewReader(data[20_000:]), "Content-Range", "20000-29999")
			},
			"the end after a gap": func(_, now string) (answer, error) {
				return m.do(http.MethodPut, now+"&digest="+digest.FromBytes(data).String(), bytes.NewReader(data[20_000:]), "Content-Range", "20000-29999")
			},
		} {
			stale := m.open(t, "app")
			a, err := refused(stale, m.chunk(t, stale, data[:10_000]))
			check(t, err)
			if a.StatusCode != http.StatusRequestedRangeNotSatisfiable || a.Header.Get("Range") != "0-9999" || a.Header.Get("Docker-Upload-UUID") == "" {
				t.Errorf("%s: %s, range %q %v %s", name, a.Status, a.Header.Get("Range"), a.Header, a.body)
				continue
			}
			if a, err = m.end(a.Header.Get("Location"), data[10_000:], digest.FromBytes(data)); err != nil || a.StatusCode != http.StatusCreated {
				t.Errorf("%s: the end: %s %s %v", name, a.Status, a.body, err)
			}
		}
		m.holds(t, "app", data)
	})
}
