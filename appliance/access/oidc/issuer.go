package oidc

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	"golang.org/x/sync/singleflight"

	"github.com/redoubt-registry/redoubt/appliance/access/users"
)

const (
	fresh   = time.Hour        // keys younger than that are not asked for again
	stale   = 24 * time.Hour   // how long keys count while the issuer does not answer
	between = 10 * time.Second // two questions to an issuer, whatever the tokens name
	maxKeys = 100              // of an issuer
)

// algorithms are those whose keys anybody may know.
var algorithms = []jose.SignatureAlgorithm{
	jose.RS256, jose.RS384, jose.RS512, jose.PS256, jose.PS384, jose.PS512, jose.ES256, jose.ES384, jose.ES512, jose.EdDSA,
}

// Unavailable says that the keys of an issuer cannot be had, so that nobody knows whether a
// token of it is right.
type Unavailable struct {
	Issuer string
	Err    error
}

func (e *Unavailable) Error() string {
	return fmt.Sprintf("cannot get the keys of the issuer %s: %v", e.Issuer, e.Err)
}

func (e *Unavailable) Unwrap() []error { return []error{users.ErrAway, e.Err} }

var errNoKey = errors.New("the issuer has no such key")

// issuer is one issuer and its keys, which are fetched when they are first needed. It is
// safe for concurrent use.
type issuer struct {
	url    string
	cas    string
	client *http.Client
	now    func() time.Time
	flight singleflight.Group

	mu             sync.Mutex
	keys           []jose.JSONWebKey
	fetched, tried time.Time
	err            error // of the last try
}

func newIssuer(url string, cas []byte, now func() time.Time) *issuer {
	return &issuer{url: url, cas: string(cas), now: now, client: Client(cas, onLoopback(url))}
}

// VerifySignature implements oidc.KeySet.
func (i *issuer) VerifySignature(ctx context.Context, raw string) ([]byte, error) {
	token, err := jose.ParseSignedCompact(raw, algorithms)
	if err != nil || len(token.Signatures) != 1 {
		return nil, errors.New("it is no token with one signature of a public key")
	}
	header := token.Signatures[0].Header
	keys, err := i.find(ctx, header.KeyID)
	if err != nil {
		return nil, err
	}
	for _, k := range keys {
		if k.Algorithm != "" && k.Algorithm != header.Algorithm {
			continue
		}
		if payload, err := token.Verify(k); err == nil {
			return payload, nil
		}
	}
	return nil, errors.New("its signature is not the issuer's")
}

// find returns the keys that may have signed: that of an ID, or all where there is none.
// It asks the issuer for what it does not have, but not at every token.
func (i *issuer) find(ctx context.Context, kid string) ([]jose.JSONWebKey, error) {
	keys, age, wait, err := i.have(kid)
	switch {
	case len(keys) > 0 && age < fresh:
		return keys, nil
	case wait && len(keys) > 0 && age < stale:
		return keys, nil
	case wait && err != nil:
		return nil, &Unavailable{i.url, err}
	case wait:
		return nil, errNoKey
	}
	done := i.refresh()
	if len(keys) > 0 && age < stale {
		return keys, nil // the new ones are for the next token
	}
	select {
	case r := <-done:
		err = r.Err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if keys, age, _, _ = i.have(kid); len(keys) > 0 && age < stale {
		return keys, nil
	}
	if err != nil {
		return nil, &Unavailable{i.url, err}
	}
	return nil, errNoKey
}

// have returns what is known, how old it is, and whether it is too early to ask again.
func (i *issuer) have(kid string) (keys []jose.JSONWebKey, age time.Duration, wait bool, err error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	for _, k := range i.keys {
		if kid == "" || k.KeyID == kid {
			keys = append(keys, k)
		}
	}
	now := i.now()
	return keys, now.Sub(i.fetched), now.Sub(i.tried) < between, i.err
}

// refresh asks the issuer, once for all who want to know.
func (i *issuer) refresh() <-chan singleflight.Result {
	return i.flight.DoChan("", func() (any, error) {
		ctx, cancel := context.WithTimeout(context.Background(), fetchTimeout)
		defer cancel()
		keys, err := i.fetch(ctx)
		i.mu.Lock()
		defer i.mu.Unlock()
		i.tried, i.err = i.now(), err
		if err == nil {
			i.keys, i.fetched = keys, i.tried
		}
		return nil, err
	})
}

// fetch asks where the keys are (OpenID Connect Discovery 1.0, 4) and for the keys (RFC
// 7517, 5).
func (i *issuer) fetch(ctx context.Context) ([]jose.JSONWebKey, error) {
	var about struct {
		Issuer string `json:"issuer"`
		Keys   string `json:"jwks_uri"`
	}
	if err := get(ctx, i.client, strings.TrimSuffix(i.url, "/")+"/.well-known/openid-configuration", &about); err != nil {
		return nil, err
	}
	if about.Issuer != i.url {
		return nil, errors.New("it calls itself otherwise: write the issuer as its tokens do")
	}
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := get(ctx, i.client, about.Keys, &set); err != nil {
		return nil, err
	}
	if len(set.Keys) > maxKeys {
		return nil, fmt.Errorf("it has %d keys, more than %d", len(set.Keys), maxKeys)
	}
	var keys []jose.JSONWebKey
	for _, raw := range set.Keys {
		var k jose.JSONWebKey
		if json.Unmarshal(raw, &k) == nil && usable(k) { // others are for other programs
			keys = append(keys, k)
		}
	}
	if len(keys) == 0 {
		return nil, errors.New("it has no key for signatures that can be used")
	}
	return keys, nil
}

// usable says whether a key is a public one for signatures, of a size that is neither
// weak nor a burden.
func usable(k jose.JSONWebKey) bool {
	if !k.Valid() || !k.IsPublic() || k.Use != "" && k.Use != "sig" {
		return false
	}
	switch key := k.Key.(type) {
	case *rsa.PublicKey:
		return key.N.BitLen() >= 2048 && key.N.BitLen() <= 8192
	case *ecdsa.PublicKey, ed25519.PublicKey:
		return true
	}
	return false
}

// down is why the issuer's keys could not be had at the last try, or nil. A look that is
// old is repeated behind it.
func (i *issuer) down() error {
	i.mu.Lock()
	defer i.mu.Unlock()
	now := i.now()
	if now.Sub(i.tried) > time.Minute && (i.err != nil || now.Sub(i.fetched) > fresh) {
		go func() { <-i.refresh() }()
	}
	return i.err
}
