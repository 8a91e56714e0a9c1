package users

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/distribution/distribution/v3/registry/auth"

	"github.com/redoubt-registry/redoubt/appliance/access/acl"
	"github.com/redoubt-registry/redoubt/appliance/access/clients"
	"github.com/redoubt-registry/redoubt/appliance/access/identity"
	"github.com/redoubt-registry/redoubt/appliance/access/limit"
	"github.com/redoubt-registry/redoubt/appliance/access/robot"
	"github.com/redoubt-registry/redoubt/appliance/access/token"
)

// Proven is who has logged in, and how that was proven.
type Proven struct {
	acl.Who                // the groups that come with the proof
	By      identity.Proof // such as identity.Password
	Until   time.Time      // when the proof ends; zero: it does not by itself
	// Stamp changes with what was shown, and tells nothing of it.
	Stamp string
	// Within is what the login is for, where that is less than the rules allow; nil: it is not.
	Within *acl.Policy
	// Bearer says that an access token was shown, which is for Grants and nothing else.
	Bearer bool
	Grants []token.Grant
}

// May says whether the login is for an action on a repository, whatever the rules say.
func (p Proven) May(a acl.Action, repository string) bool {
	return p.Within == nil || p.Within.Decide(p.Who, a, repository).Allowed
}

// Source proves logins of users that the table does not have.
type Source interface {
	// Takes says whether a login is for this source. For a name that is in the table only
	// those are asked whose passwords are like no others: see robot.Looks.
	Takes(name, password string) bool
	// Login says who has this name and this password. The error is ErrRefused, ErrAway, a
	// *limit.Refused or that of ctx, or wraps one of them; By is set then too, and User
	// where it is known whose login was refused.
	Login(ctx context.Context, remote, name, password string) (Proven, error)
	// Stands says whether a token that was made after a Login still counts, and for whom.
	// Claims that are not of this source do not.
	Stands(ctx context.Context, c *token.Claims) (Proven, bool)
}

// ErrAway says that nobody can tell whether a login is right, since the issuer or the
// directory that knows it does not answer.
var ErrAway = errors.New("the login cannot be checked now")

// login is what came of a request's credentials.
type login struct {
	Proven
	err error
}

type loginKey struct{}

// Login checks the credentials of a request once: what it finds is in the context
// of the request that it returns, where Of and the access controller look. The error is
// nil, auth.ErrInvalidCredential where there are no credentials, or that of Check.
// tokens are those that count beside passwords; nil is none. sources are asked for who is
// not in the table, the first one that takes the name.
func (t *Table) Login(r *http.Request, tokens *token.Issuer, sources ...Source) (*http.Request, error) {
	l := t.login(r, tokens, sources)
	return l.in(r), l.err
}

func (l login) in(r *http.Request) *http.Request {
	return r.WithContext(context.WithValue(r.Context(), loginKey{}, l))
}

// Of is the user of a request that Login gave, or the error that it gave.
func Of(ctx context.Context) (user string, err error) {
	p, err := Proof(ctx)
	return p.User, err
}

// Proof is what proves the user of a request that Login gave, or the error that it gave.
func Proof(ctx context.Context) (Proven, error) {
	l, ok := ctx.Value(loginKey{}).(login)
	if !ok {
		return Proven{}, auth.ErrInvalidCredential
	}
	return l.Proven, l.err
}

// Admit returns a request that needs no login: the access controller lets it pass.
func Admit(r *http.Request) *http.Request { return login{}.in(r) }

// login proves who a request is from: who has a certificate that logs in, or else
// a password or a token.
func (t *Table) login(r *http.Request, tokens *token.Issuer, sources []Source) login {
	if who := clients.Who(r.Context()); who.User != "" {
		identity.Prove(r.Context(), who.User, identity.Certificate)
		return login{Proven: Proven{Who: who, By: identity.Certificate}}
	}
	name, password, ok := r.BasicAuth()
	if text, bears := bearer(r); bears && tokens != nil {
		issuers := slices.ContainsFunc(sources, func(s Source) bool { return s.Takes(jwtUser, text) })
		if !issuers || token.Ours(text) {
			return t.byToken(r, tokens, text, sources)
		}
		name, password, ok = jwtUser, text, true
	}
	if !ok || name == "" && password == "" { // as some clients say that they have none
		return login{err: auth.ErrInvalidCredential}
	}
	p, err := t.prove(r, name, password, tokens, sources)
	t.counts.note(err)
	if err != nil {
		t.claim(r.Context(), name, p, err)
		return login{err: err}
	}
	identity.Prove(r.Context(), p.User, p.By)
	return login{Proven: p}
}

// prove asks the table, or for a name that it does not have the source that takes it. A
// token that stands for a password counts as one.
func (t *Table) prove(r *http.Request, name, password string, tokens *token.Issuer, sources []Source) (Proven, error) {
	if tokens != nil && strings.HasPrefix(password, jwtPrefix) {
		if c, err := tokens.Verify(password, token.Login); err == nil && LoginName(c) == name {
			return t.stands(r.Context(), c, sources)
		}
	}
	if len(sources) > 0 && (robot.Looks(password) || !t.has(name)) {
		for _, s := range sources {
			if s.Takes(name, password) {
				return s.Login(r.Context(), r.RemoteAddr, name, password)
			}
		}
	}
	u, err := t.check(r.Context(), r.RemoteAddr, name, password)
	if err != nil {
		return Proven{By: identity.Password}, err
	}
	return Proven{Who: acl.Who{User: name}, By: identity.Password, Stamp: u.stamp}, nil
}

// claim notes whose login was refused, for the audit log.
func (t *Table) claim(ctx context.Context, name string, p Proven, err error) {
	var limited *limit.Refused
	if !errors.Is(err, ErrRefused) && !errors.As(err, &limited) {
		return // the client left, or the table cannot be read
	}
	if p.User != "" {
		name = p.User
	} else if !t.has(name) {
		name = ""
	}
	identity.Refuse(ctx, name, p.By)
}

// note counts a login that was refused.
func (c *counts) note(err error) {
	var limited *limit.Refused
	switch {
	case errors.Is(err, ErrRefused):
		c.refused.Add(1)
	case errors.As(err, &limited):
		c.limited.Add(1)
	}
}
