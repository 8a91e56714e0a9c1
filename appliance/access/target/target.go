// Package target says which addresses the machine does not ask for others: those of
// metadata services, which tell a machine its secrets, and its own.
package target

import (
	"fmt"
	"net/netip"
)

// metadata are the networks where clouds tell a machine its secrets.
var metadata = []netip.Prefix{
	netip.MustParsePrefix("169.254.0.0/16"), netip.MustParsePrefix("fe80::/10"), netip.MustParsePrefix("fd00:ec2::/32"),
	netip.MustParsePrefix("fd20:ce::/32"),
	netip.MustParsePrefix("100.100.100.200/32"), netip.MustParsePrefix("168.63.129.16/32"), netip.MustParsePrefix("192.0.0.192/32"),
}

// Problem says why an address is not asked; nil if it may be. loopback says that the
// machine's own addresses may be.
func Problem(a netip.Addr, loopback bool) error {
	a = a.Unmap().WithZone("")
	for _, p := range metadata {
		if p.Contains(a) {
			return fmt.Errorf("the address %s is not asked: it is for metadata of machines", a)
		}
	}
	if a.IsUnspecified() || a.IsMulticast() || a.IsLoopback() && !loopback {
		return fmt.Errorf("the address %s is not asked: it is this machine's", a)
	}
	return nil
}

// Private says whether an address is one that the Internet does not reach.
func Private(a netip.Addr) bool {
	a = a.Unmap().WithZone("")
	return a.IsPrivate() || a.IsLoopback()
}
