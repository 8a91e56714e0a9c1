//go:build machine

package machine_test

import (
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redoubt-registry/redoubt/test/machine"
	"github.com/redoubt-registry/redoubt/test/metadata"
	"github.com/redoubt-registry/redoubt/units"
)

// The addresses at which a cloud's metadata service answers to the machines here.
var metadataAddresses = []string{"169.254.169.254", "fd00:ec2::254"}

const userDataPath = "/latest/user-data"

// cloud is a network with a metadata service, and what a machine on it is booted
// with.
func cloud(t *testing.T) (*machine.Lan, *metadata.Service, []machine.Plant) {
	l, s := machine.NewLan(t), &metadata.Service{}
	s.UserData("S3cr3t of the user-data")
	files := l.Host(metadataAddresses...)
	for _, a := range metadataAddresses {
		go (&http.Server{Handler: s, ReadHeaderTimeout: time.Minute}).Serve(l.Listen(net.JoinHostPort(a, "80"))) // it ends with the test
		go answerNames(l.ListenUDP(net.JoinHostPort(a, "53")))
	}
	return l, s, append(append(files, machine.Asker()), machine.Network()...)
}

// answerNames answers each datagram.
func answerNames(p net.PacketConn) {
	buf := make([]byte, 1500)
	for {
		_, from, err := p.ReadFrom(buf)
		if err != nil {
			return
		}
		p.WriteTo([]byte("a name"), from) // the client tells
	}
}

// processes are commands by which others than root ask.
var processes = map[string][]string{
	"uid 1000":                 {"setpriv", "--reuid=1000", "--regid=1000", "--clear-groups"},
	"the registry's user":      {"setpriv", "--reuid=redoubt-registry", "--regid=redoubt-registry", "--clear-groups"},
	"a DynamicUser":            {"systemd-run", "--quiet", "--wait", "--pipe", "--property=DynamicUser=yes"},
	"root of a user namespace": {"setpriv", "--reuid=1000", "--regid=1000", "--clear-groups", "unshare", "--user", "--map-root-user"},
}

func ask(m *machine.Machine, as []string, what ...string) (string, error) {
	return m.TryRun(append(append(append([]string{}, as...), machine.AskerPath), what...)...)
}

// mustReach holds what root, and what everybody else, gets of the metadata service.
func mustReach(t *testing.T, m *machine.Machine, others bool) {
	t.Helper()
	for _, a := range metadataAddresses {
		if out, err := ask(m, nil, "metadata", a, userDataPath); err != nil || !strings.HasPrefix(out, "200 S3cr3t") {
			t.Errorf("root, %s: %v %s", a, err, out)
		}
		for name, as := range processes {
			out, err := ask(m, as, "metadata", a, userDataPath)
			if reached := err == nil && strings.HasPrefix(out, "200 "); reached != others {
				t.Errorf("%s, %s: reached %t: %v %s", name, a, reached, err, out)
			} else if !reached && !strings.Contains(out, "Connection refused") {
				t.Errorf("%s, %s: it fails for another reason: %s", name, a, out)
			}
			if out, err := ask(m, as, "udp", a, "53"); err != nil || !strings.Contains(out, "a name") {
				t.Errorf("%s, %s: no names: %v %s", name, a, err, out)
			}
		}
	}
}

// TestFirewall holds that root alone reaches the metadata service, from before the
// network on, unless the configuration says otherwise.
func TestFirewall(t *testing.T) {
	lan, _, files := cloud(t)
	s := &site{t: t, aliceHash: hash(t)}
	s.Machine = lan.Boot(1, append(files, machine.Seed(userData(s.aliceHash))...)...)
	s.awaitApply()
	s.transport = s.Transport()

	s.run("at boot", func(t *testing.T, s *site) {
		for _, later := range []string{"systemd-networkd.service", units.Registry, units.Apply} {
			if before, after := since(s, units.Firewall), since(s, later); before == 0 || before > after {
				t.Errorf("%s came at %d, %s at %d", units.Firewall, before, later, after)
			}
		}
		mustReach(t, s.Machine, false)
	})
	s.run("open", func(t *testing.T, s *site) {
		s.configure("firewall.yaml", "redoubt: {firewall: {metadata: open}}\n")
		s.mustApply()
		mustReach(t, s.Machine, true)
		if out := s.Run("nft", "list", "ruleset"); strings.Contains(out, "redoubt") {
			t.Errorf("left:\n%s", out)
		}
		if out, err := s.TryRun("redoubt", "status"); err != nil || strings.Contains(out, units.Firewall+" is") {
			t.Errorf("status: %v\n%s", err, out)
		}
		if out, err := s.apply(); err != nil || strings.Contains(out, units.Firewall) {
			t.Errorf("a second apply: %v\n%s", err, out)
		}
	})
	s.run("closed again", func(t *testing.T, s *site) {
		s.configure("firewall.yaml", "redoubt: {}\n")
		s.mustApply()
		mustReach(t, s.Machine, false)
	})
	s.run("reload and restart", func(t *testing.T, s *site) {
		s.Run("systemctl", "reload", units.Firewall)
		s.Run("systemctl", "restart", units.Firewall)
		s.Run("nft", "-f", "/etc/nftables.conf") // an operator's own begin by taking all away
		s.Run("systemctl", "reload", units.Firewall)
		if got := strings.Count(s.Run("nft", "list", "ruleset"), "jump metadata"); got != 2 {
			t.Errorf("%d jumps, want 2", got)
		}
	})
	s.run("rules that cannot be loaded", brokenRules)
}

// brokenRules holds that a firewall that fails is told everywhere, stops no images,
// and is tried again.
func brokenRules(t *testing.T, s *site) {
	const path = "/usr/lib/redoubt/firewall.nft"
	good := s.Run("cat", path) + "\n"
	s.Write(path, strings.ReplaceAll(good, "reject with", "rejekt with"), 0o644)
	if out, err := s.TryRun("systemctl", "restart", units.Firewall); err == nil {
		t.Fatalf("broken rules were loaded: %s", out)
	}
	s.Eventually("the alert", func() bool {
		out, _ := s.TryRun("journalctl", "--no-pager", "-o", "cat", "MESSAGE_ID=9f4c2d6b1e7a4f0c8b53a6d1c07e24f9")
		return strings.Contains(out, units.Firewall+" has failed")
	})
	out, err := s.TryRun("redoubt", "status")
	if err == nil || !strings.HasPrefix(out, "degraded") || !strings.Contains(out, units.Firewall+" is failed") {
		t.Errorf("status: %v\n%s", err, out)
	}
	out, err = s.apply()
	if err != nil || !strings.Contains(out, "warning") || !strings.Contains(out, "metadata service") {
		t.Errorf("apply: %v\n%s", err, out)
	}
	s.mustServe("without the firewall")
	s.Write(path, good, 0o644)
	s.mustApply()
	mustReach(t, s.Machine, false)
	if out, err := s.TryRun("redoubt", "status"); err != nil {
		t.Errorf("status: %v\n%s", err, out)
	}
}

// since is when a unit came up, in microseconds from the boot.
func since(s *site, unit string) int {
	n, _ := strconv.Atoi(s.Property(unit, "ActiveEnterTimestampMonotonic")) // none is 0
	return n
}
