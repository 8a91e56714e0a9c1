package outbound

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"time"
)

const (
	dialTimeout      = 5 * time.Second
	handshakeTimeout = 5 * time.Second
)

// hop is the way to the proxy itself.
type hop struct {
	address string // host:port
	login   bool
	tls     *tls.Config // nil for a proxy that is http
	cas     []byte
}

func newHop(p Proxy) (*hop, error) {
	u, err := url.Parse(p.URL)
	if err != nil || u.Hostname() == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, &Error{Key: "proxy.url", Message: "must be a URL with http or https"} // never quoted
	}
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	h := &hop{address: net.JoinHostPort(u.Hostname(), port), login: p.Username != "", cas: []byte(p.CAs)}
	if u.Scheme == "https" {
		h.tls = &tls.Config{ServerName: u.Hostname(), MinVersion: tls.VersionTLS12, RootCAs: h.beside(nil)}
	}
	return h, nil
}

// beside is pool, or the system's for nil, with the proxy's CAs; nil if that is the
// system's alone.
func (h *hop) beside(pool *x509.CertPool) *x509.CertPool {
	if len(h.cas) == 0 {
		return pool
	}
	if pool == nil {
		var err error
		if pool, err = x509.SystemCertPool(); err != nil {
			pool = x509.NewCertPool()
		}
	}
	pool = pool.Clone()
	pool.AppendCertsFromPEM(h.cas)
	return pool
}

// trust lets t speak to who has a certificate of a proxy that opens TLS.
func (h *hop) trust(t *http.Transport) {
	if len(h.cas) == 0 {
		return
	}
	if t.TLSClientConfig == nil {
		t.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	t.TLSClientConfig.RootCAs = h.beside(t.TLSClientConfig.RootCAs)
}

type toProxy struct{}

// ToProxy says whether a connection is one to the proxy: whoever guards where a client
// connects to lets it pass, for the operator named the proxy.
func ToProxy(ctx context.Context) bool { return ctx.Value(toProxy{}) != nil }

func (h *hop) dial(ctx context.Context, network string, dial func(context.Context, string, string) (net.Conn, error)) (net.Conn, error) {
	raw, err := dial(context.WithValue(ctx, toProxy{}, true), network, h.address)
	if err != nil {
		return nil, &Error{Key: "proxy.url", Message: "the proxy " + h.address + " cannot be reached", Err: cause(err)}
	}
	if h.tls == nil {
		return raw, nil
	}
	ctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	secured := tls.Client(raw, h.tls)
	if err := secured.HandshakeContext(ctx); err != nil {
		raw.Close()
		return nil, h.untrusted(err)
	}
	return secured, nil
}

func (h *hop) untrusted(err error) error {
	var unknown x509.UnknownAuthorityError
	var record tls.RecordHeaderError
	switch {
	case errors.As(err, &unknown):
		return &Error{Key: "proxy.caBundle", Message: "the certificate of the proxy " + h.address + " is of a CA that this machine does not know: put that CA's certificate here"}
	case errors.As(err, &record):
		return &Error{Key: "proxy.url", Message: "the proxy " + h.address + " does not speak TLS on this port: begin the URL with http://, or correct the port"}
	}
	return &Error{Key: "proxy.url", Message: "the proxy " + h.address + " cannot be spoken to by TLS", Err: err}
}

// judge is why the proxy does not connect to a host, or nil.
func (h *hop) judge(host string, answer *http.Response) error {
	e := &Error{Key: "proxy.url", Status: answer.StatusCode}
	switch {
	case answer.StatusCode/100 == 2:
		return nil
	case answer.StatusCode == http.StatusProxyAuthRequired && h.login:
		e.Key, e.Message = "proxy.password", "the proxy "+h.address+" refuses the login: check proxy.username and proxy.password"
	case answer.StatusCode == http.StatusProxyAuthRequired:
		e.Key, e.Message = "proxy.username", "the proxy "+h.address+" asks for a login: set proxy.username and proxy.password"
	case answer.StatusCode == http.StatusForbidden || answer.StatusCode == http.StatusMethodNotAllowed:
		e.Message = fmt.Sprintf("the proxy %s does not let this machine reach %s (it answers %d): allow it there, or put the name into proxy.noProxy", h.address, host, answer.StatusCode)
	default:
		e.Message = fmt.Sprintf("the proxy %s cannot reach %s: it answers %d", h.address, host, answer.StatusCode)
	}
	return e
}

// cause is err without the addresses around it, which the message has.
func cause(err error) error {
	if e, ok := errors.AsType[*net.OpError](err); ok {
		return e.Err
	}
	return err
}

// Error is a failure of the proxy, or of the way to it. It has no secret.
type Error struct {
	Key     string // of the configuration, to fix
	Message string
	Status  int   // that the proxy answered with; 0 for none
	Err     error // may be nil
}

func (e *Error) Error() string {
	if e.Err != nil {
		return e.Message + ": " + e.Err.Error()
	}
	return e.Message
}

func (e *Error) Unwrap() error { return e.Err }

// Denied says whether the proxy refuses, which does not pass by itself.
func (e *Error) Denied() bool {
	return e.Status == http.StatusProxyAuthRequired || e.Status == http.StatusForbidden || e.Status == http.StatusMethodNotAllowed
}

// Check connects to the proxy, and asks it nothing. No proxy is no error.
func (p Proxy) Check(ctx context.Context) error {
	if p.URL == "" || p.err != nil {
		return p.err
	}
	h, err := newHop(p)
	if err != nil {
		return err
	}
	c, err := h.dial(ctx, "tcp", (&net.Dialer{Timeout: dialTimeout}).DialContext)
	if err != nil {
		return err
	}
	return c.Close()
}
