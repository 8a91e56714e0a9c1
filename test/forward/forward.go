// Package forward is an HTTP proxy for tests: it connects its clients to others (CONNECT,
// RFC 9110, 9.3.6), forwards plain requests, and notes whom it was asked for.
package forward

import (
	"encoding/base64"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
)

// Proxy is a proxy on loopback. Names are the host:port that it was asked for.
type Proxy struct {
	*httptest.Server
	login string // Proxy-Authorization that it asks for; empty: none

	mu      sync.Mutex
	asked   []string
	refused []string // it answers 403 for them
	to      map[string]string
}

// New starts a proxy that asks for a login unless user is empty.
func New(t *testing.T, user, password string) *Proxy {
	p := unstarted(t, user, password)
	p.Start()
	return p
}

// NewTLS is New for a proxy that is https, with the certificate of httptest.
func NewTLS(t *testing.T, user, password string) *Proxy {
	p := unstarted(t, user, password)
	p.StartTLS()
	return p
}

func unstarted(t *testing.T, user, password string) *Proxy {
	t.Helper()
	p := &Proxy{to: map[string]string{}}
	if user != "" {
		p.login = "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
	}
	p.Server = httptest.NewUnstartedServer(http.HandlerFunc(p.serve))
	t.Cleanup(p.Close)
	return p
}

// Lead sends who asks for name to address.
func (p *Proxy) Lead(name, address string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.to[name] = address
}

// Refuse makes the proxy answer 403 for name.
func (p *Proxy) Refuse(name string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refused = append(p.refused, name)
}

// Asked are the names that the proxy was asked for so far.
func (p *Proxy) Asked() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.asked)
}

func (p *Proxy) note(name string) (address string, refused bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asked = append(p.asked, name)
	if to := p.to[name]; to != "" {
		return to, slices.Contains(p.refused, name)
	}
	return name, slices.Contains(p.refused, name)
}

func (p *Proxy) serve(w http.ResponseWriter, r *http.Request) {
	address, refused := p.note(r.Host)
	switch {
	case r.Header.Get("Proxy-Authorization") != p.login:
		w.Header().Set("Proxy-Authenticate", `Basic realm="proxy"`)
		w.WriteHeader(http.StatusProxyAuthRequired)
	case refused:
		w.WriteHeader(http.StatusForbidden)
	case r.Method == http.MethodConnect:
		connect(w, address)
	default:
		forward(w, r, address)
	}
}

func forward(w http.ResponseWriter, r *http.Request, address string) {
	out := r.Clone(r.Context())
	out.RequestURI, out.URL.Host = "", address
	out.Header.Del("Proxy-Authorization")
	answer, err := http.DefaultTransport.RoundTrip(out)
	if err != nil {
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	defer answer.Body.Close()
	for name, values := range answer.Header {
		w.Header()[name] = values
	}
	w.WriteHeader(answer.StatusCode)
	_, _ = io.Copy(w, answer.Body) // a client that went away
}

func connect(w http.ResponseWriter, address string) {
	far, err := net.Dial("tcp", address)
	if err != nil {
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	near, buffered, err := w.(http.Hijacker).Hijack()
	if err != nil {
		far.Close()
		return
	}
	_, _ = io.WriteString(near, "HTTP/1.1 200 Connected\r\n\r\n") // the copies below see it
	done := make(chan struct{}, 2)
	go func() { _, _ = io.Copy(far, buffered); done <- struct{}{} }()
	go func() { _, _ = io.Copy(near, far); done <- struct{}{} }()
	<-done // an end of one side ends both
	near.Close()
	far.Close()
	<-done
}
