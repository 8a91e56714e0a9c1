// Package oidc lets in who shows an ID token (OpenID Connect Core 1.0, 2) of an issuer
// that is trusted: a job of a CI service, a service account of Kubernetes.
package oidc

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4/jwt"
	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/redoubt-registry/redoubt/appliance/access/acl"
	"github.com/redoubt-registry/redoubt/appliance/access/claims"
	"github.com/redoubt-registry/redoubt/appliance/access/identity"
	"github.com/redoubt-registry/redoubt/appliance/access/limit"
	"github.com/redoubt-registry/redoubt/appliance/access/token"
	"github.com/redoubt-registry/redoubt/appliance/access/users"
)

// User is the name that a token is the password of.
const User = "oidc"

const (
	skew     = time.Minute // that clocks may differ
	maxToken = 16 << 10    // bytes
	// maxKnown tokens are remembered, each for maxMemory at most: a key that its issuer
	// takes back counts no longer.
	maxKnown  = 8192
	maxMemory = time.Hour
	working   = 32 // checks at a time; one may wait for its issuer
)

// Trust lets tokens in that are for Audience and whose claims match.
type Trust struct {
	Issuer, Audience string
	Match            map[string]string // claim: pattern, all of them
	User             string
	Groups           []string
	CABundle         []byte // PEM, for the issuer; nil: the system's
}

type trust struct {
	Trust
	issuer *issuer
	digest string // another one as soon as anything of Trust is
	match  map[string]claims.Pattern
	user   claims.Name
	groups []claims.Name
}

// Source checks tokens. It is safe for concurrent use.
type Source struct {
	trusts  []trust
	issuers []*issuer
	now     func() time.Time
	gate    *limit.Gate
	known   *lru.Cache[[sha256.Size]byte, memory]
}

type memory struct {
	users.Proven
	forget time.Time
}

// New makes a source. It asks no issuer anything yet. It takes over the keys that old has;
// old may be nil.
func New(trusts []Trust, old *Source, now func() time.Time) (*Source, error) {
	known, err := lru.New[[sha256.Size]byte, memory](maxKnown)
	if err != nil {
		return nil, err
	}
	s := &Source{now: now, gate: limit.NewGate(limit.Default(working), now), known: known}
	for i, t := range trusts {
		read, err := read(t)
		if err != nil {
			return nil, fmt.Errorf("trust[%d]: %w", i, err)
		}
		read.issuer = s.issuerOf(t, old)
		s.trusts = append(s.trusts, read)
	}
	return s, nil
}

func read(t Trust) (trust, error) {
	out := trust{Trust: t, match: map[string]claims.Pattern{}}
	if t.Issuer == "" || t.Audience == "" || len(t.Match) == 0 {
		return out, errors.New("needs issuer, audience and match")
	}
	text, err := json.Marshal(t)
	if err != nil {
		return out, fmt.Errorf("cannot be written: %w", err)
	}
	sum := sha256.Sum256(text)
	out.digest = base64.RawURLEncoding.EncodeToString(sum[:16])
	for claim, text := range t.Match {
		if out.match[claim], err = claims.ParsePattern(text); err != nil {
			return out, fmt.Errorf("match.%s: %w", claim, err)
		}
	}
	if out.user, err = claims.ParseName(t.User); err != nil {
		return out, fmt.Errorf("user: %w", err)
	}
	for _, text := range t.Groups {
		name, err := claims.ParseName(text)
		if err != nil {
			return out, fmt.Errorf("groups: %w", err)
		}
		out.groups = append(out.groups, name)
	}
	return out, nil
}

// issuerOf is one issuer for all that trust it by the same CAs, with the keys it had.
func (s *Source) issuerOf(t Trust, old *Source) *issuer {
	same := func(i *issuer) bool { return i.url == t.Issuer && i.cas == string(t.CABundle) }
	if at := slices.IndexFunc(s.issuers, same); at >= 0 {
		return s.issuers[at]
	}
	i := newIssuer(t.Issuer, t.CABundle, s.now)
	if old != nil {
		if at := slices.IndexFunc(old.issuers, same); at >= 0 {
			i = old.issuers[at]
		}
	}
	s.issuers = append(s.issuers, i)
	return i
}

// Refused says why a token does not count. It has nothing secret in it.
type Refused struct{ Why string }

func (e *Refused) Error() string { return "the ID token is not accepted: " + e.Why }

func (e *Refused) Unwrap() error { return users.ErrRefused }

// Takes implements users.Source.
func (s *Source) Takes(name, _ string) bool { return name == User }

// Login implements users.Source: it says whose token it is. The error is a *Refused, an
// *Unavailable, a *limit.Refused, or that of ctx.
func (s *Source) Login(ctx context.Context, remote, _, token string) (users.Proven, error) {
	if len(token) > maxToken || strings.Count(token, ".") != 2 {
		token = "" // refused below, as a failure of the client's
	}
	key := sha256.Sum256([]byte(token))
	if m, ok := s.known.Get(key); ok && s.now().Before(m.forget) {
		return m.Proven, nil
	}
	var login users.Proven
	var err error
	_, refused := s.gate.Do(limit.ClientOf(remote, User), func() bool {
		login, err = s.verify(ctx, token)
		_, wrong := errors.AsType[*Refused](err)
		return !wrong
	})
	if refused != nil {
		return users.Proven{By: identity.OIDC}, refused
	}
	if err == nil {
		forget := login.Until
		if latest := s.now().Add(maxMemory); forget.After(latest) {
			forget = latest
		}
		s.known.Add(key, memory{login, forget})
	}
	login.By = identity.OIDC
	return login, err
}

func (s *Source) verify(ctx context.Context, token string) (users.Proven, error) {
	parsed, err := jwt.ParseSigned(token, algorithms)
	if err != nil {
		return users.Proven{}, &Refused{"it is no token that an issuer has signed with a key of its own"}
	}
	var unproven jwt.Claims
	if err := parsed.UnsafeClaimsWithoutVerification(&unproven); err != nil {
		return users.Proven{}, &Refused{"its claims cannot be read"}
	}
	err = &Refused{"no item of auth.oidc.trust has its issuer and its audience"}
	for _, t := range s.trusts {
		if t.Issuer != unproven.Issuer || !unproven.Audience.Contains(t.Audience) {
			continue
		}
		var login users.Proven
		if login, err = s.by(ctx, t, token); err == nil {
			return login, nil
		}
		if _, no := errors.AsType[*Refused](err); !no {
			return users.Proven{}, err
		}
	}
	return users.Proven{}, err
}

// by checks a token by one trust.
func (s *Source) by(ctx context.Context, t trust, token string) (users.Proven, error) {
	var names []string
	for _, a := range algorithms {
		names = append(names, string(a))
	}
	keys := &asked{issuer: t.issuer}
	verifier := oidc.NewVerifier(t.Issuer, keys, &oidc.Config{
		ClientID: t.Audience, SupportedSigningAlgs: names,
		SkipExpiryCheck: true, // below, with our skew
	})
	verified, err := verifier.Verify(ctx, token)
	if err != nil {
		if down, ok := errors.AsType[*Unavailable](keys.err); ok {
			return users.Proven{}, down
		}
		if ctx.Err() != nil {
			return users.Proven{}, ctx.Err()
		}
		return users.Proven{}, &Refused{"its signature is not of a key that the issuer has"}
	}
	var standard jwt.Claims
	var all claims.Claims
	if verified.Claims(&standard) != nil || verified.Claims(&all) != nil || standard.Expiry == nil {
		return users.Proven{}, &Refused{"it does not say until when it is valid"}
	}
	switch err := standard.ValidateWithLeeway(jwt.Expected{Time: s.now()}, skew); {
	case errors.Is(err, jwt.ErrExpired):
		return users.Proven{}, &Refused{"it has expired"}
	case err != nil:
		return users.Proven{}, &Refused{"it is not valid yet: compare the clocks"}
	}
	who, err := t.who(all)
	return users.Proven{Who: who, By: identity.OIDC, Until: standard.Expiry.Time().Add(skew), Stamp: t.digest}, err
}

// Stands implements users.Source: a token that was made for an ID token ends with it, and
// with what let it in.
func (s *Source) Stands(_ context.Context, c *token.Claims) (users.Proven, bool) {
	if c.Proof != string(identity.OIDC) || !slices.ContainsFunc(s.trusts, func(t trust) bool { return t.digest == c.Stamp }) {
		return users.Proven{}, false
	}
	return users.Proven{Who: acl.Who{User: c.User, Groups: c.Groups}, By: identity.OIDC, Until: c.Expires, Stamp: c.Stamp}, true
}

// asked keeps why a signature was refused, which the verifier tells as text.
type asked struct {
	*issuer
	err error
}

// VerifySignature implements oidc.KeySet.
func (a *asked) VerifySignature(ctx context.Context, raw string) (payload []byte, err error) {
	payload, a.err = a.issuer.VerifySignature(ctx, raw)
	return payload, a.err
}

// who is the user and the groups that claims mean, if they match.
func (t trust) who(c claims.Claims) (acl.Who, error) {
	for claim, pattern := range t.match {
		if !pattern.Match(c.Values(claim)) {
			return acl.Who{}, &Refused{"its claims match no item of auth.oidc.trust"}
		}
	}
	names, err := t.user.Expand(c)
	if err != nil || len(names) != 1 {
		return acl.Who{}, &Refused{"its claims make no user's name"}
	}
	who := acl.Who{User: names[0]}
	for _, g := range t.groups {
		names, err := g.Expand(c)
		if err != nil {
			return acl.Who{}, &Refused{"its claims make no group's name"}
		}
		who.Groups = append(who.Groups, names...)
	}
	return who, nil
}

// Down is the issuers whose keys could not be had at the last try, each with the reason.
// Those that have not been asked for a while are asked behind it.
func (s *Source) Down() []error {
	var out []error
	for _, i := range s.issuers {
		if err := i.down(); err != nil {
			out = append(out, &Unavailable{i.url, err})
		}
	}
	return out
}
