// Package appliance is the machine as a whole: it finds out what the machine is
// to be, compares that with what it is, and carries out the difference. Each
// verb of the command line is one method of Machine.
package appliance

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/redoubt-registry/redoubt/appliance/configuration/history"
	"github.com/redoubt-registry/redoubt/appliance/configuration/secrets"
	"github.com/redoubt-registry/redoubt/appliance/configuration/systemd"
	"github.com/redoubt-registry/redoubt/appliance/configuration/tree"
	"github.com/redoubt-registry/redoubt/appliance/configuration/userdata"
)

// Units is the service manager.
type Units interface {
	// Run makes systemd read its unit files again if reload is set, then
	// reloads or restarts units in order and waits for each. A unit that does
	// not run is left alone.
	Run(ctx context.Context, reload bool, actions []tree.Reader) error
	// Start starts units in order and waits for each. One that runs is left
	// alone.
	Start(ctx context.Context, units ...string) error
	// Begin starts a unit and does not wait for it.
	Begin(ctx context.Context, unit string) error
	// ResetFailed makes systemd forget that units have failed.
	ResetFailed(ctx context.Context, units ...string) error
	// States returns the states of units in the order given.
	States(ctx context.Context, units ...string) ([]systemd.State, error)
}

// Source finds the configuration that the machine was given.
type Source interface {
	Read() userdata.Found
}

// Machine is one appliance. All fields must be set, but for Ready.
type Machine struct {
	Root        string // the file system that it works on; / on the machine
	Units       Units
	Source      Source
	Credentials string           // directory of the systemd credentials
	Vault       history.Sealer   // what keeps the configurations that it has served with
	Now         func() time.Time // the time
	Out         io.Writer        // what a person reads: plans and warnings, no secrets
	Ready       func() error     // called when the files are in place, before units act
	Patience    time.Duration    // how long the registry may take to answer
	Settle      time.Duration    // how long a file must be unchanged to be read
}

// Options are what the caller of Apply chooses.
type Options struct {
	DryRun bool // print what would be done, and do nothing
}

// jobsTimeout bounds the waiting for units.
const jobsTimeout = 3 * time.Minute

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
	want, problem, err := m.choose(ctx, !o.DryRun)
	if err != nil {
		return err
	}
	change, err := m.compare(ctx, want)
	if err != nil {
		return err
	}
	fmt.Fprint(m.Out, change.plan)
	if o.DryRun {
		return problem
	}
	failure := m.carryOut(ctx, want, &change)
	if failure != nil {
		return errors.Join(problem, m.fallBack(ctx, want, change, failure))
	}
	if problem != nil {
		return problem
	}
	err = m.keep(ctx, want, change)
	m.renewSoon(ctx, want) // now: it goes by what was kept
	return errors.Join(err, change.refused)
}

// lock makes sure that only one apply runs. The lock goes with the process.
func (m *Machine) lock() (unlock func(), err error) {
	path := filepath.Join(m.Root, lockPath)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("cannot lock %s: %w", lockPath, err)
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("cannot lock %s: %w", lockPath, err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, errors.New("cannot apply: another redoubt apply is running; wait for it and try again")
		}
		return nil, fmt.Errorf("cannot lock %s: %w", lockPath, err)
	}
	return func() { f.Close() }, nil
}

// CredentialsDir is where the credentials are: in environment, where systemd
// names it for redoubt-apply.service, or else where the machine has its own.
// systemd takes those of the unit away as soon as its program has ended.
func CredentialsDir(environment string) string {
	if environment != "" {
		return environment
	}
	return secrets.SystemCredentials
}

const lockPath = "/run/redoubt/apply.lock"
