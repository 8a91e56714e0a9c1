package registry

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/distribution/distribution/v3/configuration"
	"github.com/distribution/distribution/v3/registry/handlers"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/redoubt-registry/redoubt/appliance/storage/layout"
)

// stock is upstream's registry, as it is, on a directory.
func stock(t *testing.T, root string) (address string) {
	t.Helper()
	c := &configuration.Configuration{Storage: configuration.Storage{
		"filesystem": {"rootdirectory": root}, "delete": {"enabled": true},
		"maintenance": {"uploadpurging": map[any]any{"enabled": false}},
	}}
	c.HTTP.Secret = "secret"
	server := httptest.NewServer(handlers.NewApp(t.Context(), c))
	t.Cleanup(server.Close)
	return server.URL
}

// serves says that a registry answers GET and HEAD with what has a digest.
func serves(t *testing.T, what string, d digest.Digest, get func(method string) answer) {
	t.Helper()
	for _, method := range []string{http.MethodGet, http.MethodHead} {
		a := get(method)
		if a.StatusCode != http.StatusOK || a.Header.Get("Docker-Content-Digest") != d.String() || a.ContentLength <= 0 ||
			method == http.MethodGet && d.Algorithm().FromString(a.body) != d {
			t.Errorf("%s: %s %s with %s of %d bytes", method, what, a.Status, a.Header.Get("Docker-Content-Digest"), a.ContentLength)
		}
	}
}

// What is pushed by its sha512 is served by it, here and by the stock registry, which
// finds it where it looks for it; and so is what the stock registry has taken.
func TestSHA512(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.memory = true
	m.config(t, "info")
	m.start(t)
	other := stock(t, m.path("store"))
	ours := func(path string) func(string) answer {
		return func(method string) answer {
			a, err := m.do(method, "https://"+m.host()+path, nil, "Accept", anyManifest)
			check(t, err)
			return a
		}
	}
	theirs := func(path string) func(string) answer {
		return func(method string) answer {
			a, err := send(http.DefaultTransport, method, other+path, nil, "Accept", anyManifest)
			check(t, err)
			return a
		}
	}
	data := noise(200_000)
	layer := digest.SHA512.FromBytes(data)
	a, err := m.end(m.chunk(t, m.open(t, "app"), data), nil, layer)
	check(t, err)
	if a.StatusCode != http.StatusCreated || a.Header.Get("Docker-Content-Digest") != layer.String() || !strings.HasSuffix(a.Header.Get("Location"), layer.String()) {
		t.Fatalf("PUT: %s %v %s", a.Status, a.Header, a.body)
	}
	image := v1.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageManifest,
		Config: v1.Descriptor{MediaType: v1.MediaTypeImageConfig, Digest: layer, Size: 200_000}, Layers: []v1.Descriptor{}}
	text, err := json.Marshal(image)
	check(t, err)
	manifest := digest.SHA512.FromBytes(text)
	a, _ = m.putManifest(t, "app", manifest.String()+"?tag=one&tag=two", v1.MediaTypeImageManifest, image)
	if a.StatusCode != http.StatusCreated || a.Header.Get("Docker-Content-Digest") != manifest.String() ||
		!strings.HasSuffix(a.Header.Get("Location"), manifest.String()) || strings.Join(a.Header.Values("OCI-Tag"), " ") != "one two" {
		t.Fatalf("PUT: %s %v %s", a.Status, a.Header, a.body)
	}
	for path, d := range map[string]digest.Digest{
		"/v2/app/blobs/" + layer.String(): layer, "/v2/app/manifests/" + manifest.String(): manifest,
		"/v2/app/manifests/one": manifest, "/v2/app/manifests/two": manifest,
	} {
		serves(t, "ours", d, ours(path))
		serves(t, "the stock registry's", d, theirs(path))
	}
	if _, err := os.Stat(m.path("store" + layout.Path(layer))); err != nil { // a garbage collection keeps it there
		t.Error(err)
	}
	a, err = m.do(http.MethodPost, "https://"+m.host()+"/v2/mounted/blobs/uploads/?from=app&mount="+layer.String(), nil)
	check(t, err)
	if a.StatusCode != http.StatusCreated || a.Header.Get("Docker-Content-Digest") != layer.String() {
		t.Errorf("mount: %s %v %s", a.Status, a.Header, a.body)
	}
	serves(t, "mounted", layer, ours("/v2/mounted/blobs/"+layer.String()))

	// What the stock registry keeps under another digest.
	data = noise(1000)
	layer = digest.SHA512.FromBytes(data)
	a, err = send(http.DefaultTransport, http.MethodPost, other+"/v2/old/blobs/uploads/", nil)
	check(t, err)
	a, err = send(http.DefaultTransport, http.MethodPut, a.Header.Get("Location")+"&digest="+layer.String(), bytes.NewReader(data))
	check(t, err)
	if a.StatusCode != http.StatusCreated {
		t.Fatalf("PUT: %s %s", a.Status, a.body)
	}
	serves(t, "the stock registry's push", layer, ours("/v2/old/blobs/"+layer.String()))
	bad, _ := m.putManifest(t, "app", digest.SHA512.FromString("other").String(), v1.MediaTypeImageManifest, image)
	if bad.StatusCode != http.StatusBadRequest || !strings.Contains(bad.body, "DIGEST_INVALID") {
		t.Errorf("a wrong digest: %s %s", bad.Status, bad.body)
	}
}

// A blob comes with the request that begins its upload, and is mounted without a word
// where from.
func TestUploadsInOneRequest(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.config(t, "info")
	m.start(t)
	begin := func(repo string, query url.Values, body []byte) answer {
		a, err := m.do(http.MethodPost, "https://"+m.host()+"/v2/"+repo+"/blobs/uploads/?"+query.Encode(), bytes.NewReader(body))
		check(t, err)
		return a
	}
	data := noise(5000)
	d := digest.FromBytes(data)
	if a := begin("app", url.Values{"digest": {d.String()}}, data[1:]); a.StatusCode != http.StatusBadRequest || !strings.Contains(a.body, "DIGEST_INVALID") {
		t.Errorf("other bytes: %s %s", a.Status, a.body)
	}
	if a := begin("b", url.Values{"mount": {d.String()}}, nil); a.StatusCode != http.StatusAccepted {
		t.Errorf("a mount of what nobody has: %s %s", a.Status, a.body)
	}
	if a := begin("app", url.Values{"digest": {d.String()}}, data); a.StatusCode != http.StatusCreated || a.Header.Get("Docker-Content-Digest") != d.String() {
		t.Fatalf("POST: %s %s", a.Status, a.body)
	}
	if left, err := filepath.Glob(m.path("store/docker/registry/v2/repositories/app/_uploads/*")); err != nil || len(left) > 0 {
		t.Errorf("left: %v %v", left, err)
	}
	if a := begin("b", url.Values{"mount": {d.String()}}, nil); a.StatusCode != http.StatusCreated || !strings.HasSuffix(a.Header.Get("Location"), "/v2/b/blobs/"+d.String()) {
		t.Errorf("a mount: %s %v %s", a.Status, a.Header, a.body)
	}
	if a := begin("c", url.Values{"digest": {d.String()}}, nil); a.StatusCode != http.StatusAccepted {
		t.Errorf("a digest without the bytes: %s %s", a.Status, a.body)
	}
}

// A manifest is answered as it is stored to who takes all types, and never converted.
func TestAccept(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.config(t, "info")
	m.start(t)
	m.pushBlob(t, "app", v1.DescriptorEmptyJSON.Data)
	const (
		list  = "application/vnd.docker.distribution.manifest.list.v2+json"
		image = "application/vnd.docker.distribution.manifest.v2+json"
	)
	versioned := specs.Versioned{SchemaVersion: 2}
	platform := &v1.Platform{OS: "linux", Architecture: "amd64"}
	a, d := m.putManifest(t, "app", "image", image, v1.Manifest{Versioned: versioned, MediaType: image, Config: v1.Descriptor{
		MediaType: "application/vnd.docker.container.image.v1+json", Digest: v1.DescriptorEmptyJSON.Digest, Size: 2}, Layers: []v1.Descriptor{}})
	if a.StatusCode != http.StatusCreated {
		t.Fatalf("PUT: %s %s", a.Status, a.body)
	}
	m.attach(t, "app", "a/b", nil, "x")
	stored := map[string]any{
		v1.MediaTypeImageManifest: artifact("a/b", nil, "x"),
		// The second entry is not there.
		v1.MediaTypeImageIndex: v1.Index{Versioned: versioned, MediaType: v1.MediaTypeImageIndex, Manifests: []v1.Descriptor{
			{MediaType: image, Digest: d, Size: 1}, {MediaType: image, Digest: digest.FromString("sparse"), Size: 1}}},
		list: v1.Index{Versioned: versioned, MediaType: list, Manifests: []v1.Descriptor{{MediaType: image, Digest: d, Size: 1, Platform: platform}}},
	}
	for kind, manifest := range stored {
		if a, _ := m.putManifest(t, "app", "tag", kind, manifest); a.StatusCode != http.StatusCreated {
			t.Fatalf("PUT %s: %s %s", kind, a.Status, a.body)
		}
		for accept, status := range map[string]int{
			"": 200, "*/*": 200, "application/json": 200, "application/*": 200, "text/html, */*;q=0.1": 200, kind: 200,
			image + ", " + kind: 200, image: 404,
		} {
			a := m.get(t, "/v2/app/manifests/tag", "Accept", accept)
			if a.StatusCode != status || status == 200 && a.Header.Get("Content-Type") != kind || status == 404 && !strings.Contains(a.body, "MANIFEST_UNKNOWN") {
				t.Errorf("%s with Accept %q: %s %s", kind, accept, a.Status, a.Header.Get("Content-Type"))
			}
		}
	}
}

// A manifest may refer to a layer that is kept elsewhere.
func TestLayersElsewhere(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.config(t, "info")
	m.start(t)
	m.pushBlob(t, "app", v1.DescriptorEmptyJSON.Data)
	for address, status := range map[string]int{"https://example.com/layer": 201, "file:///etc/passwd": 400, "javascript:x": 400} {
		manifest := artifact("a/b", nil, address)
		manifest.Layers = []v1.Descriptor{{MediaType: "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
			Digest: digest.FromString(address), Size: 1, URLs: []string{address}}}
		if a, _ := m.putManifest(t, "app", "x", v1.MediaTypeImageManifest, manifest); a.StatusCode != status {
			t.Errorf("%s: %s %s", address, a.Status, a.body)
		}
	}
}

// What is in memory is answered while it is there: not after it was deleted, here or
// behind the registry's back, nor under a tag that has moved.
func TestManifestsAreAnsweredAsTheyAreNow(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.memory = true
	m.config(t, "info")
	m.start(t)
	m.pushBlob(t, "app", v1.DescriptorEmptyJSON.Data)
	push := func(tag, note string) digest.Digest {
		a, d := m.putManifest(t, "app", tag, v1.MediaTypeImageManifest, artifact("a/b", nil, note))
		if a.StatusCode != http.StatusCreated {
			t.Fatalf("PUT: %s %s", a.Status, a.body)
		}
		return d
	}
	is := func(reference string, status int, note string) {
		t.Helper()
		for range 2 { // the second time from memory
			a := m.get(t, "/v2/app/manifests/"+reference)
			if a.StatusCode != status || status == 200 && !strings.Contains(a.body, `"`+note+`"`) || a.Header.Get("X-Content-Type-Options") == "" {
				t.Errorf("%s: %s %s", reference, a.Status, a.body)
			}
		}
	}
	one := push("v1", "one")
	is("v1", 200, "one")
	two := push("v1", "two")
	is("v1", 200, "two")
	is(one.String(), 200, "one")
	a, err := m.do(http.MethodDelete, "https://"+m.host()+"/v2/app/manifests/"+one.String(), nil)
	check(t, err)
	if a.StatusCode != http.StatusAccepted {
		t.Fatalf("DELETE: %s %s", a.Status, a.body)
	}
	is(one.String(), 404, "")
	a, err = m.do(http.MethodGet, "https://"+m.host()+"/v2/app/manifests/v1", nil, "If-None-Match", `"`+two.String()+`"`)
	check(t, err)
	if a.StatusCode != http.StatusNotModified || a.Header.Get("ETag") != `"`+two.String()+`"` || a.Header.Get("Docker-Content-Digest") != two.String() {
		t.Errorf("%s %v", a.Status, a.Header)
	}
	if a, err = m.do(http.MethodGet, "https://"+m.host()+"/v2/app/manifests/v1", nil, "Authorization", ""); err != nil || a.StatusCode != http.StatusUnauthorized {
		t.Errorf("without a login: %v %s", err, a.Status)
	}
	check(t, os.Remove(m.path("store"+layout.TagPath("app", "v1"))))
	is("v1", 404, "")
	check(t, os.RemoveAll(m.path("store/docker/registry/v2/repositories/app")))
	m.reload(t) // what the caches say of a repository that is gone is forgotten
	is(two.String(), 404, "")
}

// What an image is made of is not deleted under it, and its parts can be when it is
// gone.
func TestWhatIsNeededStays(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.memory = true
	m.config(t, "info")
	m.start(t)
	m.pushBlob(t, "app", v1.DescriptorEmptyJSON.Data)
	layer := m.pushBlob(t, "app", noise(100))
	image := artifact("a/b", nil, "image")
	image.Layers = []v1.Descriptor{{MediaType: v1.MediaTypeImageLayer, Digest: layer, Size: 100}}
	put := func(tag, kind string, manifest any) digest.Digest {
		a, d := m.putManifest(t, "app", tag, kind, manifest)
		if a.StatusCode != http.StatusCreated {
			t.Fatalf("PUT: %s %s", a.Status, a.body)
		}
		return d
	}
	child := put("image", v1.MediaTypeImageManifest, image)
	index := put("index", v1.MediaTypeImageIndex, v1.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageIndex,
		Manifests: []v1.Descriptor{{MediaType: v1.MediaTypeImageManifest, Digest: child, Size: 1}}})
	signature := m.attach(t, "app", "a/signature", &v1.Descriptor{MediaType: v1.MediaTypeImageManifest, Digest: child, Size: 1}, "signature")
	for _, c := range []struct {
		what   string
		status int
	}{
		{"blobs/" + layer.String(), 409}, {"manifests/" + child.String(), 409}, {"manifests/image", 202},
		{"manifests/" + index.String(), 202}, {"blobs/" + layer.String(), 409}, {"manifests/" + child.String(), 202},
		{"blobs/" + layer.String(), 202}, {"blobs/" + layer.String(), 404}, {"manifests/" + signature.String(), 202},
		{"manifests/" + signature.String(), 404}, {"manifests/index", 404},
	} {
		a, err := m.do(http.MethodDelete, "https://"+m.host()+"/v2/app/"+c.what, nil)
		check(t, err)
		if a.StatusCode != c.status || c.status == 409 && !strings.Contains(a.body, "IN_USE") {
			t.Errorf("DELETE %s: %s %s", c.what, a.Status, a.body)
		}
	}
}

// A manifest goes with all its tags, and the last page of a list is not an empty one.
func TestManyTags(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.config(t, "info")
	m.start(t)
	m.pushBlob(t, "app", v1.DescriptorEmptyJSON.Data)
	query := url.Values{}
	for n := range 100 {
		query.Add("tag", fmt.Sprintf("t%02d", n))
	}
	// One PUT of three waited for itself, where its digest shared a lock with a tag.
	var d digest.Digest
	for n := range 10 {
		manifest := artifact("a/b", nil, fmt.Sprint("tagged ", n))
		data, err := json.Marshal(manifest)
		check(t, err)
		d = digest.FromBytes(data)
		if a, _ := m.putManifest(t, "app", d.String()+"?"+query.Encode(), v1.MediaTypeImageManifest, manifest); a.StatusCode != http.StatusCreated {
			t.Fatalf("PUT: %s %s", a.Status, a.body)
		}
	}
	pages := 0
	for target := "/v2/app/tags/list?n=25"; target != ""; pages++ {
		a := m.get(t, target)
		if a.StatusCode != http.StatusOK || strings.Count(a.body, `"t`) != 25+1 { // and its name "tags"
			t.Fatalf("%s: %s %s", target, a.Status, a.body)
		}
		link, _, _ := strings.Cut(strings.TrimPrefix(a.Header.Get("Link"), "<"), ">")
		target = link
	}
	if pages != 4 {
		t.Errorf("%d pages", pages)
	}
	a, err := m.do(http.MethodDelete, "https://"+m.host()+"/v2/app/manifests/"+d.String(), nil)
	check(t, err)
	if left := m.get(t, "/v2/app/tags/list"); a.StatusCode != http.StatusAccepted || strings.Contains(left.body, "t99") {
		t.Errorf("DELETE: %s %s, then %s", a.Status, a.body, left.body)
	}
}

// The operator's own check is named for what it is, without its path.
func TestTheOperatorsFile(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.config(t, "info")
	text, err := os.ReadFile(m.path("registry.yml"))
	check(t, err)
	m.write(t, "registry.yml", strings.Replace(string(text), "health: {", fmt.Sprintf("health: {file: [{file: %q, interval: 10ms}], ", m.path("out")), 1))
	m.start(t)
	m.write(t, "out", "")
	until(t, "the file to be seen", func() bool { return m.get(t, "/v2/").StatusCode == http.StatusServiceUnavailable })
	if a := m.get(t, "/v2/"); !strings.Contains(a.body, "health.file") || strings.Contains(a.body, m.dir) {
		t.Errorf("%s %s", a.Status, a.body)
	}
	check(t, os.Remove(m.path("out")))
	until(t, "the file to be gone", func() bool { return m.get(t, "/v2/").StatusCode == http.StatusOK })
}
