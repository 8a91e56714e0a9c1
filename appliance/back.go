package appliance

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/redoubt-registry/redoubt/appliance/configuration/config"
	"github.com/redoubt-registry/redoubt/appliance/configuration/history"
	"github.com/redoubt-registry/redoubt/appliance/configuration/userdata"
)

// RollbackOptions are what the caller of Rollback chooses.
type RollbackOptions struct {
	Generation         int  // the one to go back to; 0 is the one before the present one
	DryRun             bool // print what would be done, and do nothing
	AcceptEmptyStorage bool // as in Options
	// Unconfirmed goes back from a configuration that waits to be confirmed, and only
	// from that.
	Unconfirmed bool
}

// Rollback makes the machine what an earlier generation says, and keeps it there, over
// restarts too, until the documents say something new or Apply takes them up. It goes
// forward in the history: the generation that it makes has the earlier one's document.
// If the registry is not well with it, what serves now comes back.
func (m *Machine) Rollback(ctx context.Context, o RollbackOptions) error {
	unlock, err := m.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	trial, err := history.LoadTrial(m.Root)
	switch {
	case err != nil:
		return err
	case o.Unconfirmed && trial == nil:
		return nil // it was confirmed
	case trial != nil && !o.DryRun && (o.Unconfirmed || o.Generation == 0):
		return m.unconfirmed(ctx, *trial)
	}
	if o.Generation == 0 {
		if o.Generation, err = m.previous(); err != nil {
			return err
		}
	}
	if err := m.goBack(ctx, o); err != nil || o.DryRun {
		return err
	}
	return history.EndTrial(m.Root)
}

// previous is the last generation before the present one that says something else. What
// was gone back to counts as what it was then: to go back twice does not lead forward.
func (m *Machine) previous() (int, error) {
	all, err := history.List(m.Root)
	if err != nil {
		return 0, err
	}
	if len(all) == 0 {
		return 0, errors.New("there is nothing to go back to: the machine has served with no configuration yet")
	}
	now := all[0].Number
	for _, g := range all { // the newest first
		if g.Number == now && g.Back > 0 {
			now = g.Back
		}
	}
	present, err := history.LastGood(m.Root, m.Vault)
	if err != nil {
		return 0, err
	}
	for _, g := range all {
		if g.Number >= now {
			continue
		}
		if document, err := history.Document(m.Root, m.Vault, g.Number); err == nil && !bytes.Equal(document, present) {
			return g.Number, nil
		}
	}
	return 0, fmt.Errorf("there is nothing to go back to: nothing else is kept before generation %d (redoubt history)", now)
}

// goBack carries out what Rollback is, for who holds the lock.
func (m *Machine) goBack(ctx context.Context, o RollbackOptions) error {
	document, err := history.Document(m.Root, m.Vault, o.Generation)
	if err != nil {
		return err
	}
	t, err := m.rebuild(document)
	if err != nil {
		return fmt.Errorf("cannot go back to generation %d, and nothing was changed: %w", o.Generation, err)
	}
	t.called, t.back = fmt.Sprintf("generation %d", o.Generation), o.Generation
	if t.sources, err = history.Sources(m.Root, o.Generation); err != nil {
		return err
	}
	lastGood, err := history.LastGood(m.Root, m.Vault)
	if err != nil {
		m.warn("%v", err)
	}
	c, err := m.guardStorage(ctx, choice{target: t, asked: true, lastGood: lastGood}, o.AcceptEmptyStorage)
	if err != nil {
		return err
	}
	if !c.asked {
		return fmt.Errorf("cannot go back to generation %d: %w", o.Generation, c.problem)
	}
	change, err := m.compare(ctx, t)
	if err != nil {
		return err
	}
	fmt.Fprint(m.Out, change)
	if o.DryRun {
		return nil
	}
	if failure := m.carryOut(ctx, t, &change); failure != nil {
		return m.fallBack(ctx, t, change, failure)
	}
	m.tellOfTrust(ctx, t, change.certificates.Trust)
	if err := m.keep(ctx, t, change); err != nil {
		return err
	}
	m.renewSoon(ctx, t)
	hold := history.Hold{Generation: o.Generation, Since: m.Now().UTC(), Documents: digestOf(m.Source.Read())}
	if err := history.SaveHold(m.Root, m.Vault, hold); err != nil {
		return fmt.Errorf("the next boot takes up the documents again: %w", err)
	}
	fmt.Fprintln(m.Out, "it stays so until the documents change, or redoubt apply takes them up")
	return change.problem
}

// held is what a rollback chose, if it still counts: else a choice without a hold.
func (m *Machine) held(found userdata.Found, lastGood []byte) (choice, error) {
	hold, err := history.LoadHold(m.Root, m.Vault)
	if err != nil {
		m.warn("%v", err)
		return choice{}, nil
	}
	if hold == nil || lastGood == nil || !found.NoNews && hold.Documents != digestOf(found) {
		return choice{}, nil
	}
	t, err := m.rebuild(lastGood)
	if err != nil {
		m.warn("cannot stay with generation %d, so that the documents count: %v", hold.Generation, err)
		return choice{}, nil
	}
	t.back = hold.Generation
	t.called = fmt.Sprintf("generation %d", hold.Generation)
	return choice{target: t, lastGood: lastGood, hold: hold}, nil
}

// digestOf is the same for the same documents, in the same order. The name of a file
// counts without its place: user-data comes by different ways.
func digestOf(found userdata.Found) string {
	sum := sha256.New()
	for _, l := range found.Layers {
		fmt.Fprintf(sum, "%s %d\n", filepath.Base(l.Name), len(l.Data))
		sum.Write(l.Data)
	}
	return hex.EncodeToString(sum.Sum(nil))
}

// Past is one generation of the machine's history.
type Past struct {
	history.Generation
	Number int  `json:"number"`
	Now    bool `json:"current"` // it is in force
	// Changes is what it has otherwise than the one before it; none for the oldest that
	// is kept.
	Changes []config.Change `json:"changes,omitempty"`
	Problem string          `json:"problem,omitempty"` // why they cannot be told
}

// History returns what the machine has served with, the newest first.
func (m *Machine) History() ([]Past, error) {
	all, err := history.List(m.Root)
	if err != nil {
		return nil, err
	}
	out := make([]Past, len(all))
	var after *config.Config // of the generation before in the list, which is the next in time
	for i, g := range all {
		out[i] = Past{Generation: g, Number: g.Number, Now: i == 0}
		cfg, err := m.generation(g.Number)
		if err != nil {
			out[i].Problem, after = err.Error(), nil
			continue
		}
		if i > 0 && after != nil {
			out[i-1].Changes = after.Changes(cfg)
		}
		after = &cfg
	}
	return out, nil
}

// generation is the configuration of a generation.
func (m *Machine) generation(number int) (config.Config, error) {
	document, err := history.Document(m.Root, m.Vault, number)
	if err != nil {
		return config.Config{}, err
	}
	cfg, _, report := config.Parse([]config.Layer{{Name: fmt.Sprintf("generation %d", number), Data: document}})
	return cfg, report.Err()
}
