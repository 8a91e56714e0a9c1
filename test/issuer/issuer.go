// Package issuer is an issuer of ID tokens for tests, such as a Kubernetes cluster or a CI
// service is one: a discovery document, keys, and tokens with the claims of a test's
// choice.
package issuer

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// Issuer is an issuer on a loopback address. It ends with its test.
type Issuer struct {
	*httptest.Server
	Asked atomic.Int64 // requests that came in

	mu    sync.Mutex
	key   *ecdsa.PrivateKey
	kid   string
	other http.Handler // instead of all else
}

// New starts an issuer; with tls its certificate is in CAs.
func New(t testing.TB, tls bool) *Issuer {
	t.Helper()
	i := &Issuer{}
	i.Rotate(t)
	i.Server = httptest.NewUnstartedServer(i)
	if tls {
		i.StartTLS()
	} else {
		i.Start()
	}
	t.Cleanup(i.Close)
	return i
}

// Rotate gives the issuer another key and takes the old one away.
func (i *Issuer) Rotate(t testing.TB) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.key, i.kid = key, rand.Text()
}

// Answer lets h answer everything from now on; nil is the issuer itself again.
func (i *Issuer) Answer(h http.Handler) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.other = h
}

// ServeHTTP implements http.Handler.
func (i *Issuer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	i.Asked.Add(1)
	i.mu.Lock()
	key, kid, other := i.key, i.kid, i.other
	i.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	var answer any
	switch {
	case other != nil:
		other.ServeHTTP(w, r)
		return
	case r.URL.Path == "/.well-known/openid-configuration":
		answer = map[string]any{"issuer": i.URL, "jwks_uri": i.URL + "/openid/v1/jwks"}
	case r.URL.Path == "/openid/v1/jwks":
		answer = jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public(), KeyID: kid, Algorithm: "ES256", Use: "sig"}}}
	default:
		http.NotFound(w, r)
		return
	}
	_ = json.NewEncoder(w).Encode(answer) // the client has gone
}

// Token is a token of the issuer for an audience, valid for an hour. claims are added, and
// win; a nil one takes a claim away.
func (i *Issuer) Token(t testing.TB, audience string, claims map[string]any) string {
	t.Helper()
	i.mu.Lock()
	key, kid := i.key, i.kid
	i.mu.Unlock()
	now := time.Now()
	all := map[string]any{"iss": i.URL, "aud": []string{audience}, "sub": "somebody", "iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(time.Hour).Unix()}
	maps.Copy(all, claims)
	maps.DeleteFunc(all, func(_ string, v any) bool { return v == nil })
	return Sign(t, jose.ES256, key, kid, all)
}

// Public is the key that the issuer signs with.
func (i *Issuer) Public() crypto.PublicKey {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.key.Public()
}

// KeyID is the ID of that key.
func (i *Issuer) KeyID() string {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.kid
}

// Sign makes a token of claims with any key.
func Sign(t testing.TB, alg jose.SignatureAlgorithm, key any, kid string, claims map[string]any) string {
	t.Helper()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: jose.JSONWebKey{Key: key, KeyID: kid}}, (&jose.SignerOptions{}).WithType("JWT"))
	if err != nil {
		t.Fatal(err)
	}
	payload, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := signer.Sign(payload)
	if err != nil {
		t.Fatal(err)
	}
	token, err := signed.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return token
}
