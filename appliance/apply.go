package appliance

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redoubt-registry/redoubt/appliance/configuration/history"
)

// Options are what the caller of Apply chooses.
type Options struct {
	DryRun bool // print what would be done, and do nothing

	// AcceptEmptyStorage takes up another storage although images would be hidden.
	AcceptEmptyStorage bool

	// Boot is the apply that systemd starts: it goes on with what a rollback chose, and
	// takes back what was not confirmed before the machine went down.
	Boot bool

	// Confirm, if it is not zero, is how long the configuration may serve without being
	// confirmed: then the one before it comes back.
	Confirm time.Duration
}

// Apply makes the machine what its configuration says. It prints the plan that
// it carries out. A second Apply without a change in between writes nothing and
// acts on nothing.
//
// The machine serves whenever it can: with the last good configuration when the
// present one cannot be used, with the previous one when the registry is not
// healthy on the present one, and with a notice of what is wrong when there is
// neither. In each of these cases Apply returns an error that says so.
func (m *Machine) Apply(ctx context.Context, o Options) error {
	unlock, err := m.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	trial, err := history.LoadTrial(m.Root)
	switch {
	case err != nil:
		return err
	case trial != nil && o.Boot:
		return m.unconfirmed(ctx, *trial)
	case o.Confirm > 0 && !o.DryRun:
		return m.try(ctx, o, trial)
	}
	return m.apply(ctx, o)
}

// apply is Apply for who holds the lock.
func (m *Machine) apply(ctx context.Context, o Options) error {
	if err := m.refuseDuringTrial(o); err != nil {
		return err
	}
	chosen, err := m.choose(ctx, o.Boot)
	if err == nil && !o.DryRun {
		chosen, err = m.check(ctx, chosen)
	}
	if err == nil {
		chosen, err = m.guardStorage(ctx, chosen, o.AcceptEmptyStorage)
	}
	if err != nil {
		return err
	}
	want, problem := chosen.target, chosen.problem
	change, err := m.compare(ctx, want)
	if err != nil {
		return err
	}
	if problem == nil || !change.empty() { // "nothing to do" would read as if what is refused were in force
		fmt.Fprint(m.Out, change)
	}
	if o.DryRun {
		return errors.Join(problem, oldStays(want.certificates.Problem))
	}
	failure := m.carryOut(ctx, want, &change)
	m.noteApply(change, want.files, failure)
	if failure != nil {
		return errors.Join(problem, m.fallBack(ctx, want, change, failure))
	}
	m.tellOfTrust(ctx, want, change.certificates.Trust)
	if problem != nil {
		return errors.Join(problem, change.problem)
	}
	err = m.keep(ctx, want, change)
	if chosen.hold == nil {
		err = errors.Join(err, history.EndHold(m.Root)) // the documents are in force again
	}
	m.renewSoon(ctx, want) // now: it goes by what was kept
	return errors.Join(err, change.problem)
}
