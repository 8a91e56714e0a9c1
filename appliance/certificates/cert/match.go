package cert

import (
	"crypto/x509"
	"net/netip"
	"slices"
)

// NamesAre says whether c is for exactly the names of want, in any order.
func NamesAre(c *x509.Certificate, want []string) bool {
	set, err := parseNames(want)
	return err == nil && names(c).equal(set)
}

// NamesInclude says whether c is for all names of want, and perhaps for more.
func NamesInclude(c *x509.Certificate, want []string) bool {
	set, err := parseNames(want)
	have := names(c)
	return err == nil &&
		!slices.ContainsFunc(set.dns, func(n string) bool { return !slices.Contains(have.dns, n) }) &&
		!slices.ContainsFunc(set.ips, func(ip netip.Addr) bool { return !slices.Contains(have.ips, ip) })
}

// Names are what c is for.
func Names(c *x509.Certificate) []string {
	set := names(c)
	out := set.dns
	for _, ip := range set.ips {
		out = append(out, ip.String())
	}
	return out
}
