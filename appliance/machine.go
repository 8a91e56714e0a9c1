// Package appliance is the machine as a whole: it finds out what the machine is
// to be, compares that with what it is, and carries out the difference. The verbs
// apply, renew, status, alert, ca and storage are its methods and functions, each in
// a file of its own; the other verbs end in the package that does their work.
package appliance

import (
	"context"
	"fmt"
	"io"
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
	Out         io.Writer        // what a person reads: plans and results, no secrets
	Warnings    io.Writer        // what a person reads beside that
	Ready       func() error     // called when the files are in place, before units act
	Patience    time.Duration    // how long the registry may take to answer
	Settle      time.Duration    // how long a file must be unchanged to be read
}

// warn says what is not as it should be and stops nothing.
func (m *Machine) warn(format string, args ...any) {
	fmt.Fprintf(m.Warnings, "warning: "+format+"\n", args...)
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
