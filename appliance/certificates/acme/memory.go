package acme

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/redoubt-registry/redoubt/appliance/certificates/cert"
	"github.com/redoubt-registry/redoubt/appliance/certificates/renewal"
	"github.com/redoubt-registry/redoubt/appliance/storage/sharedstate"
)

// The objects in the store.
const (
	stateKey = "state.json"
	leaseKey = "lease.json"
	format   = 1 // of stateKey
)

// Memory is the state of the certificate in one object, so that its parts always belong
// together. It holds private keys.
type Memory struct {
	Format int    `json:"format"`
	Wanted string `json:"wanted,omitempty"` // digest of the Want that the failures are of

	// What Wanted was before, and until when: two machines with different
	// configurations would otherwise order against each other for ever.
	Replaced   string    `json:"replaced,omitempty"`
	ReplacedAt time.Time `json:"replacedAt,omitzero"`

	Account *Account `json:"account,omitempty"`
	Order   *Order   `json:"order,omitempty"` // one that is not finished

	// The certificate in force, as it was ordered.
	Directory string   `json:"directory,omitempty"`
	Names     []string `json:"names,omitempty"`
	Profile   string   `json:"profile,omitempty"`    // that it has
	AskedFor  string   `json:"configured,omitempty"` // the configured one then
	Key       string   `json:"key,omitempty"`
	Chain     string   `json:"chain,omitempty"`
	Number    int      `json:"number"` // of certificates so far

	Suggestion Suggestion       `json:"suggestion"`
	Failures   renewal.Failures `json:"failures"`
	Tried      time.Time        `json:"tried,omitzero"`
	Succeeded  time.Time        `json:"succeeded,omitzero"`
}

// Account is an account at a CA.
type Account struct {
	Directory string `json:"directory"`
	Key       string `json:"key"`
	Location  string `json:"location,omitempty"` // empty: not registered yet
	Email     string `json:"email,omitempty"`
	EABKeyID  string `json:"eabKeyID,omitempty"`
}

// Order is an order that is not finished. One whose answer was lost is resumed, instead
// of making another.
type Order struct {
	Location string    `json:"location,omitempty"` // empty: about to be made
	Key      string    `json:"key"`                // of the certificate
	Names    []string  `json:"names"`
	Profile  string    `json:"profile,omitempty"`
	Began    time.Time `json:"began"`
}

// Suggestion is the CA's suggestion when to renew (ARI, RFC 9773).
type Suggestion struct {
	Window      *renewal.Window `json:"window,omitempty"`
	Explanation string          `json:"explanation,omitempty"` // a page about it
	Asked       time.Time       `json:"asked,omitzero"`
	AskAt       time.Time       `json:"askAt,omitzero"`
	Problem     string          `json:"problem,omitempty"`
}

// Pair is the certificate in force, nil if there is none. A stored pair that cannot be
// used is an error.
func (m *Memory) Pair() (*tls.Certificate, error) {
	if m.Chain == "" {
		return nil, nil
	}
	pair, err := cert.ParsePair([]byte(m.Chain), []byte(m.Key))
	if err != nil {
		return nil, fmt.Errorf("the kept certificate cannot be used: %w", err)
	}
	return pair, nil
}

func (m *Memory) leaf() *x509.Certificate {
	if pair, err := m.Pair(); err == nil && pair != nil {
		return pair.Leaf
	}
	return nil
}

// Certificate is what a decision needs of the certificate in force.
func (m *Memory) Certificate() *renewal.Certificate {
	leaf := m.leaf()
	if leaf == nil {
		return nil
	}
	return &renewal.Certificate{NotBefore: leaf.NotBefore, NotAfter: leaf.NotAfter}
}

// Load reads the memory. An object that cannot be parsed is sharedstate.Damaged: an empty
// memory in its place would order a certificate every time and lose the account's key.
func Load(ctx context.Context, store sharedstate.Store) (*Memory, string, error) {
	data, version, err := store.Get(ctx, stateKey)
	if errors.Is(err, sharedstate.ErrNotFound) {
		return &Memory{Format: format}, "", nil
	}
	if err != nil {
		return nil, "", fmt.Errorf("cannot read the state of the certificate: %w", err)
	}
	m := &Memory{}
	if err := json.Unmarshal(data, m); err != nil {
		return nil, "", &sharedstate.Damaged{Where: where(store), Why: damage(data)}
	}
	if m.Format != format {
		return nil, "", &sharedstate.Damaged{Where: where(store), Why: fmt.Sprintf("it has format %d and this version reads %d", m.Format, format)}
	}
	return m, version, nil
}

func damage(data []byte) string {
	if len(data) == 0 {
		return "it is empty"
	}
	for _, b := range data {
		if b != 0 {
			return "it is cut off or damaged" // the cause would quote it
		}
	}
	return "it holds nothing but zeros"
}

func where(store sharedstate.Store) string {
	if s, ok := store.(interface{ Where(string) string }); ok {
		return s.Where(stateKey)
	}
	return stateKey
}

// errFenced: this process was frozen while another one did its work.
var errFenced = errors.New("another process has changed the state of the certificate: this one stops, and the next tick continues")

func save(ctx context.Context, store sharedstate.Store, m *Memory, version *string) error {
	data, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return fmt.Errorf("cannot write the state of the certificate: %w", err)
	}
	next, err := store.Put(ctx, stateKey, data, *version)
	if errors.Is(err, sharedstate.ErrConflict) {
		return errFenced
	}
	if err != nil {
		return fmt.Errorf("cannot write the state of the certificate: %w", err)
	}
	*version = next
	return nil
}
