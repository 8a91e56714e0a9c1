package registry

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/random"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// question is a request that cannot be done, and what it must be answered.
type question struct {
	method, path string
	header       []string
	body         string
	chunked      bool // its length is not announced
	status       int
	code         string
}

const (
	oneDigest   = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	maxManifest = 4 << 20
)

func questions(m *machine, t *testing.T) []question {
	long := strings.Repeat("a", 300)
	upload := func() string { return strings.TrimPrefix(m.open(t, "app"), "https://"+m.host()) }
	oci := []string{"Content-Type", v1.MediaTypeImageManifest}
	return []question{
		{method: "GET", path: "/v2/app/tags/list?last=%00", status: 400, code: "TAG_INVALID"},
		{method: "GET", path: "/v2/app/tags/list?last=" + long, status: 400, code: "TAG_INVALID"},
		{method: "GET", path: "/v2/_catalog?last=%00", status: 400, code: "NAME_INVALID"},
		{method: "GET", path: "/v2/_catalog?last=" + long, status: 400, code: "NAME_INVALID"},
		{method: "GET", path: "/v2/_catalog?n=-1", status: 400, code: "PAGINATION_NUMBER_INVALID"},
		{method: "GET", path: "/v2/app/tags/list?n=x", status: 400, code: "PAGINATION_NUMBER_INVALID"},
		{method: "PATCH", path: upload(), header: []string{"Content-Range", "-5-7"}, body: "x", status: 400, code: "BLOB_UPLOAD_INVALID"},
		{method: "PATCH", path: upload(), header: []string{"Content-Range", "bytes 0-0/*"}, body: "x", status: 400, code: "BLOB_UPLOAD_INVALID"},
		{method: "PUT", path: upload() + "&digest=" + oneDigest, header: []string{"Content-Range", "bytes 0-0/*"}, body: "x", status: 400, code: "BLOB_UPLOAD_INVALID"},
		{method: "POST", path: "/v2/" + long + "/blobs/uploads/", status: 400, code: "NAME_INVALID"},
		{method: "GET", path: "/v2/" + long + "/tags/list", status: 400, code: "NAME_INVALID"},
		{method: "GET", path: "/v2/Upper/tags/list", status: 400, code: "NAME_INVALID"},
		{method: "GET", path: "/v2/a/../../b/tags/list", status: 400, code: "NAME_INVALID"},
		{method: "GET", path: "/v2/app//tags/list", status: 400, code: "NAME_INVALID"},
		{method: "GET", path: "/v2/a%00b/tags/list", status: 400, code: "NAME_INVALID"},
		{method: "PUT", path: "/v2/app/manifests/" + long, header: oci, body: "{}", status: 400, code: "TAG_INVALID"},
		{method: "GET", path: "/v2/app/manifests/" + long, status: 404, code: "TAG_INVALID"},
		{method: "GET", path: "/v2/app/manifests/sha256:0", status: 400, code: "DIGEST_INVALID"},
		{method: "GET", path: "/v2/app/blobs/sha256:0", status: 400, code: "DIGEST_INVALID"},
		{method: "HEAD", path: "/v2/app/tags/list", status: 405},
		{method: "POST", path: "/v2/app/manifests/x", status: 405, code: "UNSUPPORTED"},
		{method: "DELETE", path: "/v2/_catalog", status: 405, code: "UNSUPPORTED"},
		{method: "GET", path: "/v2/app", status: 404, code: "UNSUPPORTED"},
		{method: "PUT", path: "/v2/app/referrers/" + oneDigest, status: 405, code: "UNSUPPORTED"},
		{method: "GET", path: "/v2/app/referrers/latest", status: 400, code: "DIGEST_INVALID"},
		{method: "GET", path: "/v2/app/referrers/" + oneDigest + "?n=x", status: 400, code: "PAGINATION_NUMBER_INVALID"},
		{method: "GET", path: "/v2/app/blobs/uploads/" + long, status: 404, code: "BLOB_UPLOAD_UNKNOWN"},
		{method: "DELETE", path: "/v2/app/manifests/unknown", status: 404, code: "MANIFEST_UNKNOWN"},
		{method: "DELETE", path: "/v2/nobody/manifests/unknown", status: 404, code: "NAME_UNKNOWN"},
		{method: "GET", path: "/v2/nobody/tags/list", status: 404, code: "NAME_UNKNOWN"},
		{method: "PUT", path: "/v2/app/manifests/v1", header: oci, body: `{"schemaVersion":1,"mediaType":"` + v1.MediaTypeImageManifest + `"}`, status: 400, code: "MANIFEST_INVALID"},
		{method: "PUT", path: "/v2/app/manifests/v1", header: oci, body: `{"schemaVersion":`, status: 400, code: "MANIFEST_INVALID"},
		{method: "PUT", path: "/v2/app/manifests/v1", header: []string{"Content-Type", "text/plain"}, body: "{}", status: 400, code: "MANIFEST_INVALID"},
		{method: "PUT", path: "/v2/app/manifests/v1", header: oci, body: strings.Repeat(" ", maxManifest+1), status: 413, code: "MANIFEST_INVALID"},
		{method: "PUT", path: "/v2/app/manifests/v1", header: oci, body: strings.Repeat(" ", 2*maxManifest), chunked: true, status: 413, code: "MANIFEST_INVALID"},
	}
}

func (m *machine) pose(q question, as string) (answer, error) {
	transport := m.transport()
	defer transport.CloseIdleConnections()
	r, err := http.NewRequest(q.method, "https://"+m.host()+q.path, strings.NewReader(q.body))
	if err != nil {
		return answer{}, err
	}
	if as != "" {
		r.SetBasicAuth("alice", as)
	}
	if q.chunked {
		r.ContentLength = -1
	}
	for i := 0; i+1 < len(q.header); i += 2 {
		r.Header.Set(q.header[i], q.header[i+1])
	}
	w, err := transport.RoundTrip(r)
	if err != nil {
		return answer{}, err
	}
	defer w.Body.Close()
	text, err := io.ReadAll(w.Body)
	return answer{w, string(text)}, err
}

// hasPath tells whether an answer names a path of the machine or of its store.
func hasPath(m *machine, text string) bool {
	for _, bad := range []string{m.dir, "docker/registry", "filesystem", "Enclosed", "/v2/repositories", "DriverName"} {
		if strings.Contains(text, bad) {
			return true
		}
	}
	return false
}

// What only a file system would reject is refused at the door, in the words of the
// specification, after a login and without a path of the machine.
func TestWhatCannotBeDoneIsRefused(t *testing.T) {
	m := newMachine(t)
	m.config(t, "error")
	m.start(t)
	m.pushBlob(t, "app", []byte("layer"))
	for _, q := range questions(m, t) {
		name := fmt.Sprintf("%s %.80s %v", q.method, q.path, q.header)
		stranger, err := m.pose(q, "")
		check(t, err)
		if stranger.StatusCode != http.StatusUnauthorized || stranger.Header.Get("WWW-Authenticate") == "" || q.method != "HEAD" && !strings.Contains(stranger.body, "UNAUTHORIZED") {
			t.Errorf("%s: a stranger is answered %s %v %s", name, stranger.Status, stranger.Header, stranger.body)
		}
		a, err := m.pose(q, password)
		check(t, err)
		var body struct {
			Errors []struct{ Code, Message string }
		}
		if q.method != "HEAD" {
			err = json.Unmarshal([]byte(a.body), &body)
		}
		if a.StatusCode != q.status || err != nil || q.code != "" && (len(body.Errors) != 1 || body.Errors[0].Code != q.code || body.Errors[0].Message == "") {
			t.Errorf("%s: %s %s, want %d %s", name, a.Status, a.body, q.status, q.code)
		}
		if !strings.HasPrefix(a.Header.Get("Content-Type"), "application/json") || hasPath(m, a.body) {
			t.Errorf("%s: %v %s", name, a.Header, a.body)
		}
		if (a.StatusCode == http.StatusMethodNotAllowed) != (a.Header.Get("Allow") != "") {
			t.Errorf("%s: Allow is %q", name, a.Header.Get("Allow"))
		}
	}
}

// A client that asks for more of a list than it may have gets as much as it may,
// and the way to the rest.
func TestListsAreGivenInPages(t *testing.T) {
	m := newMachine(t)
	m.config(t, "error")
	file, err := m.read("registry.yml")
	check(t, err)
	m.write(t, "registry.yml", file+"catalog: {maxentries: 2}\ntags: {maxtags: 2}\n")
	m.start(t)
	image, err := random.Image(100, 1)
	check(t, err)
	for _, tag := range []string{"aa:1", "bb:1", "bb:2", "bb:3", "cc:1"} {
		check(t, m.push(image, tag))
	}
	for _, n := range []string{"100000", "99999999999999999999", "2"} {
		for path, want := range map[string][2]string{
			"/v2/_catalog":     {`"repositories":["aa","bb"]`, `"repositories":["cc"]`},
			"/v2/bb/tags/list": {`"tags":["1","2"]`, `"tags":["3"]`},
		} {
			a := m.get(t, path+"?n="+n)
			if a.StatusCode != http.StatusOK || !strings.Contains(a.body, want[0]) {
				t.Fatalf("%s, n=%s: %s %s", path, n, a.Status, a.body)
			}
			next, _, ok := strings.Cut(strings.TrimPrefix(a.Header.Get("Link"), "<"), `>; rel="next"`)
			if !ok {
				t.Fatalf("%s, n=%s: Link is %q", path, n, a.Header.Get("Link"))
			}
			if a = m.get(t, next); !strings.Contains(a.body, want[1]) || a.Header.Get("Link") != "" {
				t.Errorf("%s: %s %s %s", next, a.Status, a.body, a.Header.Get("Link"))
			}
		}
	}
}

// A chunk is taken whatever its type is called, and never for a form.
func TestChunksOfAnyType(t *testing.T) {
	m := newMachine(t)
	m.config(t, "error")
	m.start(t)
	for _, kind := range []string{"application/x-www-form-urlencoded", "text/plain", "multipart/form-data; boundary=x", "application/octet-stream"} {
		location := m.open(t, "app")
		a, err := m.do(http.MethodPatch, location, bytes.NewReader([]byte("digest=no&x=y")), "Content-Type", kind)
		check(t, err)
		if a.StatusCode != http.StatusAccepted || a.Header.Get("Range") != "0-12" {
			t.Errorf("%s: %s %s %s", kind, a.Status, a.Header.Get("Range"), a.body)
		}
	}
}

// A request of many ranges costs no more than one of the whole.
func TestManyRangesAreTheWhole(t *testing.T) {
	m := newMachine(t)
	m.config(t, "error")
	m.start(t)
	data := noise(100_000)
	path := "/v2/app/blobs/" + m.pushBlob(t, "app", data).String()
	ranges := func(n, step int) string {
		var all []string
		for i := range n {
			all = append(all, fmt.Sprintf("%d-%d", i*step, i*step+9))
		}
		return "bytes=" + strings.Join(all, ",")
	}
	for what, tc := range map[string]struct {
		header string
		status int
		kind   string
	}{
		"16 ranges":                     {ranges(16, 100), 206, "multipart/byteranges"},
		"17 ranges":                     {ranges(17, 100), 200, "application/octet-stream"},
		"3000 ranges":                   {ranges(3000, 20), 200, "application/octet-stream"},
		"3000 ranges that lap over":     {ranges(3000, 5), 206, "application/octet-stream"},
		"3000 ranges of the same bytes": {ranges(3000, 0), 206, "application/octet-stream"},
		"one":                           {"bytes=5-9", 206, "application/octet-stream"},
	} {
		a := m.get(t, path, "Range", tc.header)
		if a.StatusCode != tc.status || !strings.HasPrefix(a.Header.Get("Content-Type"), tc.kind) {
			t.Errorf("%s: %s %s", what, a.Status, a.Header.Get("Content-Type"))
		}
		if tc.status == 200 && a.body != string(data) {
			t.Errorf("%s: %d bytes that are not the whole", what, len(a.body))
		}
	}
	if a := m.get(t, path, "Range", "bytes=200000-"); a.StatusCode != http.StatusRequestedRangeNotSatisfiable || !strings.Contains(a.body, `"errors"`) ||
		a.Header.Get("Content-Range") != "bytes */100000" {
		t.Errorf("a range behind the end: %s %v %s", a.Status, a.Header, a.body)
	}
}

func (m *machine) read(name string) (string, error) {
	data, err := os.ReadFile(m.path(name))
	return string(data), err
}
