package acme

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"

	"github.com/mholt/acmez/v3/acme"
)

// newKey makes a P-256 key, which every CA and every client accepts.
func newKey() (string, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return "", fmt.Errorf("cannot make a key: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return "", fmt.Errorf("cannot encode a key: %w", err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})), nil
}

func parseKey(text string) (crypto.Signer, error) {
	block, _ := pem.Decode([]byte(text))
	if block == nil {
		return nil, errors.New("the kept private key is damaged")
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	signer, ok := key.(crypto.Signer)
	if err != nil || !ok {
		return nil, errors.New("the kept private key is damaged") // the cause may quote it
	}
	return signer, nil
}

// ownAccount makes sure that the memory has a key for an account at w's CA. Another CA or
// another binding gets a new key.
func (m *Memory) ownAccount(w Want) error {
	if a := m.Account; a != nil && a.Directory == w.Directory && a.EABKeyID == w.EABKeyID {
		if _, err := parseKey(a.Key); err == nil {
			return nil
		}
	}
	key, err := newKey()
	m.Account = &Account{Directory: w.Directory, Key: key, EABKeyID: w.EABKeyID}
	return err
}

// client is the account as the library has it.
func (a *Account) client() (acme.Account, error) {
	key, err := parseKey(a.Key)
	account := acme.Account{Status: acme.StatusValid, Location: a.Location, PrivateKey: key}
	return account, err
}

// register makes the account at the CA, or finds the one that the key has
// there already (RFC 8555, 7.3.1), and tells it the email address.
func (a *Account) register(ctx context.Context, c *ca, w Want) error {
	if a.Location != "" && a.Email == w.Email {
		return nil
	}
	account, err := a.client()
	if err != nil {
		return err
	}
	account.Contact = contact(w.Email)
	if a.Location != "" {
		if _, err = c.UpdateAccount(ctx, account); err != nil {
			return accountError{err}
		}
		a.Email = w.Email
		return nil
	}
	account.Status = ""
	account.TermsOfServiceAgreed = true
	if w.EABKeyID != "" {
		if err := account.SetExternalAccountBinding(ctx, c.Client, acme.EAB{KeyID: w.EABKeyID, MACKey: w.EABKey}); err != nil {
			return accountError{fmt.Errorf("cannot use tls.acme.eab.hmacKey: it must be base64url without padding, as the CA gave it")}
		}
	}
	account, err = c.NewAccount(ctx, account)
	if err != nil {
		return accountError{err}
	}
	a.Location, a.Email = account.Location, w.Email
	return nil
}

func contact(email string) []string {
	if email == "" {
		return []string{} // removes an old address too
	}
	return []string{"mailto:" + email}
}

// accountError is a failure of the account, not of the order.
type accountError struct{ error }

func (e accountError) Unwrap() error { return e.error }

// forgotten tells whether the CA no longer knows the account.
func forgotten(err error) bool {
	problem, ok := errors.AsType[acme.Problem](err)
	return ok && problem.Type == acme.ProblemTypeAccountDoesNotExist
}
