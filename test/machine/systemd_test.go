//go:build machine

package machine_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/redoubt-registry/redoubt/appliance/configuration/systemd"
	"github.com/redoubt-registry/redoubt/appliance/configuration/tree"
	"github.com/redoubt-registry/redoubt/test/machine"
)

// probes are small units to act on: two that run, one that cannot reload, one
// that fails, and a socket with its service.
func probes() []machine.Plant {
	unit := func(name, text string) machine.Plant {
		return machine.Plant{Path: "/etc/systemd/system/" + name, Data: []byte(text), Mode: 0o644}
	}
	return append(machine.Network(),
		unit("probe-a.service", "[Service]\nExecStart=sleep infinity\nExecReload=true\n"),
		unit("probe-b.service", "[Service]\nExecStart=sleep infinity\n"),
		unit("probe-fail.service", "[Service]\nType=oneshot\nExecStart=false\n"),
		unit("probe-slow.service", "[Service]\nType=oneshot\nExecStart=sleep 60\n"),
		unit("probe-never.service", "[Unit]\nConditionPathExists=/nowhere\n[Service]\nExecStart=sleep infinity\n"),
		unit("probe-s.socket", "[Socket]\nListenStream=7001\n"),
		unit("probe-s.service", "[Unit]\nRequires=probe-s.socket\n[Service]\nExecStart=sleep infinity\n"),
	)
}

// TestSystemd drives package systemd against a machine's systemd.
func TestSystemd(t *testing.T) {
	m := machine.Boot(t, probes()...)
	t.Setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path="+m.Path("/run/dbus/system_bus_socket"))
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	manager, err := systemd.Connect(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer manager.Close()
	invocation := func(unit string) string { return m.Property(unit, "InvocationID") }

	t.Run("start", func(t *testing.T) {
		if err := manager.Start(ctx, "probe-a.service", "probe-b.service", "probe-never.service"); err != nil {
			t.Fatal(err)
		}
		states, err := manager.States(ctx, "probe-a.service", "probe-never.service", "probe-none.service")
		if err != nil {
			t.Fatal(err)
		}
		if s := states[0]; s.Active != "active" || s.Sub != "running" || s.Load != "loaded" || time.Since(s.Since) > time.Hour {
			t.Errorf("probe-a.service: %+v", s)
		}
		if s := states[1]; s.Active != "inactive" {
			t.Errorf("probe-never.service: %+v", s)
		}
		if s := states[2]; s.Load != "not-found" {
			t.Errorf("probe-none.service: %+v", s)
		}
	})
	t.Run("reload and restart", func(t *testing.T) {
		a, b := invocation("probe-a.service"), invocation("probe-b.service")
		m.Write("/run/systemd/system/probe-a.service.d/x.conf", "[Unit]\nDescription=changed\n", 0o644)
		err := manager.Run(ctx, true, []tree.Reader{
			{Unit: "probe-a.service", Verb: tree.Reload},
			{Unit: "probe-b.service", Verb: tree.Reload}, // cannot: it is restarted
			{Unit: "probe-never.service", Verb: tree.Restart},
		})
		if err != nil {
			t.Fatal(err)
		}
		if invocation("probe-a.service") != a {
			t.Error("probe-a.service was restarted, not reloaded")
		}
		if invocation("probe-b.service") == b {
			t.Error("probe-b.service was not restarted")
		}
		if got := m.Property("probe-a.service", "Description"); got != "changed" {
			t.Errorf("the drop-in was not read: %q", got)
		}
	})
	t.Run("socket", func(t *testing.T) {
		if err := manager.Start(ctx, "probe-s.socket", "probe-s.service"); err != nil {
			t.Fatal(err)
		}
		before := invocation("probe-s.service")
		m.Write("/run/systemd/system/probe-s.socket.d/x.conf", "[Socket]\nListenStream=\nListenStream=7002\n", 0o644)
		if err := manager.Run(ctx, true, []tree.Reader{
			{Unit: "probe-s.service", Verb: tree.Reload},
			{Unit: "probe-s.socket", Verb: tree.Restart},
		}); err != nil {
			t.Fatal(err)
		}
		if got := m.Run("ss", "-Hltn"); strings.Contains(got, ":7001") || !strings.Contains(got, ":7002") {
			t.Errorf("listening after the port changed:\n%s", got)
		}
		states, err := manager.States(ctx, "probe-s.socket", "probe-s.service")
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range states {
			if s.Active != "active" {
				t.Errorf("after the port changed: %+v", s)
			}
		}
		if invocation("probe-s.service") == before {
			t.Error("the service kept the old socket")
		}
	})
	t.Run("failure", func(t *testing.T) {
		err := manager.Start(ctx, "probe-fail.service")
		var job *systemd.JobError
		if !errors.As(err, &job) || job.Result != "exit-code" || !strings.Contains(err.Error(), "journalctl -u probe-fail.service") {
			t.Errorf("got %v", err)
		}
		if err := manager.Start(ctx, "probe-none.service"); err == nil || !strings.Contains(err.Error(), "probe-none.service") {
			t.Errorf("an unknown unit: got %v", err)
		}
	})
	t.Run("patience", func(t *testing.T) {
		short, cancel := context.WithTimeout(ctx, 300*time.Millisecond)
		defer cancel()
		err := manager.Start(short, "probe-slow.service")
		if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "probe-slow.service") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("stop", func(t *testing.T) {
		if err := manager.Stop(ctx, "probe-a.service"); err != nil {
			t.Fatal(err)
		}
		if err := manager.Run(ctx, false, []tree.Reader{{Unit: "probe-a.service", Verb: tree.Restart}}); err != nil {
			t.Fatal(err)
		}
		if got := m.Property("probe-a.service", "ActiveState"); got != "inactive" {
			t.Errorf("a stopped unit was started by a change: %s", got)
		}
	})
}
