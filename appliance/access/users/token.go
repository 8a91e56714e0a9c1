package users

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"net/http"
	"strings"

	"github.com/distribution/distribution/v3/registry/auth"

	"github.com/redoubt-registry/redoubt/appliance/access/acl"
	"github.com/redoubt-registry/redoubt/appliance/access/identity"
	"github.com/redoubt-registry/redoubt/appliance/access/limit"
	"github.com/redoubt-registry/redoubt/appliance/access/robot"
	"github.com/redoubt-registry/redoubt/appliance/access/token"
)

// Claims are what a token is to say of a login: one that ends with it. Whoever has none,
// or shows a certificate with each request, gets the token of nobody.
func (p Proven) Claims(use token.Use, grants []token.Grant) token.Claims {
	c := token.Claims{Use: use, Grants: grants}
	if p.Stamp == "" {
		return c
	}
	c.User, c.Groups, c.Proof, c.Stamp, c.Expires = p.User, p.Groups, string(p.By), p.Stamp, p.Until
	return c
}

// LoginName is the name that the user of a token logs in with: a robot's without what
// distinguishes it in rules, where a colon could not be sent (RFC 7617, 2).
func LoginName(c *token.Claims) string {
	if c.Proof == string(identity.Robot) {
		return strings.TrimPrefix(c.User, robot.UserPrefix)
	}
	return c.User
}

// stampOf stands for the password of a user: it is another one as soon as the password is.
func stampOf(hash []byte) string {
	sum := sha256.Sum256(hash)
	return base64.RawURLEncoding.EncodeToString(sum[:16])
}

// stamp is that of the password that a user has now.
func (t *Table) stamp(name string) (string, bool) {
	users, _, _ := t.snapshot()
	u, ok := users[name]
	return u.stamp, ok
}

// has tells whether there is such a user now.
func (t *Table) has(name string) bool {
	_, ok := t.stamp(name)
	return ok
}

// byToken is the login of an access token. One that was never right counts as a failed
// login; one that has only ended does not.
func (t *Table) byToken(r *http.Request, tokens *token.Issuer, text string, sources []Source) login {
	c, err := tokens.Verify(text, token.Access)
	if errors.Is(err, token.ErrForged) {
		_, limited := t.gate.Do(limit.ClientOf(r.RemoteAddr, ""), func() bool { return false })
		err = errors.Join(limited, err)
		t.counts.note(errors.Join(limited, ErrRefused))
	}
	if err != nil {
		identity.Refuse(r.Context(), "", identity.Token)
		return login{err: err}
	}
	if c.User == "" {
		return login{err: auth.ErrInvalidCredential}
	}
	p, err := t.stands(r.Context(), c, sources)
	if err != nil {
		identity.Refuse(r.Context(), c.User, identity.Token)
		return login{err: err}
	}
	p.Bearer, p.Grants = true, c.Grants
	identity.Prove(r.Context(), p.User, identity.Token)
	return login{Proven: p}
}

// stands says whose login a token of ours is, and whether that login still counts.
func (t *Table) stands(ctx context.Context, c *token.Claims, sources []Source) (Proven, error) {
	if c.Proof == string(identity.Password) {
		if !t.Ready() {
			return Proven{}, ErrUnavailable
		}
		if stamp, ok := t.stamp(c.User); ok && stamp == c.Stamp {
			return Proven{Who: acl.Who{User: c.User}, By: identity.Password, Until: c.Expires, Stamp: stamp}, nil
		}
		return Proven{}, token.ErrInvalid
	}
	for _, s := range sources {
		if p, ok := s.Stands(ctx, c); ok {
			return p, nil
		}
	}
	return Proven{}, token.ErrInvalid
}

// A JWT begins with an object (RFC 7519, 3.1); one of an issuer is the password of jwtUser.
const (
	jwtPrefix = "eyJ"
	jwtUser   = "oidc"
)

// bearer is the token of a request (RFC 6750, 2.1).
func bearer(r *http.Request) (string, bool) {
	scheme, token, ok := strings.Cut(r.Header.Get("Authorization"), " ")
	return strings.TrimSpace(token), ok && strings.EqualFold(scheme, "Bearer")
}
