package cert

import (
	"crypto/x509"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/redoubt-registry/redoubt/appliance/hostname"
)

// nameSet is the names of a certificate.
type nameSet struct {
	dns []string
	ips []netip.Addr
}

// parseNames splits names into DNS names, lower-cased, and IP addresses.
func parseNames(names []string) (nameSet, error) {
	var s nameSet
	if len(names) == 0 {
		return s, fmt.Errorf("it needs at least one name")
	}
	for _, n := range names {
		if ip, err := netip.ParseAddr(n); err == nil {
			if ip.Zone() != "" {
				return s, fmt.Errorf("the address %q has a zone", n)
			}
			s.ips = append(s.ips, ip.Unmap())
			continue
		}
		n = strings.ToLower(n)
		if hostname.DNSProblem(strings.TrimPrefix(n, "*.")) != "" {
			return s, fmt.Errorf("%q is neither a DNS name nor an IP address", n)
		}
		s.dns = append(s.dns, n)
	}
	slices.Sort(s.dns)
	s.dns = slices.Compact(s.dns)
	slices.SortFunc(s.ips, netip.Addr.Compare)
	s.ips = slices.Compact(s.ips)
	return s, nil
}

// name sets the alternative names of a server's certificate.
func (s nameSet) name(t *x509.Certificate) {
	t.DNSNames = s.dns
	for _, ip := range s.ips {
		t.IPAddresses = append(t.IPAddresses, ip.AsSlice())
	}
}

// constrain sets the name constraints of an authority. A kind of name that
// the machine does not have is excluded as a whole, in the way that the CA/B
// Forum's baseline requirements 7.1.5 ask for.
func (s nameSet) constrain(t *x509.Certificate) {
	t.PermittedDNSDomainsCritical = true
	for _, n := range s.dns {
		t.PermittedDNSDomains = append(t.PermittedDNSDomains, strings.TrimPrefix(n, "*."))
	}
	if len(s.dns) == 0 {
		t.ExcludedDNSDomains = []string{""}
	}
	for _, ip := range s.ips {
		permitRange(t, netip.PrefixFrom(ip, ip.BitLen()))
	}
	if len(s.ips) == 0 {
		excludeRange(t, netip.MustParsePrefix("0.0.0.0/0"))
		excludeRange(t, netip.MustParsePrefix("::/0"))
	}
}

// permittedBy says whether an authority's constraints allow every name of s.
// A kind of name without a permitted list is free unless some are excluded.
func (s nameSet) permittedBy(ca *x509.Certificate) bool {
	for _, n := range s.dns {
		n = strings.TrimPrefix(n, "*.")
		under := func(d string) bool { return d == "" || n == d || strings.HasSuffix(n, "."+d) }
		if len(ca.PermittedDNSDomains) > 0 && !slices.ContainsFunc(ca.PermittedDNSDomains, under) {
			return false
		}
		if slices.ContainsFunc(ca.ExcludedDNSDomains, under) {
			return false
		}
	}
	for _, ip := range s.ips {
		permitted := len(ca.PermittedIPRanges) == 0
		for _, r := range ca.PermittedIPRanges {
			permitted = permitted || r.Contains(ip.AsSlice())
		}
		for _, r := range ca.ExcludedIPRanges {
			permitted = permitted && !r.Contains(ip.AsSlice())
		}
		if !permitted {
			return false
		}
	}
	return true
}

// names returns the names of a server's certificate.
func names(c *x509.Certificate) nameSet {
	s := nameSet{dns: slices.Clone(c.DNSNames)}
	for _, b := range c.IPAddresses {
		if ip, ok := netip.AddrFromSlice(b); ok {
			s.ips = append(s.ips, ip.Unmap())
		}
	}
	slices.Sort(s.dns)
	slices.SortFunc(s.ips, netip.Addr.Compare)
	return s
}

func (s nameSet) equal(o nameSet) bool {
	return slices.Equal(s.dns, o.dns) && slices.Equal(s.ips, o.ips)
}

// The elements of x509.Certificate's ranges are a type of package net, which
// this package does not import: zero makes one, and its fields take bytes.

func permitRange(t *x509.Certificate, p netip.Prefix) {
	r := zero(t.PermittedIPRanges)
	r.IP, r.Mask = p.Addr().AsSlice(), mask(p)
	t.PermittedIPRanges = append(t.PermittedIPRanges, r)
}

func excludeRange(t *x509.Certificate, p netip.Prefix) {
	r := zero(t.ExcludedIPRanges)
	r.IP, r.Mask = p.Addr().AsSlice(), mask(p)
	t.ExcludedIPRanges = append(t.ExcludedIPRanges, r)
}

func zero[T any](_ []*T) *T { return new(T) }

func mask(p netip.Prefix) []byte {
	m := make([]byte, p.Addr().BitLen()/8)
	for i := range p.Bits() {
		m[i/8] |= 0x80 >> (i % 8)
	}
	return m
}
