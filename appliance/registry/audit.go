package registry

import (
	"context"
	"crypto/rand"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/redoubt-registry/redoubt/appliance/access/audit"
	"github.com/redoubt-registry/redoubt/appliance/access/identity"
	"github.com/redoubt-registry/redoubt/appliance/registry/bounds"
	"github.com/redoubt-registry/redoubt/appliance/registry/route"
)

// auditJournal is the sink that there always is. Outside systemd there is no journal, and
// the lines go where the log goes.
func (s *server) auditJournal() audit.Sink {
	if s.opts.AuditJournal == "" || os.Getenv("JOURNAL_STREAM") == "" {
		return audit.Lines(s.log.Out)
	}
	return audit.Journal(s.opts.AuditJournal, s.log.Out)
}

// note writes an answered request to the audit log, if it is one of those that are
// written there, and hands it to those who are told of it. Pushes and deletions are on the
// disk before the client has the answer.
func (s *server) note(g *generation, r *http.Request, answer http.Header, status int) {
	e, ok := audited(g, r, answer, status)
	if !ok {
		return
	}
	switch e.Action {
	case audit.Push, audit.Delete:
		e.Time, e.ID = time.Now(), rand.Text()
		told := s.tell(g, r, answer, e)
		s.audit.Keep(e)
		told.Wait()
	case audit.Pull:
		e.Time, e.ID = time.Now(), rand.Text()
		s.tell(g, r, answer, e)
		s.audit.Write(e)
	case audit.Login:
		if e.Result != audit.OK {
			s.audit.Refused(e)
			return
		}
		fallthrough
	default:
		s.audit.Write(e)
	}
}

// audited is the event of an answered request, if there is one: a login, what was done
// to a manifest or a blob, and what a known client was not allowed to do.
func audited(g *generation, r *http.Request, answer http.Header, status int) (audit.Event, bool) {
	who := identity.Of(r.Context())
	e := audit.Event{
		Result: result(status), User: who.User(), Proof: string(who.Proof()), Address: host(r.RemoteAddr),
		Method: r.Method, Status: status, Agent: r.UserAgent(),
	}
	if peer := bounds.Peer(r.Context()); peer != nil && host(peer.String()) != e.Address {
		e.Proxy = host(peer.String())
	}
	if claimed, refused := who.Refused(); refused {
		e.Action, e.Result, e.User = audit.Login, audit.Denied, claimed
		return e, true
	}
	rest, api := strings.CutPrefix(r.URL.Path, g.base+"/")
	if !api || g.base == "" {
		return e, false
	}
	if who.User() != "" && e.Status == http.StatusUnauthorized {
		return e, false // its token is for something else: the client asks for another one
	}
	if who.User() == "" {
		e.Proof = string(identity.Anonymous)
		if e.Result != audit.OK {
			return e, false // how every client begins: it is asked for a login
		}
	}
	if rest == strings.TrimPrefix(tokenPath, "/") {
		e.Action = audit.Login
		return e, who.User() != ""
	}
	q, refusal := route.Parse(r.Method, rest, r.URL.Query(), r.Header)
	if refusal != nil {
		return e, false
	}
	return e, describe(&e, q, r.Method, answer)
}

// describe says what a request did to what. It returns false for what is not audited.
func describe(e *audit.Event, q route.Request, method string, answer http.Header) bool {
	e.Repository, e.Tag, e.Digest = q.Name, q.Tag, q.Digest.String()
	reads := method == http.MethodGet || method == http.MethodHead
	switch {
	case q.Kind == route.Base && method == http.MethodGet:
		e.Action = audit.Login
		return e.User != ""
	case q.Kind == route.Manifest && reads:
		e.Action, e.Kind = audit.Pull, "manifest"
	case q.Kind == route.Manifest && method == http.MethodPut:
		e.Action, e.Kind, e.From = audit.Push, "manifest", q.From
		if e.Tag == "" {
			e.Tag = strings.Join(q.Tags, ",")
		}
	case q.Kind == route.Manifest && method == http.MethodDelete:
		e.Action, e.Kind = audit.Delete, "manifest"
		if e.Tag != "" {
			e.Kind = "tag"
		}
	case q.Kind == route.Blob && method == http.MethodDelete:
		e.Action, e.Kind = audit.Delete, "blob"
	case q.Kind == route.Upload && (method == http.MethodPut || method == http.MethodPost && ended(e, answer)):
		e.Action, e.Kind = audit.Push, "blob"
		if q.Mount != "" && e.Status == http.StatusCreated {
			e.Digest, e.From = q.Mount.String(), q.From
		}
	case e.Result == audit.Denied && reads:
		e.Action, e.Kind = audit.Pull, string(q.Kind)
	case e.Result == audit.Denied && e.User != "":
		e.Action, e.Kind = audit.Push, string(q.Kind)
	default:
		return false
	}
	if d, err := digest.Parse(answer.Get("Docker-Content-Digest")); err == nil && e.Result == audit.OK && e.Digest == "" {
		e.Digest = d.String()
	}
	return true
}

// ended says whether a request that begins an upload also ended it, by a mount or in one
// piece, or was refused.
func ended(e *audit.Event, answer http.Header) bool {
	return e.Status == http.StatusCreated && answer.Get("Docker-Content-Digest") != "" || e.Result != audit.OK
}

func result(status int) audit.Result {
	switch {
	case status == http.StatusForbidden || status == http.StatusUnauthorized || status == http.StatusTooManyRequests:
		return audit.Denied
	case status >= 400:
		return audit.Failed
	}
	return audit.OK
}

// host is an address without its port.
func host(address string) string {
	if h, _, err := net.SplitHostPort(address); err == nil {
		return h
	}
	return address
}

// refuseCertificate notes a client certificate that does not count.
func refuseCertificate(ctx context.Context) { identity.Refuse(ctx, "", identity.Certificate) }
