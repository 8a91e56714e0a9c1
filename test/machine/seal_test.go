//go:build machine

package machine_test

import (
	"strings"
	"testing"

	"github.com/redoubt-registry/redoubt/test/machine"
)

// TestSealed holds that the machine's own copy of its configuration, which has
// secrets, lies on no disk in the clear, and is read again from there.
func TestSealed(t *testing.T) {
	const password = "Pl4in-in-the-user-data"
	m := machine.Boot(t, append(machine.Network(), machine.Seed("#cloud-config\nredoubt:\n  hostname: "+hostname+
		"\n  auth: {users: [{name: alice, password: "+password+"}]}\n")...)...)
	const kept = "/var/lib/redoubt/config/last-good.sealed"
	m.Run("timeout", "60", "sh", "-c", "until test -e "+kept+"; do sleep 0.1; done")
	if out, err := m.TryRun("grep", "-rl", password, "/var/lib/redoubt", "/run/redoubt"); err == nil {
		t.Errorf("the password is in the clear in:\n%s", out)
	}
	if out := m.Run("systemd-creds", "decrypt", "--name=redoubt.configuration", kept, "-"); !strings.Contains(out, password) {
		t.Errorf("opened by hand:\n%s", out)
	}
	// Without its user-data it serves with what it has sealed.
	m.Run("systemctl", "start", "redoubt-renew.service")
	m.Run("sh", "-c", "rm /var/lib/cloud/instance/user-data.txt; echo none >/run/cloud-init/cloud-id; rm /run/redoubt/registry.yml")
	if out, _ := m.TryRun("redoubt", "apply"); !strings.Contains(out, "cloud-init found no metadata") {
		t.Errorf("without metadata:\n%s", out)
	}
	if out, _ := m.TryRun("grep", "host:", "/run/redoubt/registry.yml"); !strings.Contains(out, hostname) {
		t.Errorf("registry.yml: %s", out)
	}
	// With its key gone it says so.
	m.Run("sh", "-c", "rm -f /var/lib/systemd/credential.secret")
	if out, _ := m.TryRun("redoubt", "apply"); !strings.Contains(out, "cannot use "+kept) {
		t.Errorf("without the key:\n%s", out)
	}
}
