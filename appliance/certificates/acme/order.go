package acme

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/mholt/acmez/v3"
	"github.com/mholt/acmez/v3/acme"

	"github.com/redoubt-registry/redoubt/appliance/certificates/cert"
	"github.com/redoubt-registry/redoubt/appliance/certificates/renewal"
)

// maxOrder is how long an unfinished order is resumed.
const maxOrder = 12 * time.Hour

// begin stores an order before it is made. This also shows that the certificate can be
// stored: with a full disk nothing is ordered.
func (t *tick) begin(ctx context.Context, profile string) error {
	m := t.memory
	age := t.now.Sub(m.began())
	if o := m.Order; o != nil && (age < 0 || age > maxOrder || o.Profile != profile || !slices.Equal(o.Names, t.Want.Names)) {
		m.Order = nil
	}
	if m.Order == nil {
		key, err := newKey()
		if err != nil {
			return err
		}
		m.Order = &Order{Key: key, Names: t.Want.Names, Profile: profile, Began: t.now}
	}
	m.Tried = t.now
	return t.save(ctx)
}

func (m *Memory) began() time.Time {
	if m.Order == nil {
		return time.Time{}
	}
	return m.Order.Began
}

// order makes the order at the CA, or resumes the unfinished one.
func (t *tick) order(ctx context.Context, account acme.Account) (acme.Order, error) {
	if t.memory.Order.Location != "" {
		order, err := t.ca.GetOrder(ctx, account, acme.Order{Location: t.memory.Order.Location})
		if err == nil && order.Status != acme.StatusInvalid {
			return order, nil
		}
		if err != nil && !clientProblem(err) {
			return order, err
		}
		t.memory.Order.Location = "" // the CA dropped it
	}
	want := acme.Order{Profile: t.memory.Order.Profile, Identifiers: identifiers(t.Want.Names), Replaces: t.replaces()}
	order, err := t.ca.NewOrder(ctx, account, want)
	if want.Replaces != "" && answered(err) && !forgotten(err) {
		t.logf("the CA does not take the order as a renewal, so it is made as a new one: %v", explain(err))
		want.Replaces = ""
		order, err = t.ca.NewOrder(ctx, account, want)
	}
	if err != nil {
		return order, err
	}
	t.memory.Order.Location = order.Location
	return order, t.save(ctx)
}

// clientProblem is a 4xx other than 429: another request may succeed.
func clientProblem(err error) bool {
	problem, ok := errors.AsType[acme.Problem](err)
	return ok && problem.Status >= 400 && problem.Status < 500 && problem.Status != http.StatusTooManyRequests
}

// answered is a refusal that may be caused by the certificate to replace: any but a
// temporary one. That includes the CA's own failures.
func answered(err error) bool {
	problem, ok := errors.AsType[acme.Problem](err)
	return ok && problem.Status != http.StatusTooManyRequests && problem.Status != http.StatusServiceUnavailable
}

// replaces names the certificate that is renewed (RFC 9773, 5), to the CA that
// made it alone. Renewals are exempt from that CA's limits.
func (t *tick) replaces() string {
	leaf := t.memory.leaf()
	if leaf == nil || t.memory.Directory != t.Want.Directory || !cert.NamesAre(leaf, t.Want.Names) {
		return ""
	}
	id, err := acme.ARIUniqueIdentifier(leaf)
	if err != nil || t.noReplaces {
		return ""
	}
	return id
}

func identifiers(names []string) []acme.Identifier {
	ids := make([]acme.Identifier, 0, len(names))
	for _, n := range names {
		kind := "dns"
		if isAddress(n) {
			kind = "ip"
		}
		ids = append(ids, acme.Identifier{Type: kind, Value: n})
	}
	return ids
}

// finish completes an order, from whatever state it is in.
func (t *tick) finish(ctx context.Context, account acme.Account, order acme.Order) error {
	if order.Status != acme.StatusValid && order.Status != acme.StatusProcessing {
		if err := t.authorize(ctx, account, order); err != nil {
			return err
		}
	}
	var err error
	if order.Status != acme.StatusValid {
		if order, err = t.finalize(ctx, account, order); err != nil {
			return err
		}
	}
	chains, err := t.ca.GetCertificateChain(ctx, account, order.Certificate)
	if err != nil {
		return fmt.Errorf("cannot fetch the certificate: %w", err)
	}
	return t.keep(chains[0])
}

func (t *tick) finalize(ctx context.Context, account acme.Account, order acme.Order) (acme.Order, error) {
	key, err := parseKey(t.memory.Order.Key)
	if err != nil {
		return order, err
	}
	csr, err := acmez.NewCSR(key, t.memory.Order.Names)
	if err != nil {
		return order, fmt.Errorf("cannot make the request: %w", err)
	}
	return t.ca.FinalizeOrder(ctx, account, order, csr.Raw)
}

// keep stores the CA's certificate in the memory, if it is what was ordered.
func (t *tick) keep(c acme.Certificate) error {
	m := t.memory
	pair, err := cert.ParsePair(c.ChainPEM, []byte(m.Order.Key))
	if err != nil {
		return fmt.Errorf("the CA sent no certificate of the order: %w", err)
	}
	if !cert.NamesAre(pair.Leaf, m.Order.Names) {
		return fmt.Errorf("the CA sent a certificate for other names: %q", pair.Leaf.DNSNames)
	}
	m.Directory, m.Names, m.Profile, m.AskedFor = t.Want.Directory, m.Order.Names, m.Order.Profile, t.Want.Profile
	m.Chain, m.Key = string(c.ChainPEM), m.Order.Key
	m.Number++
	m.Order, m.Failures, m.Succeeded = nil, renewal.Failures{}, t.now
	m.Suggestion = Suggestion{Asked: t.now, AskAt: t.now.Add(askSoon)}
	if a := c.RenewalInfo; a != nil && a.HasWindow() {
		m.Suggestion = suggestion(t.now, a.SuggestedWindow.Start, a.SuggestedWindow.End, a.ExplanationURL, nil)
	}
	return nil
}
