package users

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/distribution/distribution/v3/registry/auth"

	"github.com/redoubt-registry/redoubt/appliance/access/acl"
	"github.com/redoubt-registry/redoubt/appliance/access/identity"
)

// Anonymous is the token of who has no login. It proves nothing and is no secret.
const Anonymous = "anonymous"

// ErrToken says that a token is not valid, and not why.
var ErrToken = errors.New("the token is not valid, or not any more")

// Tokens makes and checks tokens, each of which stands for a right password for a while:
// as long as the password stays the user's. What the user may do is not in it. All
// machines with the same secret take each other's tokens.
type Tokens struct {
	key      []byte
	lifetime time.Duration
	now      func() time.Time
}

// NewTokens makes tokens that are signed by means of a secret.
func NewTokens(secret string, lifetime time.Duration, now func() time.Time) *Tokens {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte("redoubt login token")) // the secret signs other things as well
	return &Tokens{key: mac.Sum(nil), lifetime: lifetime, now: now}
}

// Lifetime is how long a token is valid.
func (t *Tokens) Lifetime() time.Duration { return t.lifetime }

// sign is the signature of a token: it ends with the user's password.
func (t *Tokens) sign(name, until string, hash []byte) []byte {
	mac := hmac.New(sha256.New, t.key)
	for _, part := range [][]byte{[]byte(name), []byte(until), hash} {
		var size [8]byte
		binary.BigEndian.PutUint64(size[:], uint64(len(part)))
		mac.Write(size[:])
		mac.Write(part)
	}
	return mac.Sum(nil)
}

var encoding = base64.RawURLEncoding.Strict()

// Token makes a token for a user who has just given the right password; that of somebody
// who has none, such as the user of a client certificate, is Anonymous.
func (t *Table) Token(tokens *Tokens, name string) string {
	users, _, _ := t.snapshot()
	u, ok := users[name]
	if !ok {
		return Anonymous
	}
	until := strconv.FormatInt(tokens.now().Add(tokens.lifetime).Unix(), 10)
	return strings.Join([]string{encoding.EncodeToString([]byte(name)), until, encoding.EncodeToString(tokens.sign(name, until, u.hash))}, ".")
}

// byToken is the login of a token.
func (t *Table) byToken(ctx context.Context, tokens *Tokens, token string) login {
	if token == Anonymous {
		return login{err: auth.ErrInvalidCredential}
	}
	users, _, _ := t.snapshot()
	if users == nil {
		return login{err: ErrUnavailable}
	}
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		identity.Refuse(ctx, "", identity.Token)
		return login{err: ErrToken}
	}
	name, nameErr := encoding.DecodeString(parts[0])
	until, untilErr := strconv.ParseInt(parts[1], 10, 64)
	signature, signatureErr := encoding.DecodeString(parts[2])
	u, ok := users[string(name)]
	if nameErr != nil || untilErr != nil || signatureErr != nil || !ok ||
		!hmac.Equal(signature, tokens.sign(string(name), parts[1], u.hash)) || tokens.now().Unix() >= until {
		identity.Refuse(ctx, "", identity.Token)
		return login{err: ErrToken}
	}
	identity.Prove(ctx, string(name), identity.Token)
	return login{Proven: Proven{Who: acl.Who{User: string(name)}, By: identity.Token}}
}

// What tells an ID token of an issuer from a token of ours, and the user whose password it
// is: a JWT begins with an object (RFC 7519, 3.1).
const (
	jwtPrefix = "eyJ"
	jwtUser   = "oidc"
)

// bearer is the token of a request (RFC 6750, 2.1).
func bearer(r *http.Request) (string, bool) {
	scheme, token, ok := strings.Cut(r.Header.Get("Authorization"), " ")
	return strings.TrimSpace(token), ok && strings.EqualFold(scheme, "Bearer")
}
