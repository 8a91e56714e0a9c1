package metrics

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func TestRoute(t *testing.T) {
	for path, want := range map[string]string{
		"/": "page", "/x": "other", "/v2": "other", "/v2/": "base", "/v2/_catalog": "catalog",
		"/v2/a/b/tags/list": "tags", "/v2/a/manifests/1": "manifest", "/v2/a/blobs/uploads/": "upload",
		"/v2/a/blobs/uploads/1": "upload", "/v2/a/blobs/sha256:x": "blob", "/v2/a": "other",
	} {
		if got := Route(path); got != want {
			t.Errorf("Route(%s) = %s, want %s", path, got, want)
		}
	}
}

func scrape(t *testing.T, m *Metrics, path string, failed map[string]string) (int, string) {
	t.Helper()
	w := httptest.NewRecorder()
	m.Handler(func(*http.Request) map[string]string { return failed }).ServeHTTP(w, httptest.NewRequest("GET", path, nil))
	body, err := io.ReadAll(w.Body)
	if err != nil {
		t.Fatal(err)
	}
	return w.Code, string(body)
}

// What clients invent makes no new series.
func TestLabelsAreBounded(t *testing.T) {
	m := New(Sample{Name: "redoubt_test", Help: "x", Value: func() float64 { return 7 }})
	for i := range 1000 {
		r := httptest.NewRequest("M"+strings.Repeat("X", i%50), "/"+strings.Repeat("y", i), nil)
		m.Begin(r, time.Now())(200)
	}
	m.Begin(httptest.NewRequest("GET", "/v2/a/manifests/1", nil), time.Now())
	_, text := scrape(t, m, "/metrics", nil)
	for _, want := range []string{
		`redoubt_http_requests_total{code="200",method="other",route="other"} 999`,
		`redoubt_http_requests_total{code="200",method="other",route="page"} 1`,
		"redoubt_http_in_flight 1", "redoubt_test 7", "go_goroutines",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %s", want)
		}
	}
	if n := strings.Count(text, "redoubt_http_requests_total{"); n != 2 {
		t.Errorf("%d series", n)
	}
}

func TestHealthz(t *testing.T) {
	m := New()
	if code, text := scrape(t, m, "/healthz", map[string]string{}); code != 200 || text != "{}\n" {
		t.Errorf("%d %s", code, text)
	}
	if code, text := scrape(t, m, "/healthz", map[string]string{"storage": "gone"}); code != 503 || !strings.Contains(text, "gone") {
		t.Errorf("%d %s", code, text)
	}
	if code, _ := scrape(t, m, "/debug/vars", nil); code != 404 {
		t.Errorf("/debug/vars: %d", code)
	}
}

func TestListenOnLoopbackOnly(t *testing.T) {
	for addr, want := range map[string]bool{
		"127.0.0.1:0": true, "localhost:0": true, "127.1.2.3:0": true,
		":0": false, "0.0.0.0:0": false, "[::]:0": false, "192.0.2.1:0": false, "example.com:0": false, "x": false, "": false,
	} {
		l, err := Listen(addr, false)
		if (err == nil) != want {
			t.Errorf("Listen(%q): %v", addr, err)
		}
		if err == nil {
			l.Close()
		} else if !strings.Contains(err.Error(), "http.debug.addr") {
			t.Errorf("Listen(%q): %v does not name the key", addr, err)
		}
	}
}
