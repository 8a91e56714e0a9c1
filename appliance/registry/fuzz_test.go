package registry

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/sirupsen/logrus"
	"golang.org/x/net/http/httpguts"
)

// TestRoutes holds over the whole route table, whatever a client that is logged in
// sends: no answer is 5xx while the storage is well, an error is told in the words of
// the specification, and nothing names a path of the machine.
func TestRoutes(t *testing.T) {
	newDoor(t, "").askAll(t)
}

// FuzzRoutes holds what TestRoutes does. It begins with one in ten of its requests, so
// that it soon comes to others.
func FuzzRoutes(f *testing.F) {
	d := newDoor(f, "")
	for i, r := range table() {
		if i%10 == 0 {
			f.Add(r.method, r.path, r.header, r.body)
		}
	}
	f.Fuzz(func(t *testing.T, method, path, header, body string) {
		d.ask(t, request{method, path, header, body})
	})
}

// request is what a client sends. It may have {blob}, {blob512}, {manifest} and {upload}
// for what is there. Its header is one line.
type request struct{ method, path, header, body string }

// door is a registry in this process, so that a fuzzer sees which code a request
// reaches, with an image in it.
type door struct {
	m                       *machine
	transport               *http.Transport
	blob, blob512, manifest string // digests of what is there
	layer, image            []byte
}

// newDoor starts a registry on a bucket, as registry.yml names it, or on a directory.
func newDoor(t testing.TB, bucket string) *door {
	t.Helper()
	d := &door{m: newMachine(t)}
	d.m.memory, d.m.bucket = true, bucket
	d.m.config(t, "error")
	logrus.SetOutput(io.Discard) // upstream writes there
	t.Cleanup(func() { logrus.SetOutput(os.Stderr) })
	s := newServer(Options{Config: d.m.path("registry.yml"), Maintenance: d.m.path("none"),
		Listeners: []net.Listener{d.m.tls, d.m.http}}, logrus.StandardLogger())
	check(t, s.start())
	t.Cleanup(s.close)
	sockets, err := s.listen()
	check(t, err)
	s.run(sockets)
	d.transport = d.m.transport()
	t.Cleanup(d.transport.CloseIdleConnections)
	d.layer = []byte("{}")
	d.blob, d.blob512 = digest.FromBytes(d.layer).String(), digest.SHA512.FromString("512").String()
	d.image = fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":"application/vnd.oci.empty.v1+json","digest":%q,"size":2},"layers":[]}`,
		v1.MediaTypeImageManifest, d.blob)
	d.manifest = digest.FromBytes(d.image).String()
	d.fill(t)
	return d
}

// fill pushes the image app:1, and a blob by its sha512 that other has of app.
func (d *door) fill(t testing.TB) {
	t.Helper()
	for _, r := range []request{
		{"PUT", d.begin(t) + "&digest=" + d.blob, "", string(d.layer)},
		{"PUT", d.begin(t) + "&digest=" + d.blob512, "", "512"},
		{"POST", "/v2/other/blobs/uploads/?from=app&mount=" + d.blob512, "", ""},
		{"PUT", "/v2/app/manifests/1", "Content-Type: " + v1.MediaTypeImageManifest, string(d.image)},
	} {
		if a := d.send(t, r); a.StatusCode != http.StatusCreated {
			t.Fatalf("%s %s: %s %s", r.method, r.path, a.Status, a.body)
		}
	}
}

// begin begins an upload.
func (d *door) begin(t testing.TB) (path string) {
	t.Helper()
	a := d.send(t, request{method: "POST", path: "/v2/app/blobs/uploads/"})
	if a.StatusCode != http.StatusAccepted {
		t.Fatalf("an upload: %s %s", a.Status, a.body)
	}
	location, err := a.Location()
	check(t, err)
	return location.RequestURI()
}

// send sends a request as alice.
func (d *door) send(t testing.TB, r request) answer {
	t.Helper()
	key, value, _ := strings.Cut(r.header, ":")
	var header []string
	if key != "" {
		header = []string{key, strings.TrimSpace(value)}
	}
	a, err := send(d.transport, r.method, "https://"+d.m.host()+r.path, strings.NewReader(r.body), header...)
	if err != nil {
		t.Fatalf("%q is not answered: %v", r, err)
	}
	return a
}

// askAll asks for all of the table.
func (d *door) askAll(t *testing.T) {
	t.Helper()
	for _, r := range table() {
		d.ask(t, r)
	}
}

// ask sends a request and judges the answer.
func (d *door) ask(t *testing.T, r request) {
	there := strings.NewReplacer("{blob}", d.blob, "{blob512}", d.blob512, "{manifest}", d.manifest)
	r.path, r.header, r.body = there.Replace(r.path), there.Replace(r.header), there.Replace(r.body)
	if strings.Contains(r.path, "{upload}") {
		r.path = strings.ReplaceAll(r.path, "{upload}", d.begin(t))
	}
	if !sendable(r) {
		return
	}
	a := d.send(t, r)
	if a.StatusCode >= 500 {
		t.Errorf("%q: %s %s", r, a.Status, a.body)
	}
	if strings.HasPrefix(r.path, "/v2/") && a.StatusCode >= 400 && r.method != http.MethodHead && !inWords(a) {
		t.Errorf("%q: an error must be told as the specification has it: %s %v %q", r, a.Status, a.Header, a.body)
	}
	for _, secret := range []string{d.m.dir, "docker/registry/v2"} {
		if a.StatusCode == http.StatusTemporaryRedirect {
			break // to the bucket
		}
		if text := fmt.Sprint(a.Header, a.body); strings.Contains(text, secret) && !strings.Contains(fmt.Sprint(r), secret) {
			t.Errorf("%q: the answer has a path of the machine: %s", r, text)
		}
	}
	if r.method == http.MethodDelete && a.StatusCode < 400 {
		d.fill(t)
	}
}

// sendable tells whether Go's client sends a request as it is: what is no HTTP never
// reaches the registry, and some headers are about the connection.
func sendable(r request) bool {
	key, value, _ := strings.Cut(r.header, ":")
	url, err := http.NewRequest(r.method, "https://localhost"+r.path, nil)
	return err == nil && url.URL.Host == "localhost" && r.method != http.MethodConnect &&
		(key == "" || httpguts.ValidHeaderFieldName(key)) && httpguts.ValidHeaderFieldValue(value) &&
		!slices.Contains([]string{"Authorization", "Connection", "Content-Length", "Expect", "Host", "Keep-Alive", "Proxy-Connection",
			"Te", "Trailer", "Transfer-Encoding", "Upgrade"}, http.CanonicalHeaderKey(key))
}

// inWords tells whether an error is in the form of the specification, "Error Codes".
func inWords(a answer) bool {
	var body struct {
		Errors []struct{ Code string }
	}
	err := json.Unmarshal([]byte(a.body), &body)
	return err == nil && len(body.Errors) > 0 && body.Errors[0].Code != "" && strings.HasPrefix(a.Header.Get("Content-Type"), "application/json")
}

// Digests of nothing, which nobody has pushed.
const (
	digest256 = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	digest512 = "sha512:cf83e1357eefb8bdf1542850d66d8007d620e4050b5715dc83f4a921d36ce9ce47d0d13c5d85f2b0ff8318d2877eec2f63b931bd47417a81a538327af927da3e"
)

var tooLong = strings.Repeat("a", 300)

// table has the routes with all methods, and with what may be wrong in each of their
// places.
func table() []request {
	return slices.Concat(allMethods(), badNames(), badReferences(), badQueries(), oddHeaders(), oddManifests())
}

// each makes a request of each method for each path.
func each(methods, paths []string, header, body string) (all []request) {
	for _, method := range methods {
		for _, path := range paths {
			all = append(all, request{method, path, header, body})
		}
	}
	return all
}

func allMethods() []request {
	return each([]string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "get", "MKCOL"}, []string{
		"/", "/v2", "/v2/", "/v2//", "/v2/app", "/v2/_catalog", "/v2/app/tags/list", "/v2/app/manifests/1", "/v2/app/manifests/{manifest}",
		"/v2/app/manifests/{blob}", "/v2/app/blobs/{blob}", "/v2/app/blobs/{manifest}", "/v2/app/blobs/uploads", "/v2/app/blobs/uploads/",
		"{upload}", "{upload}&digest={blob}", "/v2/app/blobs/{blob512}", "/v2/app/manifests/{blob512}", "{upload}&digest={blob512}",
		"/v2/other/blobs/uploads/?mount={blob512}&from=app", "/v2/other/blobs/{blob512}", "/v2/app/referrers/{manifest}", "/metrics", "/.well-known/acme-challenge/x",
	}, "", "{}")
}

func badNames() (all []request) {
	for _, name := range []string{"Upper", "app//x", "a/../../b", "..", "a%00b", "app%2fx", "a..b", "-a", "%C3%A9", tooLong, strings.Repeat("a/", 127) + "b",
		"manifests/1", "blobs/uploads", "tags/list", "_catalog"} {
		all = append(all, each([]string{"GET", "POST", "PUT", "DELETE"}, []string{"/v2/" + name + "/tags/list", "/v2/" + name + "/manifests/1",
			"/v2/" + name + "/blobs/{blob}", "/v2/" + name + "/blobs/uploads/", "/v2/" + name + "/blobs/uploads/0a6ee03a-6b4b-4a1c-a3ff-f56f0a4bd6a0"}, "", "")...)
	}
	return all
}

func badReferences() (all []request) {
	for _, reference := range []string{"sha256:0", "sha512:0", "md5:d41d8cd98f00b204e9800998ecf8427e", digest512, "sha256:" + tooLong, tooLong,
		".", "..", "-", "%00", "%2e%2e%2fx", "a%2fb", "%C3%A9", "a:b:c"} {
		all = append(all, each([]string{"GET", "POST", "PUT", "DELETE"}, []string{"/v2/app/manifests/" + reference, "/v2/app/blobs/" + reference,
			"/v2/app/blobs/uploads/" + reference}, "Content-Type: "+v1.MediaTypeImageManifest, "{}")...)
	}
	return all
}

func badQueries() (all []request) {
	for _, query := range []string{"n=", "n=0", "n=-1", "n=x", "n=99999999999999999999", "n=2&n=x", "last=%00", "last=" + tooLong, "last=..", "last=/", "last=app",
		"n=1&last=%FF", "%zz", ";", "a;b=c", "digest=", "digest=sha256:0", "digest=" + digest512, "mount={blob}&from=app", "mount={blob}", "mount=x&from=app",
		"mount={blob}&from=%00", "mount=" + digest512 + "&from=app", "mount={manifest}&from=" + tooLong, "_state=x", "digest-algorithm=sha512", "ns=docker.io"} {
		all = append(all, request{"GET", "/v2/_catalog?" + query, "", ""}, request{"GET", "/v2/app/tags/list?" + query, "", ""},
			request{"POST", "/v2/app/blobs/uploads/?" + query, "", "{}"}, request{"PATCH", "{upload}&" + query, "", "x"},
			request{"PUT", "{upload}&" + query, "", "{}"}, request{"GET", "{upload}&" + query, "", ""}, request{"GET", "/v2/app/manifests/1?" + query, "", ""})
	}
	return all
}

func oddHeaders() (all []request) {
	for _, header := range []string{"Range: bytes=0-0", "Range: bytes=-1", "Range: bytes=5-", "Range: bytes=1-0", "Range: bytes=0-0,1-1", "Range: x",
		"Range: bytes=-9223372036854775809", "If-Range: x", "If-None-Match: *", "If-None-Match: \"{blob}\"", "If-Match: x", "If-Modified-Since: x", "Accept: x",
		"Accept: */*;q=", "Accept: " + v1.MediaTypeImageIndex, "Content-Range: -5-7", "Content-Range: 0-", "Content-Range: 5-9", "Content-Range: 9-5",
		"Content-Range: bytes 0-0/*", "Content-Range: 0-99999999999999999999", "Content-Type: ", "Content-Type: /",
		"Content-Type: application/x-www-form-urlencoded", "Content-Type: multipart/form-data", "Content-Type: " + v1.MediaTypeImageManifest + "; x",
		"Content-Type: " + v1.MediaTypeImageIndex, "Content-Encoding: gzip", "Origin: x", "Forwarded: host=x", "X-Forwarded-Host: /", "User-Agent: \xff"} {
		all = append(all, each([]string{"GET", "HEAD"}, []string{"/v2/app/blobs/{blob}", "/v2/app/manifests/1", "/v2/app/manifests/{manifest}"}, header, "")...)
		all = append(all, request{"PUT", "/v2/app/manifests/2", header, "{}"}, request{"POST", "/v2/app/blobs/uploads/", header, "{}"},
			request{"PATCH", "{upload}", header, "{}"}, request{"PUT", "{upload}&digest={blob}", header, "{}"})
	}
	return all
}

func oddManifests() (all []request) {
	const docker = "application/vnd.docker.distribution.manifest."
	image := func(kind, layer, digest, url string) string {
		return fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":"application/vnd.oci.empty.v1+json","digest":"{blob}","size":2},
			"layers":[{"mediaType":%q,"digest":%q,"size":7,"urls":[%q]}]}`, kind, layer, digest, url)
	}
	const foreign = "application/vnd.oci.image.layer.nondistributable.v1.tar"
	for _, body := range []string{"", "{}", "[]", "null", `{"schemaVersion":1}`, `{"schemaVersion":2}`, "digest=%zz&a;b", "\x00\xff",
		`{"schemaVersion":2,"mediaType":"` + v1.MediaTypeImageManifest + `","config":{"digest":"/"},"layers":[{"urls":["x:"]}],"subject":{"digest":"sha256:0"}}`,
		`{"schemaVersion":2,"mediaType":"` + v1.MediaTypeImageIndex + `","manifests":[{"digest":"` + digest512 + `"}]}`,
		image(v1.MediaTypeImageManifest, foreign, digest256, "https://example.com/x"), image(v1.MediaTypeImageManifest, foreign, digest256, "file:///x"),
		image(v1.MediaTypeImageManifest, v1.MediaTypeImageLayer, digest256, ":"), image(v1.MediaTypeImageManifest, v1.MediaTypeImageLayer, digest512, ""),
		image(docker+"v2+json", "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", digest256, "https://example.com/x")} {
		for _, kind := range []string{"", "text/plain", v1.MediaTypeImageManifest, v1.MediaTypeImageIndex, docker + "v2+json", docker + "list.v2+json", docker + "v1+prettyjws"} {
			all = append(all, each([]string{"PUT"}, []string{"/v2/app/manifests/3", "/v2/app/manifests/{manifest}"}, "Content-Type: "+kind, body)...)
		}
	}
	return all
}
