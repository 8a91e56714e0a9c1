//go:build machine

package machine_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/redoubt-registry/redoubt/butane"
	"github.com/redoubt-registry/redoubt/test/machine"
	"github.com/redoubt-registry/redoubt/units"
)

// maxExposure is what "systemd-analyze security" may say of one of our units, in
// tenths. It may go down, never up.
const maxExposure = 15

// unitNames lists the units that the image adds.
func unitNames(t *testing.T, suffix string) []string {
	t.Helper()
	names, err := fs.Glob(units.Files, "*"+suffix)
	names = slices.DeleteFunc(names, func(n string) bool { return strings.HasSuffix(n, ".d") }) // a directory of drop-ins
	if err != nil || len(names) == 0 {
		t.Fatalf("no units with suffix %q: %v", suffix, err)
	}
	return names
}

// TestUnits asks the machine's own systemd what it thinks of our units.
func TestUnits(t *testing.T) {
	m := machine.Boot(t, machine.Network()...)
	t.Run("verify", func(t *testing.T) {
		args := []string{"systemd-analyze", "verify", "--recursive-errors=yes"}
		if out, err := m.TryRun(append(args, unitNames(t, "")...)...); err != nil || strings.Contains(out, "redoubt") {
			t.Errorf("systemd-analyze verify: %v\n%s", err, out)
		}
	})
	for _, name := range unitNames(t, ".service") {
		t.Run("security of "+name, func(t *testing.T) {
			out, err := m.TryRun("systemd-analyze", "security", "--no-pager", fmt.Sprintf("--threshold=%d", maxExposure), name)
			if err != nil {
				t.Errorf("%v: the exposure is more than %d tenths:\n%s", err, maxExposure, out)
			}
			lines := strings.Split(strings.TrimSpace(out), "\n")
			t.Log(lines[len(lines)-1])
		})
	}
	t.Run("enablement", func(t *testing.T) {
		for unit, want := range map[string]string{
			units.Apply: "enabled", units.EtcMount: "enabled",
			units.Firewall: "enabled", units.CredentialsSocket: "enabled", units.Credentials: "static", "nftables.service": "disabled",
			units.HealthTimer: "enabled", units.Health: "static",
			units.BackupTimer: "enabled", units.Backup: "static",
			units.GCTimer: "enabled", units.GCPath: "enabled", units.GC: "static",
			units.Registry: "static", units.RegistrySocket: "static", units.Redis: "static",
			"redis-server.service": "masked", "systemd-networkd.service": "enabled", "ssh.service": "enabled",
		} {
			if got, _ := m.TryRun("systemctl", "is-enabled", unit); strings.TrimSpace(got) != want {
				t.Errorf("%s is %s, want %s", unit, strings.TrimSpace(got), want)
			}
		}
	})
}

// TestDeclared holds that the machine has what butane/appliance.bu declares, as it
// is in this checkout: whoever tests an old image tests nothing.
func TestDeclared(t *testing.T) {
	bu, err := os.ReadFile("../../butane/appliance.bu")
	if err != nil {
		t.Fatal(err)
	}
	want, err := butane.Tree(bu, "../..")
	if err != nil {
		t.Fatal(err)
	}
	m := machine.Boot(t, machine.Network()...)
	for _, f := range want {
		path := m.Path(f.Path)
		fi, err := os.Lstat(path)
		if err != nil || fi.Mode() != f.Mode {
			t.Errorf("%s is not as declared: %v", f.Path, err)
			continue
		}
		var got []byte
		switch f.Mode.Type() {
		case 0:
			got, err = os.ReadFile(path)
		case fs.ModeSymlink:
			var target string
			target, err = os.Readlink(path)
			got = []byte(target)
		}
		if err != nil || !bytes.Equal(got, f.Data) {
			t.Errorf("%s is not as declared: %v: make image", f.Path, err)
		}
	}
}

// TestNoUserData boots a machine that nobody gave anything: cloud-init stays out
// of the way and nothing of it is waited for or failed.
func TestNoUserData(t *testing.T) {
	m := machine.Boot(t, machine.Network()...)
	if state, _ := m.TryRun("systemctl", "is-active", "cloud-init-local.service"); strings.TrimSpace(state) != "inactive" {
		t.Errorf("cloud-init-local.service is %s without a data source", state)
	}
	for _, u := range failedUnits(t, m) {
		if u != units.Apply {
			t.Errorf("%s failed", u)
		}
	}
}

// failedUnits returns the names of the units that systemd calls failed.
func failedUnits(t *testing.T, m *machine.Machine) []string {
	t.Helper()
	var list []struct{ Unit string }
	if err := json.Unmarshal([]byte(m.Run("systemctl", "list-units", "--failed", "--output=json")), &list); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, u := range list {
		names = append(names, u.Unit)
	}
	return names
}
