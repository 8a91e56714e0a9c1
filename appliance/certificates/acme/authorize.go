package acme

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"github.com/mholt/acmez/v3/acme"

	"github.com/redoubt-registry/redoubt/appliance/storage/sharedstate"
)

func isAddress(name string) bool {
	_, err := netip.ParseAddr(name)
	return err == nil
}

// authorize proves to the CA that the names are this machine's (http-01, RFC
// 8555, 8.3): it writes the answers where the registry reads them, and waits.
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
	defer t.clean(context.WithoutCancel(ctx), open)
	for _, authz := range open {
		challenge, err := http01(authz)
		if err != nil {
			return err
		}
		if err := t.present(ctx, challenge); err != nil {
			return err
		}
	}
	for _, authz := range open {
		challenge, _ := http01(authz) // it was there above
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
			return &refusal{name: name, cause: err}
		}
	}
	return nil
}

func http01(authz acme.Authorization) (acme.Challenge, error) {
	for _, c := range authz.Challenges {
		if c.Type == acme.ChallengeTypeHTTP01 {
			return c, nil
		}
	}
	return acme.Challenge{}, fmt.Errorf("the CA does not offer the challenge http-01 for %s", authz.IdentifierValue())
}

// present writes the answer to a challenge. An answer that is there already belongs to an
// order that is resumed.
func (t *tick) present(ctx context.Context, c acme.Challenge) error {
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
	for _, authz := range authorizations {
		if c, err := http01(authz); err == nil {
			if err := t.Challenges.Delete(ctx, c.Token); err != nil {
				t.logf("cannot remove the answer to a challenge: %v", err)
			}
		}
	}
}

// refusal is a name that the CA could not validate.
type refusal struct {
	name  string
	cause error
}

func (r *refusal) Error() string { return r.cause.Error() }
func (r *refusal) Unwrap() error { return r.cause }
