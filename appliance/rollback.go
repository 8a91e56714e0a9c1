package appliance

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/redoubt-registry/redoubt/appliance/configuration/config"
	"github.com/redoubt-registry/redoubt/appliance/configuration/history"
	"github.com/redoubt-registry/redoubt/appliance/configuration/tree"
	"github.com/redoubt-registry/redoubt/appliance/paths"
	"github.com/redoubt-registry/redoubt/units"
)

// keep remembers a target that serves, and says so.
func (m *Machine) keep(ctx context.Context, t target, c change) error {
	g, err := history.Save(m.Root, m.Vault, t.document, history.Generation{Applied: m.Now(), Sources: t.sources, Back: t.back})
	if err != nil {
		return err
	}
	verb := "serves"
	if !c.done {
		verb = "still serves"
	}
	cas, err := m.servingCAs(t)
	if err != nil {
		return err
	}
	for _, line := range fingerprints(cas) {
		fmt.Fprintln(m.Out, "its CA has the SHA-256", line) // for an operator who has only the console
	}
	but := ""
	if c.certificates.Problem != nil {
		but = ", with the certificate that it had"
	}
	if t.back > 0 {
		but += fmt.Sprintf(", which is generation %d again", t.back)
	}
	fmt.Fprintf(m.Out, "%s %s, generation %d%s\n", address(t.cfg), verb, g.Number, but)
	return m.forgive(ctx)
}

// forgive resets the failure of the apply at boot after an apply by hand has fixed it.
func (m *Machine) forgive(ctx context.Context) error {
	states, err := m.Units.States(ctx, units.Apply)
	if err != nil || states[0].Active != "failed" {
		return err
	}
	return m.Units.ResetFailed(ctx, units.Apply)
}

// fallBack restores what served before, if want could not be carried out or does not
// serve. It returns what serves now, with failure, as an error.
func (m *Machine) fallBack(ctx context.Context, want target, c change, failure error) error {
	starts := slices.Contains(c.plan.Actions, tree.Reader{Unit: units.Registry, Verb: tree.Start})
	if !c.done && !starts {
		return fmt.Errorf("nothing was changed, but %w", failure)
	}
	for _, back := range m.candidates(want, c, failure) {
		fmt.Fprintf(m.Out, "falling back to %s\n", back.called)
		change, err := m.compare(ctx, back)
		if err == nil {
			fmt.Fprint(m.Out, change)
			err = m.carryOut(ctx, back, &change)
		}
		if err == nil {
			return fmt.Errorf("%w\nfell back to %s", failure, back.called)
		}
		failure = errors.Join(failure, fmt.Errorf("cannot fall back to %s: %w", back.called, err))
	}
	return fmt.Errorf("%w\nnothing better is known: it stays as it is, and the registry keeps trying", failure)
}

// candidates are the targets that could serve instead of want, the best first. A registry
// that answers, even with 503 since its storage is away, recovers by itself: maintenance
// would be no better.
func (m *Machine) candidates(want target, c change, failure error) []target {
	var out []target
	document, err := history.LastGood(m.Root, m.Vault)
	if err == nil && document != nil {
		out = m.earlier(want, c, document)
	}
	known := bytes.Equal(document, want.document) && c.done
	if !want.maintenance && !known && (!c.done || !errors.Is(failure, errUnwell)) {
		if t, err := m.maintain(want.cfg, config.Report{{Message: failure.Error()}}); err == nil {
			out = append(out, t)
		}
	}
	return out
}

// earlier is the target of the last good document. If the machine still has its files,
// their bytes are used: a secret in a file may have changed since.
func (m *Machine) earlier(want target, c change, document []byte) []target {
	t, err := m.rebuild(document)
	if err != nil {
		return nil
	}
	_, rendered := c.have.Lookup(paths.RegistryYML)
	_, maintenance := c.have.Lookup(paths.Maintenance)
	if rendered && !maintenance {
		t.files, t.called = c.have, "the previous configuration"
		return []target{t}
	}
	if bytes.Equal(document, want.document) {
		return nil
	}
	return []target{t}
}
