// Package systemd carries out what a plan asks of units, and reads their
// states, over systemd's D-Bus interface (org.freedesktop.systemd1(5)).
package systemd

import (
	"context"
	"fmt"
	"strings"

	"github.com/coreos/go-systemd/v22/dbus"

	"github.com/redoubt-registry/redoubt/appliance/configuration/tree"
)

// Manager is a connection to the machine's service manager.
type Manager struct {
	conn *dbus.Conn
}

// Connect opens a connection: to the system bus, or for root to the manager's
// own socket where no bus runs. Close gives it back.
func Connect(ctx context.Context) (*Manager, error) {
	conn, err := dbus.NewWithContext(ctx)
	if err != nil {
		return nil, fmt.Errorf("cannot reach systemd over D-Bus (is dbus.service running?): %w", err)
	}
	return &Manager{conn: conn}, nil
}

// Close ends the connection.
func (m *Manager) Close() { m.conn.Close() }

// Run lets each unit of actions take up what has changed, and waits until it
// has. reload makes systemd read its unit files again first: needed after a
// change of a unit or a drop-in. A unit that is not running is left alone; Start
// is for those.
//
// Each unit acts once, a restart standing for a reload, sockets first and then by
// name. A socket's service is stopped with it and started after it, since systemd
// refuses to open a socket whose service runs.
//
// The first failure ends the run.
func (m *Manager) Run(ctx context.Context, reload bool, actions []tree.Reader) error {
	if reload {
		if err := m.conn.ReloadContext(ctx); err != nil {
			return fmt.Errorf("cannot reload systemd's unit files: %w", err)
		}
	}
	started := map[string]bool{} // services that were restarted with their socket
	for _, a := range tree.Order(actions) {
		if started[a.Unit] {
			continue
		}
		if a.Socket() {
			services, err := m.reopen(ctx, a.Unit)
			if err != nil {
				return err
			}
			for _, s := range services {
				started[s] = true
			}
			continue
		}
		call := m.conn.ReloadOrTryRestartUnitContext
		if a.Verb == tree.Restart {
			call = m.conn.TryRestartUnitContext
		}
		if err := m.job(ctx, a.Verb.String(), a.Unit, call); err != nil {
			return err
		}
	}
	return nil
}

// Start starts units in the order given and waits for each. What runs already
// stays as it is, but gets its missing dependencies; a unit whose condition does
// not hold is left out by systemd, and that is no error.
func (m *Manager) Start(ctx context.Context, units ...string) error {
	for _, u := range units {
		if err := m.job(ctx, "start", u, m.conn.StartUnitContext); err != nil {
			return err
		}
	}
	return nil
}

// Stop stops units in the order given and waits for each.
func (m *Manager) Stop(ctx context.Context, units ...string) error {
	for _, u := range units {
		if err := m.job(ctx, "stop", u, m.conn.StopUnitContext); err != nil {
			return err
		}
	}
	return nil
}

// Begin starts a unit and does not wait for it.
func (m *Manager) Begin(ctx context.Context, unit string) error {
	if _, err := m.conn.StartUnitContext(ctx, unit, "replace", nil); err != nil {
		return fmt.Errorf("cannot start %s: %w", unit, err)
	}
	return nil
}

// ResetFailed makes systemd forget that units have failed.
func (m *Manager) ResetFailed(ctx context.Context, units ...string) error {
	for _, u := range units {
		if err := m.conn.ResetFailedUnitContext(ctx, u); err != nil {
			return fmt.Errorf("cannot reset the failure of %s: %w", u, err)
		}
	}
	return nil
}

// reopen closes a socket and opens it again with its present settings, and
// returns the services that were stopped and started for it. A closed socket
// stays closed.
func (m *Manager) reopen(ctx context.Context, socket string) ([]string, error) {
	states, err := m.States(ctx, socket)
	if err != nil || !states[0].Running() {
		return nil, err
	}
	prop, err := m.conn.GetUnitPropertyContext(ctx, socket, "Triggers")
	if err != nil {
		return nil, fmt.Errorf("cannot read the services of %s: %w", socket, err)
	}
	services, ok := prop.Value.Value().([]string)
	if !ok {
		return nil, fmt.Errorf("cannot read the services of %s: systemd answered %s", socket, prop.Value.Signature())
	}
	states, err = m.States(ctx, services...)
	if err != nil {
		return nil, err
	}
	var again []string
	for _, s := range states {
		if s.Running() {
			again = append(again, s.Name)
		}
	}
	// The socket goes first: a service that stops behind an open socket is started
	// again by the next client. Ours require their socket and stop before it.
	if err := m.Stop(ctx, append([]string{socket}, again...)...); err != nil {
		return nil, err
	}
	return again, m.Start(ctx, append([]string{socket}, again...)...)
}

// startJob is the shape that go-systemd's calls share.
type startJob = func(ctx context.Context, name, mode string, done chan<- string) (int, error)

// job asks for one job and waits for its end. How long a unit may take is said in
// the unit; ctx can only end the waiting sooner.
func (m *Manager) job(ctx context.Context, verb, unit string, start startJob) error {
	done := make(chan string, 1)
	if _, err := start(ctx, unit, "replace", done); err != nil {
		return fmt.Errorf("cannot %s %s: %w", verb, unit, err)
	}
	select {
	case result := <-done:
		if result == "done" || result == "skipped" {
			return nil
		}
		return &JobError{Verb: verb, Unit: unit, Job: result, Result: m.result(ctx, unit)}
	case <-ctx.Done():
		return fmt.Errorf("cannot %s %s: systemd has not finished: %w", verb, unit, context.Cause(ctx))
	}
}

// result returns why a unit failed in systemd's own words, or nothing.
func (m *Manager) result(ctx context.Context, unit string) string {
	kind := map[string]string{".service": "Service", ".socket": "Socket", ".mount": "Mount"}[suffix(unit)]
	prop, err := m.conn.GetUnitTypePropertyContext(ctx, unit, kind, "Result")
	if err != nil {
		return ""
	}
	s, _ := prop.Value.Value().(string)
	return s
}

// JobError is a job of systemd that did not end well.
type JobError struct {
	Verb, Unit string
	Job        string // the job's result: failed, timeout, dependency, canceled, …
	Result     string // the unit's: exit-code, watchdog, oom-kill, …; may be empty
}

func (e *JobError) Error() string {
	why := e.Job
	if e.Result != "" && e.Result != "success" {
		why += ", " + e.Result
	}
	return fmt.Sprintf("cannot %s %s: %s; the reason is in: journalctl -u %s", e.Verb, e.Unit, why, e.Unit)
}

func suffix(unit string) string {
	if i := strings.LastIndexByte(unit, '.'); i >= 0 {
		return unit[i:]
	}
	return ""
}
