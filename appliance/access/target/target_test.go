package target

import (
	"net/netip"
	"testing"
)

func TestProblem(t *testing.T) {
	for text, want := range map[string]bool{
		"192.0.2.1": true, "10.0.0.1": true, "2001:db8::1": true, "fd12::1": true,
		"169.254.169.254": false, "::ffff:169.254.169.254": false, "fe80::1%eth0": false, "fd00:ec2::254": false, "fd20:ce::254": false,
		"168.63.129.16": false, "100.100.100.200": false, "0.0.0.0": false, "::": false, "224.0.0.1": false, "127.0.0.2": false, "::1": false,
	} {
		if err := Problem(netip.MustParseAddr(text), false); (err == nil) != want {
			t.Errorf("%s: %v", text, err)
		}
	}
	if err := Problem(netip.MustParseAddr("127.0.0.1"), true); err != nil {
		t.Errorf("loopback where it may be: %v", err)
	}
}
