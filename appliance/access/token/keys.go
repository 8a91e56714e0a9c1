package token

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// KeysObject is what keys are called where machines keep them.
const KeysObject = "keys"

const (
	// keyPeriod is how long a key signs before the next one is made.
	keyPeriod = 30 * 24 * time.Hour
	// keyOverlap is how long a new key waits before it signs: each machine that shares it
	// reads it before it meets a token of it. One that is late may sign by the old key.
	keyOverlap = time.Hour
	// MaxLifetime is the longest that a token is valid. A key that signs no more is kept
	// for that long.
	MaxLifetime = 24 * time.Hour
	maxKeys     = 16
)

// Keys are the keys that sign tokens: those in force, and those whose tokens may still be
// about. A value does not change.
type Keys struct{ list []key }

type key struct {
	From time.Time       `json:"from"` // signs from then on
	JWK  jose.JSONWebKey `json:"key"`  // of ECDSA P-256, with its private part
}

// ParseKeys reads what Encode wrote. Its errors have nothing of a key in them.
func ParseKeys(data []byte) (Keys, error) {
	var k struct {
		Keys []key `json:"keys"`
	}
	if err := json.Unmarshal(data, &k); err != nil {
		return Keys{}, errors.New("it is no list of keys")
	}
	if len(k.Keys) == 0 || len(k.Keys) > maxKeys {
		return Keys{}, fmt.Errorf("it has %d keys, and not 1 to %d", len(k.Keys), maxKeys)
	}
	for i, one := range k.Keys {
		private, ok := one.JWK.Key.(*ecdsa.PrivateKey)
		if !ok || private.Curve != elliptic.P256() || one.JWK.KeyID == "" {
			return Keys{}, fmt.Errorf("its key %d is no private key of ECDSA P-256 with a name", i+1)
		}
	}
	return Keys{k.Keys}, nil
}

// Encode writes keys, the private parts too.
func (k Keys) Encode() ([]byte, error) {
	return json.Marshal(struct {
		Keys []key `json:"keys"`
	}{k.list})
}

// Rotate returns the keys as they are to be at a time, and whether that is a change: it
// makes a key where none is young enough, and drops those whose tokens have all ended.
func (k Keys) Rotate(now time.Time) (Keys, bool, error) {
	list := slices.Clone(k.list)
	slices.SortFunc(list, func(a, b key) int { return a.From.Compare(b.From) })
	for len(list) > 1 && now.After(list[1].From.Add(MaxLifetime+keyOverlap)) {
		list = list[1:]
	}
	changed := len(list) != len(k.list)
	if len(list) == 0 || now.After(list[len(list)-1].From.Add(keyPeriod)) {
		from := now
		if len(list) > 0 {
			from = now.Add(keyOverlap)
		}
		fresh, err := newKey(from)
		if err != nil {
			return k, false, err
		}
		list, changed = append(list, fresh), true
	}
	return Keys{list}, changed, nil
}

func newKey(from time.Time) (key, error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return key{}, fmt.Errorf("cannot make a key: %w", err)
	}
	jwk := jose.JSONWebKey{Key: private, Algorithm: string(jose.ES256), Use: "sig"}
	sum, err := jwk.Thumbprint(crypto.SHA256) // RFC 7638
	if err != nil {
		return key{}, fmt.Errorf("cannot name a key: %w", err)
	}
	jwk.KeyID = base64.RawURLEncoding.EncodeToString(sum)
	return key{From: from.UTC().Truncate(time.Second), JWK: jwk}, nil
}

// signer is the key that signs at a time: the youngest that has begun, or the first.
func (k Keys) signer(now time.Time) (jose.JSONWebKey, bool) {
	if len(k.list) == 0 {
		return jose.JSONWebKey{}, false
	}
	best := k.list[0]
	for _, one := range k.list[1:] {
		if !one.From.After(now) && one.From.After(best.From) {
			best = one
		}
	}
	return best.JWK, true
}

// public is the public part of a key by its name.
func (k Keys) public(id string) (crypto.PublicKey, bool) {
	for _, one := range k.list {
		if private, ok := one.JWK.Key.(*ecdsa.PrivateKey); ok && one.JWK.KeyID == id {
			return private.Public(), true
		}
	}
	return nil, false
}

// same says whether two sets are of the same keys.
func (k Keys) same(other Keys) bool {
	return slices.EqualFunc(k.list, other.list, func(a, b key) bool { return a.JWK.KeyID == b.JWK.KeyID && a.From.Equal(b.From) })
}
