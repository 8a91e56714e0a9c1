package appliance

import (
	"context"
	"errors"
	"fmt"
)

// Options are what the caller of Apply chooses.
type Options struct {
	DryRun bool // print what would be done, and do nothing

	// AcceptEmptyStorage takes up another storage although images would be hidden.
	AcceptEmptyStorage bool
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
	unlock, err := m.lock()
	if err != nil {
		return err
	}
	defer unlock()
	return m.apply(ctx, o)
}

// apply is Apply for who holds the lock.
func (m *Machine) apply(ctx context.Context, o Options) error {
	chosen, err := m.choose(ctx)
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
	fmt.Fprint(m.Out, change)
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
	m.renewSoon(ctx, want) // now: it goes by what was kept
	return errors.Join(err, change.problem)
}
