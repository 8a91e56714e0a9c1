package appliance

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redoubt-registry/redoubt/appliance/configuration/disk"
	"github.com/redoubt-registry/redoubt/appliance/configuration/history"
	"github.com/redoubt-registry/redoubt/appliance/configuration/plan"
	"github.com/redoubt-registry/redoubt/appliance/configuration/render"
	"github.com/redoubt-registry/redoubt/appliance/configuration/tree"
	"github.com/redoubt-registry/redoubt/units"
)

// untilFormat is when a trial ends, for people.
const untilFormat = time.TimeOnly + " UTC"

// Confirm keeps the configuration that an apply has put on trial.
func (m *Machine) Confirm(ctx context.Context) error {
	unlock, err := m.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	trial, err := history.LoadTrial(m.Root)
	if err == nil && trial == nil {
		return errors.New("no configuration waits to be confirmed: redoubt history shows what serves")
	}
	if err := history.EndTrial(m.Root); err != nil { // a damaged one too
		return err
	}
	g, err := history.Newest(m.Root)
	if err == nil {
		fmt.Fprintf(m.Out, "generation %d stays\n", g.Number)
	}
	return err
}

// try is an apply whose configuration must be confirmed. What it comes from is noted
// first, so that a machine that dies of it comes back without it. running is the trial
// that is under way, or nil: a second try still goes back to what was confirmed last.
func (m *Machine) try(ctx context.Context, o Options, running *history.Trial) error {
	g, err := history.Newest(m.Root)
	if err == nil && g.Number == 0 {
		err = errors.New("nothing serves that could come back: run redoubt apply without --confirm")
	}
	if err != nil {
		return err
	}
	trial := history.Trial{Back: g.Number, Until: m.Now().Add(o.Confirm).UTC()}
	if running != nil {
		trial.Back = running.Back
	}
	if err := history.SaveTrial(m.Root, trial); err != nil {
		return err
	}
	problem := m.apply(ctx, o)
	now, err := history.Newest(m.Root)
	if err != nil || now.Number == trial.Back { // what served before serves: there is nothing to confirm
		return errors.Join(problem, err, history.EndTrial(m.Root))
	}
	if err := m.startTrial(ctx, o.Confirm); err != nil {
		return errors.Join(problem, fmt.Errorf("nothing brings generation %d back by itself, but a restart of the machine does: %w", trial.Back, err))
	}
	fmt.Fprintf(m.Out, "generation %d comes back at %s unless you run before: redoubt confirm\n", trial.Back, trial.Until.Format(untilFormat))
	return problem
}

// startTrial makes systemd end the trial after a while.
func (m *Machine) startTrial(ctx context.Context, after time.Duration) error {
	dropIn := render.DropIn(units.ConfirmTimer, fmt.Sprintf("[Timer]\nOnActiveSec=\nOnActiveSec=%dms\n", after.Milliseconds()))
	if err := disk.Commit(m.Root, plan.Plan{Write: dropIn}); err != nil {
		return err
	}
	// One that ran before has elapsed, and counts from its own start.
	if err := m.Units.Run(ctx, true, []tree.Reader{{Unit: units.ConfirmTimer, Verb: tree.Restart}}); err != nil {
		return err
	}
	return m.Units.Start(ctx, units.ConfirmTimer)
}

// unconfirmed takes a trial back. Images that were pushed during it to another storage
// do not hold it.
func (m *Machine) unconfirmed(ctx context.Context, trial history.Trial) error {
	fmt.Fprintf(m.Out, "the configuration was not confirmed: generation %d comes back\n", trial.Back)
	err := m.goBack(ctx, RollbackOptions{Generation: trial.Back, AcceptEmptyStorage: true})
	return errors.Join(err, history.EndTrial(m.Root))
}

// refuseDuringTrial is an error if a configuration waits to be confirmed: another one on
// top of it would make it unclear what comes back.
func (m *Machine) refuseDuringTrial(o Options) error {
	if o.DryRun || o.Confirm > 0 {
		return nil
	}
	trial, err := history.LoadTrial(m.Root)
	if err != nil || trial == nil {
		return err
	}
	return fmt.Errorf("nothing was changed, since a configuration waits to be confirmed until %s: run redoubt confirm to keep it or redoubt rollback to take it back, then try again",
		trial.Until.Format(untilFormat))
}
