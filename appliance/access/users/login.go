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
// of the request that it returns, where the access controller looks. The error is
// nil, auth.ErrInvalidCredential where there are no credentials, or that of Check.
func (t *Table) Login(r *http.Request) (*http.Request, error) {
	l := t.login(r)
	return r.WithContext(context.WithValue(r.Context(), loginKey{}, l)), l.err
}

// login proves who a request is from: who has a certificate that logs in, or else
// a password.
func (t *Table) login(r *http.Request) login {
	if user := clients.User(r.Context()); user != "" {
		identity.Prove(r.Context(), user)
		return login{user: user}
	}
	name, password, ok := r.BasicAuth()
	if !ok {
		return login{err: auth.ErrInvalidCredential}
	}
	err := t.Check(r.Context(), r.RemoteAddr, name, password)
	t.counts.note(err)
	if err != nil {
		return login{err: err}
	}
	identity.Prove(r.Context(), name)
	return login{user: name}
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
