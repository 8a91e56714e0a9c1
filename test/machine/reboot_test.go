//go:build machine

package machine_test

import (
	"strings"
	"testing"

	"github.com/redoubt-registry/redoubt/test/machine"
	"github.com/redoubt-registry/redoubt/units"
)

// TestReboot reboots a machine: what clients know of it stays, and it serves again
// even when its cloud no longer answers.
func TestReboot(t *testing.T) {
	s := boot(t)
	ref, image := s.push("team/app:v1", 2)
	identity := func() string {
		return s.Run("cat", "/var/lib/redoubt/ca/ca.crt", "/etc/ssh/ssh_host_ed25519_key.pub", "/run/redoubt/registry.yml", "/run/redoubt/htpasswd")
	}
	before := identity()
	again := func(t *testing.T) {
		t.Helper()
		s.awaitApply()
		s.mustServe("after a reboot")
		s.mustPull(ref, image)
		if after := identity(); after != before {
			t.Errorf("CA, host key or configuration changed:\nbefore:\n%s\nafter:\n%s", before, after)
		}
	}

	s.Reboot()
	again(t)
	if state := s.Property(units.Apply, "ActiveState"); state != "active" {
		t.Errorf("%s is %s", units.Apply, state)
	}

	// The metadata service is gone: cloud-init ends with an instance that has no
	// user-data. That is no news, so the last good configuration serves.
	s.Run("rm", "-r", "/var/lib/cloud/seed")
	s.Write("/etc/cloud/cloud.cfg.d/99-zz-test.cfg", "datasource_list: [None]\n", 0o644)
	s.Reboot()
	if got := s.Run("cat", "/run/cloud-init/cloud-id"); got != "none" {
		t.Fatalf("cloud-init found %q: this test is about none", got)
	}
	again(t)
	if state := s.Property(units.Apply, "ActiveState"); state != "failed" {
		t.Errorf("%s is %s: nobody would know", units.Apply, state)
	}
	if out := s.Run("journalctl", "--boot", "--no-pager", "--unit", units.Apply); !strings.Contains(out, "last good configuration") {
		t.Errorf("the journal does not say it:\n%s", out)
	}
}

// TestCredential boots a machine that has its configuration from whoever runs the
// virtual machine, by a systemd credential.
func TestCredential(t *testing.T) {
	s := &site{t: t, aliceHash: hash(t)}
	s.Machine = machine.BootWith(t, map[string]string{"redoubt.config": userData(s.aliceHash)}, machine.Network()...)
	s.awaitApply()
	s.transport = s.Transport()
	s.mustServe("with a credential")
	if out, err := s.apply(); err != nil {
		t.Errorf("a second apply, by hand: %v\n%s", err, out)
	}
	s.mustServe("after a second apply")
}
