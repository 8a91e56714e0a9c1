//go:build integration

// Package firewall_test loads the rules of redoubt-firewall.service in networks of
// their own, and asks there as root and as others.
package firewall_test

import (
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/redoubt-registry/redoubt/units"
)

const rules = "../../butane/files/firewall.nft"

// addresses are those that the units' sandbox denies as well.
func addresses(t *testing.T) []string {
	t.Helper()
	unit, err := units.Files.ReadFile(units.Sandbox)
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`(?m)^IPAddressDeny=(.+)$`).FindStringSubmatch(string(unit))
	if m == nil {
		t.Fatalf("%s denies no address", units.Sandbox)
	}
	list := strings.Fields(m[1])
	slices.Sort(list)
	return list
}

// TestAddresses holds that the rules and the units mean the same addresses.
func TestAddresses(t *testing.T) {
	text, err := os.ReadFile(rules)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, m := range regexp.MustCompile(`elements = \{([^}]*)\}`).FindAllStringSubmatch(string(text), -1) {
		for _, a := range strings.Split(m[1], ",") {
			got = append(got, strings.TrimSpace(a))
		}
	}
	slices.Sort(got)
	if want := addresses(t); !slices.Equal(got, want) {
		t.Errorf("%s names %q, the units %q", rules, got, want)
	}
}

// TestRootOnly asks every address as everybody, before, under and after the rules.
func TestRootOnly(t *testing.T) {
	n := newNetns(t)
	for _, a := range addresses(t) {
		n.host(a, "80", "53", "123", "8080")
	}
	n.host("192.0.2.1", "80")
	root := who{name: "root"}
	others := []who{{"uid 1000", user(1000)}, {"the registry", user(850)}, {"root of a user namespace of uid 1000", userns(1000)}}
	everybody := func(when string) {
		t.Helper()
		for _, w := range append(others, root) {
			if err := n.ask(w, "tcp", "169.254.169.254", "80"); err != nil {
				t.Errorf("%s: %s: %v", when, w.name, err)
			}
		}
	}
	everybody("without the rules")
	n.must("nft", "-f", rules)
	for _, a := range addresses(t) {
		for _, port := range []string{"80", "8080", "53", "123"} {
			for _, network := range []string{"tcp", "udp"} {
				if err := n.ask(root, network, a, port); err != nil {
					t.Errorf("root, %s, %s port %s: %v", a, network, port, err)
				}
				open := port == "53" || port == "123" && network == "udp"
				for _, w := range others {
					switch err := n.ask(w, network, a, port); {
					case open && err != nil:
						t.Errorf("%s, %s, %s port %s: %v", w.name, a, network, port, err)
					case !open && err == nil:
						t.Errorf("%s gets through to %s, %s port %s", w.name, a, network, port)
					case !open && strings.Contains(err.Error(), "timeout"):
						t.Errorf("%s, %s, %s port %s: waits for nothing: %v", w.name, a, network, port, err)
					}
				}
			}
		}
	}
	for _, w := range others {
		if err := n.ask(w, "tcp", "192.0.2.1", "80"); err != nil {
			t.Errorf("%s cannot reach another address: %v", w.name, err)
		}
	}
	n.must("nft", "delete", "table", "inet", "redoubt")
	everybody("after the rules")
}

// TestRules holds that the rules can be loaded again, are whole or as they were,
// and leave others alone.
func TestRules(t *testing.T) {
	n := newNetns(t)
	n.host("169.254.169.254", "80")
	plain := who{"uid 1000", user(1000)}
	closed := func(when string) {
		t.Helper()
		if n.ask(plain, "tcp", "169.254.169.254", "80") == nil {
			t.Errorf("%s: uid 1000 gets through", when)
		}
	}
	n.must("nft", "add", "table", "inet", "theirs")
	n.must("nft", "add", "chain", "inet", "theirs", "output", "{ type filter hook output priority 5; }")
	theirs := n.must("nft", "list", "table", "inet", "theirs")
	for range 3 {
		n.must("nft", "-f", rules)
		closed("loaded again")
	}
	if got := strings.Count(n.must("nft", "list", "ruleset"), "jump metadata"); got != 2 {
		t.Errorf("%d jumps after three loads, want 2", got)
	}
	text, err := os.ReadFile(rules)
	if err != nil {
		t.Fatal(err)
	}
	broken := filepath.Join(t.TempDir(), "broken.nft")
	if err := os.WriteFile(broken, []byte(strings.Replace(string(text), "reject", "rejekt", 1)), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := n.run(exec.Command("nft", "-f", broken)); err == nil {
		t.Errorf("broken rules were loaded: %s", out)
	}
	closed("after broken rules")
	// A verdict that lets packets through is good for its own table alone.
	n.must("nft", "add", "rule", "inet", "theirs", "output", "accept")
	closed("with rules of an operator's that accept")
	n.must("nft", "delete", "rule", "inet", "theirs", "output", "handle", handle(t, n))
	n.must("nft", "delete", "table", "inet", "redoubt")
	if got := n.must("nft", "list", "ruleset"); got != theirs {
		t.Errorf("left:\n%swant:\n%s", got, theirs)
	}
}

func handle(t *testing.T, n *netns) string {
	t.Helper()
	m := regexp.MustCompile(`accept # handle (\d+)`).FindStringSubmatch(n.must("nft", "-a", "list", "table", "inet", "theirs"))
	if m == nil {
		t.Fatal("the rule is gone")
	}
	return m[1]
}

// TestUnit holds that the unit's own commands are those tested here.
func TestUnit(t *testing.T) {
	unit, err := units.Files.ReadFile(units.Firewall)
	if err != nil {
		t.Fatal(err)
	}
	declaration, err := os.ReadFile("../../butane/appliance.bu")
	if err != nil {
		t.Fatal(err)
	}
	const installed = "/usr/lib/redoubt/firewall.nft"
	for _, line := range []string{"ExecStart=/usr/sbin/nft -f " + installed, "ExecReload=/usr/sbin/nft -f " + installed,
		"ExecStop=/usr/sbin/nft delete table inet redoubt", "ConditionPathExists=!/run/redoubt/firewall-open"} {
		if !strings.Contains(string(unit), "\n"+line+"\n") {
			t.Errorf("%s lacks %s", units.Firewall, line)
		}
	}
	if !strings.Contains(string(declaration), "path: "+installed+"\n") {
		t.Errorf("butane/appliance.bu has no %s", installed)
	}
	if _, err := netip.ParseAddr(addresses(t)[0]); err != nil {
		t.Error(err)
	}
}
