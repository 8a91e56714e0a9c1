// Package hostname says what a name of a host is good for: whether clients can reach a
// machine by it, and whether it is one of AWS.
package hostname

import (
	"net/netip"
	"net/url"
	"regexp"
	"strings"
)

var (
	label  = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?$`)
	digits = regexp.MustCompile(`^[0-9]+$`)
	port   = regexp.MustCompile(`^[^:]*:[0-9]+$|^\[.*\]:`)
	aws    = regexp.MustCompile(`(?i)(^|\.)amazonaws\.com(\.cn)?$`)
)

// Problem says why name is no DNS name and no IP address that a client could reach,
// or is empty.
func Problem(name string) string {
	if address, err := netip.ParseAddr(name); err == nil {
		if address.IsUnspecified() || address.IsMulticast() || address.Zone() != "" {
			return "this address cannot be reached by clients"
		}
		return ""
	}
	return DNSProblem(name)
}

// DNSProblem says why name is no DNS name of a host (RFC 1123, 2.1), or is empty. A
// name whose last label is a number would be taken for an address.
func DNSProblem(name string) string {
	labels := strings.Split(name, ".")
	switch {
	case strings.Contains(name, "://") || strings.Contains(name, "/"):
		return "must be a name alone, without scheme and path"
	case strings.HasPrefix(name, "[") && strings.HasSuffix(name, "]"):
		return "must be without brackets: an IPv6 address has them only in URLs"
	case port.MatchString(name):
		return "must be a name alone, without a port: that is listen.httpsPort"
	case strings.Contains(name, "_"):
		return "a host name has no underscore"
	case strings.HasSuffix(name, "."):
		return "must not end in a dot"
	case len(name) > 253:
		return "too long: a DNS name has at most 253 characters"
	case digits.MatchString(labels[len(labels)-1]):
		return "must be a DNS name or an IP address"
	}
	for _, l := range labels {
		switch {
		case len(l) > 63:
			return "too long: between two dots are at most 63 characters"
		case !label.MatchString(l):
			return "must be a DNS name (letters, digits, - and dots; others in their xn-- form) or an IP address"
		}
	}
	return ""
}

// OfAWS tells whether the host of a URL is one of AWS.
func OfAWS(endpoint string) bool {
	u, err := url.Parse(endpoint)
	return err == nil && aws.MatchString(u.Hostname())
}
