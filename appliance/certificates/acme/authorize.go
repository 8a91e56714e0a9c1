package acme

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/mholt/acmez/v3/acme"

	"github.com/redoubt-registry/redoubt/appliance/certificates/dns01"
	"github.com/redoubt-registry/redoubt/appliance/storage/sharedstate"
)

func isAddress(name string) bool {
	_, err := netip.ParseAddr(name)
	return err == nil
}

// authorize proves to the CA that the names are this machine's: it makes what the CA looks
// for, and waits for its verdict.
func (t *tick) authorize(ctx context.Context, account acme.Account, order acme.Order) error {
	var open []acme.Authorization
	for _, url := range order.Authorizations {
		authz, err := t.ca.GetAuthorization(ctx, account, url)
		if err != nil {
			return err
		}
		if authz.Status != acme.StatusValid {
			open = append(open, authz)
		}
	}
	if t.Want.DNS != nil {
		t.records = dns01.New(*t.Want.DNS)
	}
	defer t.clean(context.WithoutCancel(ctx), open)
	for _, authz := range open {
		challenge, err := t.challenge(authz)
		if err != nil {
			return err
		}
		if err := t.present(ctx, challenge); err != nil {
			return err
		}
	}
	if t.records != nil {
		if err := t.records.Await(ctx); err != nil {
			return err
		}
	}
	return t.validate(ctx, account, open)
}

// validate lets the CA look, and waits for its verdict on each name.
func (t *tick) validate(ctx context.Context, account acme.Account, open []acme.Authorization) error {
	for _, authz := range open {
		challenge, _ := t.challenge(authz) // it was there before
		if challenge.Status != acme.StatusPending || authz.Status != acme.StatusPending {
			continue // a challenge that was started before
		}
		if _, err := t.ca.InitiateChallenge(ctx, account, challenge); err != nil {
			return err
		}
	}
	for _, authz := range open {
		name := authz.IdentifierValue()
		if _, err := t.ca.PollAuthorization(ctx, account, authz); err != nil {
			return &refusal{name: name, cause: err, dns: t.records != nil && !isAddress(name)}
		}
	}
	return nil
}

// challenge is the one that proves a name: dns-01 (RFC 8555, 8.4) where records can be
// made, and http-01 (8.3) otherwise and for addresses, of which the DNS says nothing.
func (t *tick) challenge(authz acme.Authorization) (acme.Challenge, error) {
	kind := acme.ChallengeTypeHTTP01
	if t.Want.DNS != nil && !isAddress(authz.Identifier.Value) {
		kind = acme.ChallengeTypeDNS01
	}
	for _, c := range authz.Challenges {
		if c.Type == kind {
			return c, nil
		}
	}
	return acme.Challenge{}, fmt.Errorf("the CA does not offer the challenge %s for %s", kind, authz.IdentifierValue())
}

// present writes the answer to a challenge. An answer that is there already belongs to an
// order that is resumed.
func (t *tick) present(ctx context.Context, c acme.Challenge) error {
	if c.Type == acme.ChallengeTypeDNS01 {
		return t.records.Add(ctx, dns01.Record{Name: c.DNS01TXTRecordName(), Value: c.DNS01KeyAuthorization()})
	}
	_, err := t.Challenges.Put(ctx, c.Token, []byte(c.KeyAuthorization), "")
	if errors.Is(err, sharedstate.ErrConflict) {
		if err = t.Challenges.Delete(ctx, c.Token); err == nil {
			_, err = t.Challenges.Put(ctx, c.Token, []byte(c.KeyAuthorization), "")
		}
	}
	if err != nil {
		return fmt.Errorf("cannot answer the CA's challenge: %w", err)
	}
	return nil
}

func (t *tick) clean(ctx context.Context, authorizations []acme.Authorization) {
	if t.records != nil {
		ctx, cancel := context.WithTimeout(ctx, cleanTime)
		defer cancel()
		if err := t.records.Remove(ctx); err != nil {
			t.logf("cannot remove the records that proved the names: %v", err)
		}
	}
	for _, authz := range authorizations {
		if c, err := t.challenge(authz); err == nil && c.Type == acme.ChallengeTypeHTTP01 {
			if err := t.Challenges.Delete(ctx, c.Token); err != nil {
				t.logf("cannot remove the answer to a challenge: %v", err)
			}
		}
	}
}

// cleanTime is for taking records away, beyond a tick's own time.
const cleanTime = 20 * time.Second

// refusal is a name that the CA could not validate.
type refusal struct {
	name  string
	cause error
	dns   bool // by a record
}

func (r *refusal) Error() string { return r.cause.Error() }
func (r *refusal) Unwrap() error { return r.cause }
