package registry

import (
	"bufio"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/redoubt-registry/redoubt/appliance/access/clients"
	"github.com/redoubt-registry/redoubt/appliance/access/identity"
	"github.com/redoubt-registry/redoubt/appliance/registry/forwarded"
	"github.com/redoubt-registry/redoubt/appliance/registry/logs"
	"github.com/redoubt-registry/redoubt/appliance/registry/page"
)

// ServeHTTP answers on the registry's socket: it gives the request to the
// generation in force, which stays until the answer is done.
func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	g := s.acquire()
	defer g.release()
	r, h := g.admit(r)
	s.observe(g, w, r, h)
}

// admit decides by the client's certificate, for each request: it may have been
// revoked since the connection or its TLS session began.
func (g *generation) admit(r *http.Request) (*http.Request, http.Handler) {
	if refusal := g.inTheClear(r); refusal != nil {
		return r, refusal
	}
	if g.clients == nil {
		return r, g.handler
	}
	leaf, err := g.clients.Verify(r.TLS)
	if err != nil {
		refuseCertificate(r.Context())
		return r, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Connection", "close") // in HTTP/2 as well: it ends with this answer
			page.Refused(w, http.StatusForbidden, err.Error())
		})
	}
	if who := g.users.Of(leaf); who.User != "" {
		r = r.WithContext(clients.With(r.Context(), who))
	}
	return r, g.handler
}

// serveRedirect answers on the other sockets: it redirects reads to the registry's
// address, and answers a CA. It refuses what a client sends in plain HTTP, and does not
// redirect that silently either.
func (s *server) serveRedirect(w http.ResponseWriter, r *http.Request) {
	g := s.acquire()
	defer g.release()
	s.observe(g, w, r, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !s.serveChallenge(g, w, r) {
			g.redirect(w, r)
		}
	}))
}

func (g *generation) redirect(w http.ResponseWriter, r *http.Request) {
	if g.maintenance != nil {
		g.maintenance.ServeHTTP(w, r)
		return
	}
	host, err := url.Parse(g.config.HTTP.Host)
	if err != nil || host.Host == "" || (r.Method != http.MethodGet && r.Method != http.MethodHead) {
		page.Refused(w, http.StatusForbidden, "this registry is served over https only")
		return
	}
	target := url.URL{Scheme: "https", Host: host.Host, Path: r.URL.Path, RawPath: r.URL.RawPath, RawQuery: r.URL.RawQuery}
	w.Header().Set("Cache-Control", "no-store")
	http.Redirect(w, r, target.String(), http.StatusPermanentRedirect)
}

// observe counts and logs what h answers, and keeps its panics to the request.
func (s *server) observe(g *generation, w http.ResponseWriter, r *http.Request, h http.Handler) {
	began := time.Now()
	rec := &recorder{ResponseWriter: w, base: forwarded.Base(r)}
	who := identity.Of(r.Context())
	end := s.metrics.Begin(r, began)
	defer func() {
		cause := recover()
		abort := cause != nil && (cause == http.ErrAbortHandler || rec.status != 0)
		if cause != nil && cause != http.ErrAbortHandler {
			s.log.Errorf("a request failed: %s %s: %v", r.Method, r.URL.EscapedPath(), cause)
		}
		if cause != nil && !abort {
			page.Unavailable(rec, "the request could not be answered")
		}
		status := rec.Status()
		end(status)
		if g.accessLog != nil && r.UserAgent() != s.watchdogAgent {
			g.accessLog.Write(r, logs.Answer{User: who.User(), Status: status, Bytes: rec.bytes, Began: began})
		}
		if r.UserAgent() != s.watchdogAgent {
			s.note(g, r, rec.Header(), status)
		}
		if abort { // the client must not take half an answer for a whole one
			panic(http.ErrAbortHandler)
		}
	}()
	h.ServeHTTP(rec, r)
}

// recorder notes the status and the size of an answer. It completes a link to a place on
// this registry where a proxy says what the client calls it.
type recorder struct {
	http.ResponseWriter
	base   string // what stands before a path; empty: it is not known
	status int
	bytes  int64
}

func (r *recorder) WriteHeader(status int) {
	if r.status == 0 && status >= 200 {
		r.status = status
		if to := r.Header().Get("Location"); r.base != "" && strings.HasPrefix(to, "/") {
			r.Header().Set("Location", r.base+to)
		}
	}
	r.ResponseWriter.WriteHeader(status)
}

func (r *recorder) Write(p []byte) (int, error) {
	if r.status == 0 {
		r.status = http.StatusOK
	}
	n, err := r.ResponseWriter.Write(p)
	r.bytes += int64(n)
	return n, err
}

// Status is the status that the client got: 200 if the handler set none.
func (r *recorder) Status() int {
	if r.status == 0 {
		return http.StatusOK
	}
	return r.status
}

// Hijack is used only by maintenance, which answers 503.
func (r *recorder) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, buffer, err := http.NewResponseController(r.ResponseWriter).Hijack()
	if err == nil {
		r.status = http.StatusServiceUnavailable
	}
	return conn, buffer, err
}

// Flush and Unwrap let the handler reach the connection.
func (r *recorder) Flush() { _ = http.NewResponseController(r.ResponseWriter).Flush() }

func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }
