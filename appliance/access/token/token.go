// Package token makes and checks the registry's own tokens: JWTs (RFC 7519) that are signed
// with ECDSA P-256 (ES256, RFC 7518, 3.4), and the grammar of the scopes that clients ask
// for. It reads and writes nothing.
package token

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	lru "github.com/hashicorp/golang-lru/v2"
)

// Use is what a token is good for.
type Use string

// The uses. None is good for another.
const (
	// Access comes with each request, as a Bearer token (RFC 6750).
	Access Use = "access"
	// Login stands for a password: at the token endpoint as a refresh token, or as the
	// password of its user.
	Login Use = "login"
)

// Claims are what a token says: who has it, how that was proven, and what for.
type Claims struct {
	Use  Use
	User string // empty: somebody without a login
	// Groups are those that come with the login, beside those that the configuration has.
	Groups []string
	// Proof is what was shown for the token, such as password or robot.
	Proof string
	// Stamp changes with what was shown: a token of another stamp is not valid any more.
	// It must tell nothing of a secret.
	Stamp string
	// Grants are what an Access token is for; the rules of the moment count beside it.
	Grants []Grant
	// Issued and Expires are set when the token is made.
	Issued, Expires time.Time
}

// body are the claims as they are written.
type body struct {
	jwt.Claims
	Use    Use      `json:"use"`
	Groups []string `json:"groups,omitempty"`
	Proof  string   `json:"proof,omitempty"`
	Stamp  string   `json:"stamp,omitempty"`
	Access []Grant  `json:"access,omitempty"`
}

// The errors of Verify and Mint; compare with errors.Is.
var (
	// ErrInvalid says that a token is not valid, and not why.
	ErrInvalid = errors.New("the token is not valid, or not any more")
	// ErrUnknownKey is an ErrInvalid of a key that is not known, perhaps not yet.
	ErrUnknownKey = fmt.Errorf("%w", ErrInvalid)
	// ErrForged is an ErrInvalid that nobody has who only waited too long.
	ErrForged = fmt.Errorf("%w", ErrInvalid)
	// ErrNoKeys says that there is no key to sign with.
	ErrNoKeys = errors.New("cannot make a token: there is no key yet; redoubt renew makes it")
)

const (
	// issuer is the iss of all tokens: which machine made one is told by its key.
	issuer = "redoubt"
	// leeway is how far the clocks of machines may be apart.
	leeway = 60 * time.Second
	// MaxSize is the longest token that is looked at, in bytes. Headers may be longer.
	MaxSize = 16 << 10
	// remembered bounds the tokens whose signature is known.
	remembered = 8192
)

// Issuer makes and checks the tokens of one registry. It is safe for concurrent use.
type Issuer struct {
	audience string
	now      func() time.Time
	state    atomic.Pointer[state]
}

// state are keys, and what has been checked by them.
type state struct {
	keys  Keys
	known *lru.Cache[[sha256.Size]byte, *Claims]
}

// NewIssuer makes an issuer without keys. The audience is the registry's name: tokens for
// another one are refused.
func NewIssuer(audience string, now func() time.Time) *Issuer {
	i := &Issuer{audience: audience, now: now}
	i.put(Keys{})
	return i
}

func (i *Issuer) put(k Keys) {
	known, err := lru.New[[sha256.Size]byte, *Claims](remembered)
	if err != nil {
		panic(err) // of a size below 1
	}
	i.state.Store(&state{k, known})
}

// SetKeys puts keys in force. Tokens of a key that is not among them are refused from now on.
func (i *Issuer) SetKeys(k Keys) {
	if !i.state.Load().keys.same(k) {
		i.put(k)
	}
}

// Audience is the name that tokens are for.
func (i *Issuer) Audience() string { return i.audience }

// Ready says whether tokens can be made.
func (i *Issuer) Ready() bool { return len(i.state.Load().keys.list) > 0 }

// Mint makes a token that is valid for a lifetime, at most MaxLifetime. Where c.Expires is
// set and sooner, it ends then.
func (i *Issuer) Mint(c Claims, lifetime time.Duration) (text string, expires time.Time, err error) {
	now := i.now()
	jwk, ok := i.state.Load().keys.signer(now)
	if !ok {
		return "", time.Time{}, ErrNoKeys
	}
	expires = now.Add(min(lifetime, MaxLifetime)).Truncate(time.Second)
	if !c.Expires.IsZero() && c.Expires.Before(expires) {
		expires = c.Expires
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jwk}, (&jose.SignerOptions{}).WithType("JWT"))
	if err != nil {
		return "", time.Time{}, fmt.Errorf("cannot sign a token: %w", err)
	}
	text, err = jwt.Signed(signer).Claims(body{
		Claims: jwt.Claims{Issuer: issuer, Subject: c.User, Audience: jwt.Audience{i.audience}, ID: rand.Text(),
			IssuedAt: jwt.NewNumericDate(now), Expiry: jwt.NewNumericDate(expires)},
		Use: c.Use, Groups: c.Groups, Proof: c.Proof, Stamp: c.Stamp, Access: c.Grants,
	}).Serialize()
	if err != nil {
		return "", time.Time{}, fmt.Errorf("cannot sign a token: %w", err)
	}
	return text, expires, nil
}

// Verify returns the claims of a token that is valid now, for a use; they must not be
// changed. What was checked before costs one digest. The caller looks whether the user and
// the stamp still stand.
func (i *Issuer) Verify(text string, use Use) (*Claims, error) {
	if len(text) > MaxSize {
		return nil, ErrForged
	}
	s := i.state.Load()
	digest := sha256.Sum256([]byte(text))
	c, ok := s.known.Get(digest)
	if !ok {
		var err error
		if c, err = i.check(s.keys, text); err != nil {
			return nil, err
		}
		s.known.Add(digest, c)
	}
	if now := i.now(); c.Use != use || !now.Before(c.Expires) || c.Issued.After(now.Add(leeway)) {
		return nil, ErrInvalid
	}
	return c, nil
}

// Ours says whether a text wants to be a token of a registry like this. That proves nothing.
func Ours(text string) bool {
	parts := strings.Split(text, ".")
	if len(text) > MaxSize || len(parts) != 3 {
		return false
	}
	data, err := base64.RawURLEncoding.DecodeString(parts[1])
	var claims struct {
		Issuer string `json:"iss"`
	}
	return err == nil && json.Unmarshal(data, &claims) == nil && claims.Issuer == issuer
}

// check looks at all of a token but the time.
func (i *Issuer) check(keys Keys, text string) (*Claims, error) {
	parsed, err := jwt.ParseSigned(text, []jose.SignatureAlgorithm{jose.ES256})
	if err != nil || len(parsed.Headers) != 1 {
		return nil, ErrForged
	}
	public, ok := keys.public(parsed.Headers[0].KeyID)
	if !ok {
		return nil, ErrUnknownKey
	}
	var b body
	if err := parsed.Claims(public, &b); err != nil {
		return nil, ErrForged
	}
	if b.Issuer != issuer || !b.Audience.Contains(i.audience) || b.Expiry == nil || b.IssuedAt == nil {
		return nil, ErrForged
	}
	return &Claims{Use: b.Use, User: b.Subject, Groups: b.Groups, Proof: b.Proof, Stamp: b.Stamp, Grants: b.Access,
		Issued: b.IssuedAt.Time(), Expires: b.Expiry.Time()}, nil
}
