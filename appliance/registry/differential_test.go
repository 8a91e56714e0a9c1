//go:build integration

package registry

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// sequences is how many repositories the generated requests are for, and steps how many
// each gets at most.
const sequences, steps = 110, 14

// Generated requests, thousands of them, are answered as the stock registry answers
// them, or the difference is in testdata/differences.txt, with its reason.
func TestAsStock(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.memory = true
	m.config(t, "error")
	m.start(t)
	transport := m.transport()
	defer transport.CloseIdleConnections()
	both := [2]*peer{{base: stock(t, t.TempDir()), transport: http.DefaultTransport}, {base: "https://" + m.host(), transport: transport}}
	g := &generated{t: t, random: rand.New(rand.NewPCG(1, 2)), peers: both, found: map[string]bool{}}
	for n := range 4 {
		g.contents = append(g.contents, bytes.Repeat([]byte{byte('a' + n)}, 1+n*n*1000))
	}
	g.repo = "base"
	for n := range g.contents {
		g.whole(n)
	}
	asked := g.asked
	for n := range sequences {
		g.repo, g.apart, g.upload = fmt.Sprintf("some/r%d", n), false, nil
		for range steps {
			if g.step(); g.apart {
				break
			}
		}
	}
	if asked = g.asked - asked; asked < 2000 {
		t.Errorf("only %d requests were generated", asked)
	}
	t.Logf("%d requests to each", asked)
	compareList(t, "testdata/differences.txt", g.found)
}

// peer is one of the two registries.
type peer struct {
	base      string
	transport http.RoundTripper
}

// generated makes requests and asks both registries.
type generated struct {
	t        *testing.T
	random   *rand.Rand
	peers    [2]*peer // stock, ours
	found    map[string]bool
	contents [][]byte
	repo     string
	upload   []string // where it goes on, for each; nil: there is none
	apart    bool     // the one has taken what the other has not: nothing is alike any more
	asked    int
}

func pick[T any](g *generated, of ...T) T { return of[g.random.IntN(len(of))] }

// ask sends one request to both, and notes how the answers differ. target is a path, or
// one address for each.
func (g *generated) ask(label, method string, target any, body []byte, header ...string) [2]answer {
	g.t.Helper()
	var out [2]answer
	for i, p := range g.peers {
		var at string
		switch to := target.(type) {
		case string:
			at = p.base + to
		case []string:
			at = to[i]
		}
		a, err := send(p.transport, method, at, bytes.NewReader(body), header...)
		check(g.t, err)
		if to, err := a.Location(); err == nil {
			a.Header.Set("Location", to.String())
		}
		out[i] = a
	}
	g.asked++
	stock, ours := aspects(out[0]), aspects(out[1])
	for n, was := range stock {
		if is := ours[n]; was != is {
			if is == "404 NAME_UNKNOWN" && strings.HasPrefix(was, "404 ") {
				label = method + " below a repository that is not there"
			}
			g.found[fmt.Sprintf("%s: %s → %s", label, cmp.Or(was, "nothing"), cmp.Or(is, "nothing"))] = true
			if n == 0 {
				break // the rest follows from it
			}
		}
	}
	if method != http.MethodGet && method != http.MethodHead && (out[0].StatusCode < 300) != (out[1].StatusCode < 300) {
		g.apart = true
	}
	return out
}

// aspects are what of an answer is to be alike: the status first.
func aspects(a answer) []string {
	status := fmt.Sprint(a.StatusCode)
	var list struct{ Errors []struct{ Code string } }
	if a.StatusCode >= 400 {
		if json.Unmarshal([]byte(a.body), &list) == nil {
			for _, e := range list.Errors {
				status += " " + e.Code
			}
		}
		return []string{status}
	}
	h := a.Header
	out := []string{status}
	for _, name := range []string{"Docker-Content-Digest", "Content-Range", "Range", "Link", "OCI-Subject", "Accept-Ranges", "Etag", "OCI-Chunk-Min-Length"} {
		value := h.Get(name)
		if value != "" && name != "Range" && name != "Content-Range" {
			value = name // what it has names the registry, or is in the body
		}
		out = append(out, value)
	}
	kind, _, _ := strings.Cut(h.Get("Content-Type"), ";")
	out = append(out, kind)
	if kind == "multipart/byteranges" { // its boundary is random
		return append(out, fmt.Sprint(len(a.body)))
	}
	return append(out, fmt.Sprintf("%d bytes, %.7s", a.ContentLength, digest.FromString(a.body).Encoded()))
}

// step is one thing that a client may do.
func (g *generated) step() {
	n := g.random.IntN(len(g.contents))
	d := digest.FromBytes(g.contents[n]).String()
	blob := "/v2/" + g.repo + "/blobs/" + d
	switch g.random.IntN(12) {
	case 0, 1:
		g.whole(n)
	case 2:
		g.ask("HEAD blob", http.MethodHead, blob, nil)
	case 3:
		part := pick(g, "", "bytes=0-9", "bytes=-5", "bytes=5-", "bytes=0-1,4-5", "bytes=99999-", "bytes=9-1", "lines=1-2")
		g.ask("GET blob "+part, http.MethodGet, blob, nil, "Range", part)
	case 4:
		match := pick(g, `"`+d+`"`, `W/"`+d+`"`, "*", `"other"`)
		g.ask("GET blob If-None-Match "+strings.ReplaceAll(match, d, "D"), http.MethodGet, blob, nil, "If-None-Match", match)
	case 5:
		from := pick(g, "base", g.repo, "never")
		g.ask("mount", http.MethodPost, "/v2/"+g.repo+"/blobs/uploads/?mount="+d+"&from="+from, nil)
	case 6:
		g.chunks(n)
	case 7:
		g.ask("DELETE blob", http.MethodDelete, blob, nil)
	case 8, 9:
		g.manifest()
	case 10:
		g.lists()
	case 11:
		g.malformed(d)
	}
}

// whole pushes a blob with one PUT.
func (g *generated) whole(n int) {
	if at := g.open(); at != nil {
		label, data, d := "PUT blob", g.contents[n], digest.FromBytes(g.contents[n]).String()
		if g.random.IntN(8) == 0 {
			label, d = "PUT blob under another digest", digest.FromString("other").String()
		}
		g.ask(label, http.MethodPut, withDigest(at, d), data)
	}
}

func (g *generated) open() []string {
	return locations(g.ask("POST upload", http.MethodPost, "/v2/"+g.repo+"/blobs/uploads/", nil))
}

func locations(answers [2]answer) []string {
	var out []string
	for _, a := range answers {
		if a.StatusCode != http.StatusAccepted {
			return nil
		}
		out = append(out, a.Header.Get("Location"))
	}
	return out
}

func withDigest(at []string, d string) []string {
	out := slices.Clone(at)
	for i := range out {
		out[i] += "&digest=" + url.QueryEscape(d)
	}
	return out
}

// chunks pushes a blob in two chunks, and may do it wrongly.
func (g *generated) chunks(n int) {
	data := g.contents[n]
	at, half := g.open(), len(data)/2
	if at == nil || half == 0 {
		return
	}
	at = locations(g.ask("PATCH", http.MethodPatch, at, data[:half], "Content-Range", fmt.Sprintf("0-%d", half-1)))
	if at == nil {
		return
	}
	rest := fmt.Sprintf("%d-%d", half, len(data)-1)
	switch g.random.IntN(7) {
	case 0:
		g.ask("PATCH out of order", http.MethodPatch, at, data[half:], "Content-Range", fmt.Sprintf("%d-%d", half+7, len(data)+6))
	case 1:
		g.ask("PATCH with a range that is none", http.MethodPatch, at, data[half:], "Content-Range", pick(g, "junk", "5-1", "bytes "+rest+"/*"))
	case 2:
		g.ask("PATCH of another length", http.MethodPatch, at, data[half:], "Content-Range", fmt.Sprintf("%d-%d", half, len(data)+5))
	case 3:
		g.ask("GET upload", http.MethodGet, at, nil)
		g.ask("DELETE upload", http.MethodDelete, at, nil)
		g.ask("GET upload that is gone", http.MethodGet, at, nil)
		return
	case 4:
		g.ask("PATCH of another type", http.MethodPatch, at, nil, "Content-Type", "text/plain")
		return
	}
	g.ask("PUT last chunk", http.MethodPut, withDigest(at, digest.FromBytes(data).String()), data[half:], "Content-Range", rest)
}

// image is a manifest of two of the contents.
func (g *generated) image(kind string) ([]byte, string) {
	describe := func(mediaType string, n int) v1.Descriptor {
		return v1.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(g.contents[n]), Size: int64(len(g.contents[n]))}
	}
	image := v1.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageManifest,
		Config: describe(v1.MediaTypeImageConfig, 0), Layers: []v1.Descriptor{describe(v1.MediaTypeImageLayer, 1)}}
	var value any = &image
	mediaType := image.MediaType
	switch kind {
	case "docker":
		mediaType = "application/vnd.docker.distribution.manifest.v2+json"
		image.MediaType, image.Config.MediaType = mediaType, "application/vnd.docker.container.image.v1+json"
	case "subject":
		subject := describe(v1.MediaTypeImageManifest, 2)
		image.Subject = &subject
	case "index":
		mediaType = v1.MediaTypeImageIndex
		value = v1.Index{Versioned: image.Versioned, MediaType: mediaType, Manifests: []v1.Descriptor{}}
	case "sparse index":
		mediaType = v1.MediaTypeImageIndex
		value = v1.Index{Versioned: image.Versioned, MediaType: mediaType, Manifests: []v1.Descriptor{describe(v1.MediaTypeImageManifest, 3)}}
	case "old schema":
		image.SchemaVersion = 1
	}
	data, err := json.Marshal(value)
	check(g.t, err)
	return data, mediaType
}

// manifest puts one, and asks for it.
func (g *generated) manifest() {
	kind := pick(g, "image", "image", "docker", "subject", "index", "sparse index", "old schema")
	data, mediaType := g.image(kind)
	d := digest.FromBytes(data).String()
	reference, by := pick(g, "latest", "v1"), "tag"
	if g.random.IntN(2) == 0 {
		reference, by = d, "digest"
	}
	path := "/v2/" + g.repo + "/manifests/" + reference
	if g.random.IntN(3) > 0 {
		g.ask("PUT "+kind, http.MethodPut, path, data, "Content-Type", mediaType)
	}
	if g.apart {
		return
	}
	switch g.random.IntN(5) {
	case 0:
		accept := pick(g, "", "*/*", "application/json", mediaType)
		g.ask(fmt.Sprintf("GET %s by %s, Accept %q", kind, by, accept), http.MethodGet, path, nil, "Accept", accept)
	case 1:
		g.ask("HEAD manifest by "+by, http.MethodHead, path, nil, "Accept", mediaType)
	case 2:
		match := pick(g, `"`+d+`"`, `W/"`+d+`"`, "*")
		g.ask("GET manifest by "+by+" If-None-Match "+strings.ReplaceAll(match, d, "D"), http.MethodGet, path, nil, "Accept", mediaType, "If-None-Match", match)
	case 3:
		g.ask("DELETE manifest by "+by, http.MethodDelete, path, nil)
	case 4:
		g.ask("GET referrers", http.MethodGet, "/v2/"+g.repo+"/referrers/"+d, nil)
	}
}

// lists asks for the tags.
func (g *generated) lists() {
	query := pick(g, "", "?n=1", "?n=0", "?n=-1", "?n=x", "?n=1&last=latest", "?last=zzz")
	g.ask("GET tags"+query, http.MethodGet, "/v2/"+g.repo+"/tags/list"+query, nil)
}

// malformed asks for what nobody should.
func (g *generated) malformed(d string) {
	method, path := pick(g, http.MethodGet, http.MethodPut, http.MethodDelete), pick(g,
		"/v2/UPPER/manifests/latest", "/v2/a/manifests/-bad", "/v2/a/blobs/sha256:0", "/v2/a/blobs/md5:00", "/v2/a", "/v2/a/b/c", "/v2/_catalog/x")
	g.ask(method+" "+path, method, path, nil)
	g.ask("GET blob as a manifest", http.MethodGet, "/v2/"+g.repo+"/manifests/"+d, nil)
	g.ask("PUT text as a manifest", http.MethodPut, "/v2/"+g.repo+"/manifests/text", []byte("text"), "Content-Type", v1.MediaTypeImageManifest)
}
