package machine_test

import (
	"testing"

	"github.com/redoubt-registry/redoubt/test/machine"
)

func TestBoot(t *testing.T) {
	m := machine.Boot(t)
	t.Log(m.TryRun("systemctl", "is-system-running"))
	t.Log(m.TryRun("systemctl", "--failed", "--no-pager"))
	t.Log(m.TryRun("systemd-analyze", "blame", "--no-pager"))
	t.Log(m.TryRun("systemctl", "list-units", "--no-pager"))
	t.Log(m.TryRun("ls", "-la", "/etc/ssh", "/etc/redoubt", "/run"))
	t.Log(m.TryRun("journalctl", "-b", "--no-pager", "-p", "4"))
	t.Log(m.Console())
}
