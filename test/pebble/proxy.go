package pebble

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
)

// Proxy stands in front of a CA and answers in its place what a test says.
type Proxy struct {
	Directory string
	Roots     string

	mu       sync.Mutex
	meddle   func(w http.ResponseWriter, r *http.Request) bool
	after    func(response *http.Response)
	requests []string
}

// Front starts a proxy in front of c.
func Front(t Owner, c *CA) *Proxy {
	t.Helper()
	target, err := url.Parse(c.Directory)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(c.Roots))
	p := &Proxy{}
	reverse := &httputil.ReverseProxy{
		Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}},
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.URL.Scheme, r.Out.URL.Host = target.Scheme, target.Host
			r.Out.Host = r.In.Host // Pebble makes its URLs from this
		},
		ModifyResponse: func(response *http.Response) error {
			p.mu.Lock()
			after := p.after
			p.mu.Unlock()
			if after != nil {
				after(response)
			}
			return nil
		},
	}
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.mu.Lock()
		p.requests = append(p.requests, r.Method+" "+r.URL.Path)
		meddle := p.meddle
		p.mu.Unlock()
		if meddle == nil || !meddle(w, r) {
			reverse.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(server.Close)
	p.Directory = server.URL + target.Path
	p.Roots = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}))
	return p
}

// Meddle sets what answers a request before the CA does; it says whether it did.
func (p *Proxy) Meddle(f func(w http.ResponseWriter, r *http.Request) bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.meddle = f
}

// After sets what changes the CA's answers.
func (p *Proxy) After(f func(response *http.Response)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.after = f
}

// Requests are those since the last call whose path contains part.
func (p *Proxy) Requests(part string) []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var found []string
	for _, r := range p.requests {
		if strings.Contains(r, part) {
			found = append(found, r)
		}
	}
	return found
}

// Forget empties what Requests returns.
func (p *Proxy) Forget() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.requests = nil
}

// Problem answers with a problem document (RFC 7807) of ACME.
func Problem(w http.ResponseWriter, status int, kind, detail string) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(`{"type":"urn:ietf:params:acme:error:` + kind + `","detail":"` + detail + `"}`))
}
