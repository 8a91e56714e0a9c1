//go:build machine

package machine_test

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"

	real "github.com/redoubt-registry/redoubt/test/clients" // this package has another clients
	"github.com/redoubt-registry/redoubt/test/machine"
)

// desk is where the clients of a machine work, in its network.
type desk struct {
	*real.Desk
	dir string
}

// newDesk sets a desk up beside the machine.
func newDesk(t *testing.T, s *site) *desk {
	t.Helper()
	return newDeskIn(t, s.Leader(), machine.Address)
}

// newDeskIn sets a desk up in the network of a process, where the registry's name
// has addresses.
func newDeskIn(t *testing.T, network int, addresses ...string) *desk {
	t.Helper()
	d := real.New(t, real.Options{Network: network, Name: hostname, Addresses: addresses})
	return &desk{Desk: d, dir: d.Dir}
}

// try runs a command at the desk and returns what it printed.
func (d *desk) try(args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	cmd := d.Command(ctx, args...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	return strings.TrimSpace(out.String()), err
}

// run is try for a command that must succeed.
func (d *desk) run(t *testing.T, args ...string) string {
	t.Helper()
	out, err := d.try(args...)
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

func (d *desk) docker() { d.Docker("--storage-driver=vfs") }

func (d *desk) daemonLog() string { return d.DockerLog() }
