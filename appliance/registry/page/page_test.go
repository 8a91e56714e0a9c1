package page

import (
	"bufio"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func answer(h http.Handler, method, path, accept string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, nil)
	r.ProtoMajor = 2
	r.Header.Set("Accept", accept)
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

var broken = &Maintenance{Hostname: "registry.example.com", Errors: []Error{
	{File: "user-data", Line: 3, Column: 5, Path: "tls.mode", Message: "must be one of acme, internal-ca, files, off"},
	{File: "config.yaml", Message: `<script>alert(1)</script>`},
}}

func TestMaintenanceAnswers(t *testing.T) {
	const summary = "registry.example.com is in maintenance: user-data:3:5: tls.mode: must be one of acme, internal-ca, files, off; config.yaml: <script>alert(1)</script>"
	if got := broken.Summary(); got != summary {
		t.Errorf("Summary() = %s", got)
	}
	for _, tc := range []struct{ method, path, accept, contentType, want string }{
		{"GET", "/v2/", "", "application/json", `"code":"UNAVAILABLE"`},
		{"GET", "/v2", "text/html", "application/json", `"code":"UNAVAILABLE"`},
		{"PUT", "/v2/app/manifests/1", "", "application/json", `tls.mode`},
		{"GET", "/", "application/json", "application/json", `"path":"tls.mode"`},
		{"GET", "/", "text/html,*/*", "text/html", "line 3, column 5"},
		{"GET", "/v2x", "", "text/html", "redoubt apply"},
	} {
		w := answer(broken, tc.method, tc.path, tc.accept)
		if w.Code != 503 || w.Header().Get("Retry-After") != "30" || w.Header().Get("Cache-Control") != "no-store" {
			t.Errorf("%s: %d %v", tc.path, w.Code, w.Header())
		}
		if !strings.HasPrefix(w.Header().Get("Content-Type"), tc.contentType) || !strings.Contains(w.Body.String(), tc.want) {
			t.Errorf("%s: %v\n%s\nwant %s", tc.path, w.Header(), w.Body, tc.want)
		}
	}
	w := answer(broken, "GET", "/v2/", "")
	var body struct {
		Errors []struct{ Code, Message string }
	}
	if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil || len(body.Errors) != 1 || body.Errors[0].Message != summary {
		t.Errorf("%v, %+v", err, body)
	}
	if w.Header().Get("Docker-Distribution-Api-Version") != "registry/2.0" {
		t.Error("docker does not take this for a registry")
	}
}

// The page needs nothing from elsewhere, runs nothing, and shows text as text.
func TestPagesAreSelfContained(t *testing.T) {
	for _, h := range []http.Handler{broken, &Maintenance{}, Welcome{Host: `x"><script>`}} {
		w := answer(h, "GET", "/", "text/html")
		text := w.Body.String()
		for _, bad := range []string{"<script", "http://", "https://", "src=", "url("} {
			if strings.Contains(text, bad) {
				t.Errorf("the page has %q", bad)
			}
		}
		for _, good := range []string{"<!doctype html>", "viewport", "prefers-color-scheme: dark", "</html>"} {
			if !strings.Contains(text, good) {
				t.Errorf("the page has no %q", good)
			}
		}
		if !strings.HasPrefix(w.Header().Get("Content-Security-Policy"), "default-src 'none'") {
			t.Error("no content security policy")
		}
	}
}

func TestStatusLine(t *testing.T) {
	long := &Maintenance{Errors: []Error{{Message: "bad\r\nX-Evil: 1 \x00é" + strings.Repeat("x", 1000)}}}
	server := httptest.NewServer(long)
	defer server.Close()
	for _, method := range []string{"GET", "HEAD", "POST"} {
		conn, err := net.Dial("tcp", server.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(conn, method+" /v2/ HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		r := httptest.NewRequest(method, "/", nil)
		w, err := http.ReadResponse(bufio.NewReader(conn), r)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(w.Body)
		conn.Close()
		switch {
		case err != nil:
			t.Errorf("%s: %v", method, err)
		case w.Header.Get("X-Evil") != "" || len(w.Status) > 600 || !strings.HasPrefix(w.Status, "503 Service Unavailable: this registry is in maintenance: bad??X-Evil"):
			t.Errorf("%s: status line %q %v", method, w.Status, w.Header)
		case (method == "HEAD") != (len(body) == 0):
			t.Errorf("%s: %d bytes of body", method, len(body))
		}
	}
	// A request with a body gets the plain answer: it must be read first.
	w, err := http.Post(server.URL+"/v2/", "text/plain", strings.NewReader("x"))
	if err != nil {
		t.Fatal(err)
	}
	w.Body.Close()
	if w.Status != "503 Service Unavailable" {
		t.Error(w.Status)
	}
}

func TestReadMaintenance(t *testing.T) {
	path := filepath.Join(t.TempDir(), "maintenance.json")
	if m := ReadMaintenance(path); m != nil {
		t.Errorf("no file: %+v", m)
	}
	if m := ReadMaintenance(""); m != nil {
		t.Errorf("no path: %+v", m)
	}
	for text, want := range map[string]string{
		"":  "cannot be read",
		"{": "cannot be read",
		`{"hostname":"h","errors":[{"file":"f","line":2,"message":"m"}]}`: "h is in maintenance: f:2: m",
		`{"hostname":"h"}`: "h is in maintenance: the machine is being set up",
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if m := ReadMaintenance(path); m == nil || !strings.Contains(m.Summary(), want) {
			t.Errorf("%q: %+v", text, m)
		}
	}
}

func TestWelcome(t *testing.T) {
	h := Welcome{Host: "registry.example.com"}
	if w := answer(h, "GET", "/", ""); w.Code != 200 || !strings.Contains(w.Body.String(), "docker login registry.example.com") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	for host, login := range map[string]string{
		"localhost:28443":          "docker login localhost:28443",
		"192.0.2.7":                "docker login 192.0.2.7",
		"[2001:db8::1]:5000":       "docker login [2001:db8::1]:5000",
		"registry.example.com:443": "", "Registry.Example.com": "", "": "",
		`x"><script>`: "", "a b": "", "x;reboot": "", "-u": "", "x/../y": "", "x:99999999": "",
	} {
		r := httptest.NewRequest("GET", "/", nil)
		r.Host = host
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		body := w.Body.String()
		if !strings.Contains(body, "<pre>docker login registry.example.com</pre>") || !strings.Contains(body, "<pre>"+login) {
			t.Errorf("%q: no %q in:\n%s", host, login, body)
		}
		if want := strings.Count(body, "docker login"); login == "" && want != 1 {
			t.Errorf("%q is on the page:\n%s", host, body)
		}
	}
	if w := answer(h, "POST", "/", ""); w.Code != 405 || w.Header().Get("Allow") != "GET, HEAD" {
		t.Errorf("POST: %d", w.Code)
	}
	if w := answer(h, "GET", "/x", ""); w.Code != 404 || !strings.Contains(w.Body.String(), "NOT_FOUND") {
		t.Errorf("/x: %d %s", w.Code, w.Body)
	}
}
