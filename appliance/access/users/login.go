package users

import (
	"context"
	"errors"
	"net/http"

	"github.com/distribution/distribution/v3/registry/auth"

	"github.com/redoubt-registry/redoubt/appliance/access/clients"
	"github.com/redoubt-registry/redoubt/appliance/access/identity"
	"github.com/redoubt-registry/redoubt/appliance/access/limit"
)

// login is what came of a request's credentials.
type login struct {
	user string
	err  error
}

type loginKey struct{}

// Login checks the credentials of a request once: what it finds is in the context
// of the request that it returns, where Of and the access controller look. The error is
// nil, auth.ErrInvalidCredential where there are no credentials, or that of Check.
// tokens are those that count beside passwords; nil is none.
func (t *Table) Login(r *http.Request, tokens *Tokens) (*http.Request, error) {
	l := t.login(r, tokens)
	return l.in(r), l.err
}

func (l login) in(r *http.Request) *http.Request {
	return r.WithContext(context.WithValue(r.Context(), loginKey{}, l))
}

// Of is the user of a request that Login gave, or the error that it gave.
func Of(ctx context.Context) (user string, err error) {
	l, ok := ctx.Value(loginKey{}).(login)
	if !ok {
		return "", auth.ErrInvalidCredential
	}
	return l.user, l.err
}

// Admit returns a request that needs no login: the access controller lets it pass.
func Admit(r *http.Request) *http.Request { return login{}.in(r) }

// login proves who a request is from: who has a certificate that logs in, or else
// a password or a token.
func (t *Table) login(r *http.Request, tokens *Tokens) login {
	if user := clients.Who(r.Context()).User; user != "" {
		identity.Prove(r.Context(), user, identity.Certificate)
		return login{user: user}
	}
	if token, ok := bearer(r); ok && tokens != nil {
		return t.byToken(r.Context(), tokens, token)
	}
	name, password, ok := r.BasicAuth()
	if !ok || name == "" && password == "" { // as some clients say that they have none
		return login{err: auth.ErrInvalidCredential}
	}
	err := t.Check(r.Context(), r.RemoteAddr, name, password)
	t.counts.note(err)
	if err != nil {
		t.claim(r.Context(), name, err)
		return login{err: err}
	}
	identity.Prove(r.Context(), name, identity.Password)
	return login{user: name}
}

// claim notes whose login was refused, for the audit log.
func (t *Table) claim(ctx context.Context, name string, err error) {
	var limited *limit.Refused
	if !errors.Is(err, errRefused) && !errors.As(err, &limited) {
		return // the client left, or the table cannot be read
	}
	if users, _, _ := t.snapshot(); users[name].hash == nil {
		name = ""
	}
	identity.Refuse(ctx, name, identity.Password)
}

// note counts a login that was refused.
func (c *counts) note(err error) {
	var limited *limit.Refused
	switch {
	case errors.Is(err, errRefused):
		c.refused.Add(1)
	case errors.As(err, &limited):
		c.limited.Add(1)
	}
}
