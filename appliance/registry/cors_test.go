package registry

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/random"
)

// browser asks as a page of an origin does with fetch(), by the Fetch Standard: it asks
// before what is not simple, without a login, and shows the page only what it may see
// (https://fetch.spec.whatwg.org/, 4.8 to 4.10).
type browser struct {
	transport http.RoundTripper
	origin    string
	login     bool // credentials: "include" and an Authorization header
}

// allows says whether an answer may be seen by the page ("CORS check").
func (b browser) allows(h http.Header) error {
	switch got := h.Values("Access-Control-Allow-Origin"); {
	case len(got) != 1:
		return fmt.Errorf("Access-Control-Allow-Origin is %q: blocked", got)
	case b.login && h.Get("Access-Control-Allow-Credentials") != "true":
		return fmt.Errorf("Access-Control-Allow-Credentials is not true: blocked")
	case got[0] != b.origin && (b.login || got[0] != "*"):
		return fmt.Errorf("%s is not the page's origin: blocked", got[0])
	}
	return nil
}

// list is a header's values, in one line or more.
func list(h http.Header, name string) []string {
	var out []string
	for v := range strings.SplitSeq(strings.Join(h.Values(name), ","), ",") {
		out = append(out, strings.ToLower(strings.TrimSpace(v)))
	}
	return out
}

// preflight asks whether a request with a method and headers may be sent.
func (b browser) preflight(method, url string, headers ...string) error {
	r, err := http.NewRequest(http.MethodOptions, url, nil)
	if err != nil {
		return err
	}
	r.Header.Set("Origin", b.origin)
	r.Header.Set("Access-Control-Request-Method", method)
	if len(headers) > 0 {
		r.Header.Set("Access-Control-Request-Headers", strings.Join(headers, ","))
	}
	w, err := b.transport.RoundTrip(r)
	if err != nil {
		return err
	}
	w.Body.Close()
	if err := b.allows(w.Header); err != nil {
		return fmt.Errorf("preflight: %w", err)
	}
	if w.StatusCode/100 != 2 {
		return fmt.Errorf("preflight: %s: blocked", w.Status)
	}
	if simple := []string{"GET", "HEAD", "POST"}; !slices.Contains(simple, method) && !slices.Contains(list(w.Header, "Access-Control-Allow-Methods"), strings.ToLower(method)) {
		return fmt.Errorf("preflight: %s is not allowed: blocked", method)
	}
	for _, h := range headers {
		if !slices.Contains(list(w.Header, "Access-Control-Allow-Headers"), h) {
			return fmt.Errorf("preflight: %s is not allowed: blocked", h)
		}
	}
	return nil
}

// fetch is one request of the page, with what the page may see of its headers.
func (b browser) fetch(method, url string) (status int, seen http.Header, body string, err error) {
	ask := []string{"accept"} // longer than 128 bytes, so it is asked for
	if b.login {
		ask = append(ask, "authorization")
	}
	if err := b.preflight(method, url, ask...); err != nil {
		return 0, nil, "", err
	}
	r, err := http.NewRequest(method, url, nil)
	if err != nil {
		return 0, nil, "", err
	}
	r.Header.Set("Origin", b.origin)
	r.Header.Set("Accept", "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json, "+
		"application/vnd.docker.distribution.manifest.v2+json, application/vnd.docker.distribution.manifest.list.v2+json")
	if b.login {
		r.SetBasicAuth("alice", password)
	}
	w, err := b.transport.RoundTrip(r)
	if err != nil {
		return 0, nil, "", err
	}
	defer w.Body.Close()
	if err := b.allows(w.Header); err != nil {
		return 0, nil, "", err
	}
	text, err := io.ReadAll(w.Body)
	seen = http.Header{}
	for _, name := range list(w.Header, "Access-Control-Expose-Headers") {
		if v := w.Header.Get(name); v != "" {
			seen.Set(name, v)
		}
	}
	return w.StatusCode, seen, string(text), err
}

const uiOrigin = "https://ui.example.com"

// A web interface on another host works as soon as its origin is configured: the browser's
// question before a request, which never has a login, is answered.
func TestAPageOfAnotherOrigin(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.headers = ", Access-Control-Allow-Origin: ['" + uiOrigin + "'], access-control-allow-credentials: ['true'], Access-Control-Allow-Methods: [GET, HEAD, DELETE]"
	m.config(t, "info")
	m.start(t)
	image, err := random.Image(1000, 1)
	check(t, err)
	check(t, m.push(image, "team/app:1"))
	transport := m.transport()
	defer transport.CloseIdleConnections()
	at := func(path string) string { return "https://" + m.host() + path }
	b := browser{transport: transport, origin: uiOrigin, login: true}
	status, _, body, err := b.fetch("GET", at("/v2/_catalog"))
	if err != nil || status != 200 || !strings.Contains(body, "team/app") {
		t.Errorf("the catalog: %d %v %s", status, err, body)
	}
	status, seen, _, err := b.fetch("GET", at("/v2/team/app/manifests/1"))
	if err != nil || status != 200 || seen.Get("Docker-Content-Digest") == "" {
		t.Errorf("the manifest: %d %v %v", status, err, seen)
	}
	if status, _, _, err := b.fetch("DELETE", at("/v2/team/app/manifests/"+seen.Get("Docker-Content-Digest"))); err != nil || status != 202 {
		t.Errorf("the deletion: %d %v", status, err)
	}
	if err := b.preflight("PUT", at("/v2/team/app/manifests/1")); err == nil {
		t.Error("a method that is not configured is allowed")
	}
	if err := b.preflight("GET", at("/v2/team/app/manifests/1"), "x-strange"); err == nil {
		t.Error("a header that is not configured is allowed")
	}
	anonymous := browser{transport: transport, origin: uiOrigin}
	r, err := http.NewRequest("GET", at("/v2/"), nil)
	check(t, err)
	r.Header.Set("Origin", uiOrigin)
	w, err := transport.RoundTrip(r)
	check(t, err)
	w.Body.Close()
	if err := anonymous.allows(w.Header); err != nil || w.StatusCode != 401 {
		t.Errorf("without a login: %s %v: the page must see that it is asked for one", w.Status, err)
	}
	stranger := browser{transport: transport, origin: "https://evil.example", login: true}
	if status, _, body, err := stranger.fetch("GET", at("/v2/_catalog")); err == nil {
		t.Errorf("a page of another origin sees %d %s", status, body)
	}
	// What is no preflight is asked for a login, as before.
	for name, header := range map[string][]string{
		"no origin": {"Access-Control-Request-Method", "GET"}, "no method": {"Origin", uiOrigin},
	} {
		r, err := http.NewRequest(http.MethodOptions, at("/v2/_catalog"), nil)
		check(t, err)
		r.Header.Set(header[0], header[1])
		w, err := transport.RoundTrip(r)
		check(t, err)
		w.Body.Close()
		if w.StatusCode != 401 {
			t.Errorf("OPTIONS with %s: %s", name, w.Status)
		}
	}
}

// Without an origin in the configuration a preflight is what it was: 401.
func TestNoPageOfAnotherOrigin(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.config(t, "info")
	m.start(t)
	transport := m.transport()
	defer transport.CloseIdleConnections()
	r, err := http.NewRequest(http.MethodOptions, "https://"+m.host()+"/v2/_catalog", nil)
	check(t, err)
	r.Header.Set("Origin", uiOrigin)
	r.Header.Set("Access-Control-Request-Method", "GET")
	w, err := transport.RoundTrip(r)
	check(t, err)
	w.Body.Close()
	if w.StatusCode != 401 || w.Header.Get("Access-Control-Allow-Methods") != "" {
		t.Errorf("%s %v", w.Status, w.Header)
	}
}

// Several origins are each answered by their own name, since a browser takes one only.
func TestPagesOfSeveralOrigins(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.headers = ", Access-Control-Allow-Origin: ['" + uiOrigin + "', 'https://other.example.com:8443']"
	m.config(t, "info")
	m.start(t)
	transport := m.transport()
	defer transport.CloseIdleConnections()
	for origin, want := range map[string]bool{uiOrigin: true, "https://other.example.com:8443": true, "https://other.example.com": false, "null": false} {
		b := browser{transport: transport, origin: origin}
		if err := b.preflight("GET", "https://"+m.host()+"/v2/", "authorization"); (err == nil) != want {
			t.Errorf("%s: %v", origin, err)
		}
	}
}
