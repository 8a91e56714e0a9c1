// Package acme keeps one certificate of an ACME CA (RFC 8555) up to date in a
// sharedstate.Store, together with the other machines that share the store.
package acme

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/mholt/acmez/v3/acme"

	"github.com/redoubt-registry/redoubt/appliance/certificates/dns01"
	"github.com/redoubt-registry/redoubt/appliance/certificates/renewal"
	"github.com/redoubt-registry/redoubt/appliance/storage/sharedstate"
)

// LeaseTime is how long the lease of a renewer that died blocks the others. It is more
// than tickTime, so that a renewer that lives never loses its lease.
const (
	LeaseTime = 6 * time.Minute
	tickTime  = 5 * time.Minute
	// challengeAge is more than any challenge takes.
	challengeAge = 24 * time.Hour
)

// Renewer obtains and renews the certificate. All fields must be set, but for Local.
type Renewer struct {
	Store      sharedstate.Store // the certificate and the lease
	Local      sharedstate.Store // this machine's copy of a shared Store; nil for a Store of this machine
	Challenges sharedstate.Store // answers to challenges, by token, which the registry reads
	Want       Want
	Owner      string // name in the lease
	UserAgent  string
	Now        func() time.Time
	Out        io.Writer // what a person reads
	Force      bool      // renew what is not due, and retry at once
}

// Tick does what is due now, which is mostly nothing and costs one read. It returns the
// state afterwards, also with an error: the old certificate then stays in force. A store
// that cannot be read gives no Memory.
func (r *Renewer) Tick(ctx context.Context) (*Memory, error) {
	ctx, cancel := context.WithTimeout(ctx, tickTime)
	defer cancel()
	m, err := r.look(ctx)
	if m == nil || r.Local == nil {
		return m, err
	}
	return m, errors.Join(err, keepCopy(ctx, r.Local, m))
}

func (r *Renewer) look(ctx context.Context) (*Memory, error) {
	m, err := r.load(ctx)
	if err != nil {
		return nil, err
	}
	d := r.decide(m)
	switch d.Action {
	case renewal.Wait:
		return m, r.dissent(m)
	case renewal.Distrust:
		return m, errors.New(d.Why + ": nothing is ordered; see: timedatectl")
	}
	lease, err := sharedstate.Take(ctx, r.Store, leaseKey, r.Owner, LeaseTime)
	if held, ok := errors.AsType[*sharedstate.Held](err); ok {
		r.logf("nothing is done: %v", held)
		return m, nil
	}
	if err != nil {
		return m, err
	}
	// The memory that was read before the lease may be old.
	now, problem := r.work(ctx, lease)
	if now != nil {
		m = now
	}
	return m, errors.Join(problem, lease.Release(context.WithoutCancel(ctx)))
}

func (r *Renewer) decide(m *Memory) renewal.Decision {
	failures := m.Failures
	if m.Wanted != r.wanted() && !r.outvoted(m) {
		failures = renewal.Failures{}
	} else if r.Force {
		failures = failures.Retry()
	}
	in := renewal.Input{
		Now: r.Now(), Certificate: m.Certificate(), Change: r.change(m),
		Window: m.Suggestion.Window, AskAt: m.Suggestion.AskAt, AskedAt: m.Suggestion.Asked, Failures: failures,
	}
	if r.Force && in.Certificate != nil && in.Change == "" {
		in.Change = "it is asked for"
	}
	return renewal.Decide(in)
}

// Next is what will be due for m, when and why.
func (r *Renewer) Next(m *Memory) renewal.Decision {
	quiet := *r
	quiet.Force = false
	return quiet.decide(m)
}

func (r *Renewer) logf(format string, args ...any) {
	fmt.Fprintf(r.Out, format+"\n", args...)
}

// tick is one renewal under the lease.
type tick struct {
	*Renewer
	now        time.Time
	memory     *Memory
	version    string
	lease      *sharedstate.Lease
	ca         *ca
	noReplaces bool
	records    *dns01.Records // nil: the CA asks on port 80
}

// save writes the memory, if this process still has the lease.
func (t *tick) save(ctx context.Context) error {
	if err := t.lease.Check(ctx); err != nil {
		return fmt.Errorf("%w (%w)", errFenced, err)
	}
	return save(ctx, t.Store, t.memory, &t.version)
}

func (r *Renewer) work(ctx context.Context, lease *sharedstate.Lease) (*Memory, error) {
	m, version, err := Load(ctx, r.Store)
	if err != nil {
		return nil, err
	}
	if err := r.Challenges.Sweep(ctx, challengeAge); err != nil {
		r.logf("warning: old answers to challenges stay: %v", err)
	}
	t := &tick{Renewer: r, now: r.Now(), memory: m, version: version, lease: lease}
	if t.ca, err = newCA(r.Want, r.UserAgent); err != nil {
		return m, err
	}
	if wanted := r.wanted(); m.Wanted != wanted && !r.outvoted(m) {
		m.Replaced, m.ReplacedAt = m.Wanted, t.now
		m.Wanted, m.Failures = wanted, renewal.Failures{}
	}
	d := r.decide(m)
	if d.Action == renewal.Ask {
		t.ask(ctx)
		if err := t.save(ctx); err != nil {
			return nil, err
		}
		d = r.decide(m)
	}
	if d.Action != renewal.Order {
		return m, nil
	}
	r.logf("a certificate is ordered for %q from %s: %s", r.Want.Names, r.Want.Directory, d.Why)
	return t.obtain(ctx)
}

// obtain orders, and records a failure with the time of the next try. A certificate that
// could not be stored is fetched again by the next tick, from the same order.
func (t *tick) obtain(ctx context.Context) (*Memory, error) {
	problem := t.try(ctx)
	if problem == nil {
		if err := t.save(ctx); err != nil {
			return nil, err
		}
		return t.memory, nil
	}
	if errors.Is(problem, errFenced) {
		return nil, problem
	}
	if givenUp(problem) {
		t.memory.Order = nil
	}
	failures := t.memory.Failures.Add(t.now, t.memory.Certificate(), t.ca.seen.refused(), explain(problem).Error())
	t.memory.Failures, t.memory.Tried = failures, t.now
	err := fmt.Errorf("cannot obtain a certificate: %s; the next try is not before %s", failures.Error, failures.Next.UTC().Format(time.RFC3339))
	return t.memory, errors.Join(err, t.save(context.WithoutCancel(ctx)))
}

// givenUp tells whether an order has failed for good, so that the next try makes a new
// one. After a lost answer, or a failure of the CA's own, the order is resumed.
func givenUp(err error) bool {
	var refused *refusal
	return errors.As(err, &refused) || clientProblem(err)
}

func (t *tick) try(ctx context.Context) error {
	m := t.memory
	if err := m.ownAccount(t.Want); err != nil {
		return err
	}
	dir, err := t.ca.offer(ctx)
	if err != nil {
		return err
	}
	if m.Certificate() != nil && t.change(m) == "" && !t.Force {
		if err := renewal.Clock(t.now, t.ca.seen.clock()); err != nil {
			return err
		}
	}
	profile, err := t.profile(dir)
	if err != nil {
		return err
	}
	if err := t.begin(ctx, profile); err != nil {
		return err
	}
	err = t.run(ctx)
	if forgotten(err) {
		t.logf("the CA no longer knows the account: registering it again")
		m.Account.Location, m.Order.Location, t.noReplaces = "", "", true
		err = t.run(ctx)
	}
	return err
}

func (t *tick) profile(dir acme.Directory) (string, error) {
	var offered map[string]string
	if dir.Meta != nil {
		offered = dir.Meta.Profiles
	}
	kept := t.memory.Profile
	if t.memory.AskedFor != t.Want.Profile {
		kept = "" // it was configured then, and is not now
	}
	return renewal.Profile(t.Want.Profile, kept, t.Want.addresses(), offered)
}

// run goes from the account to the certificate.
func (t *tick) run(ctx context.Context) error {
	if err := t.memory.Account.register(ctx, t.ca, t.Want); err != nil {
		return err
	}
	if err := t.save(ctx); err != nil {
		return err
	}
	account, err := t.memory.Account.client()
	if err != nil {
		return err
	}
	order, err := t.order(ctx, account)
	if err != nil {
		return err
	}
	return t.finish(ctx, account, order)
}
