package config

import (
	"net/netip"
	"strings"
)

func (p Proxy) validate(s spot) {
	for i, text := range p.Trust {
		at := s.at("trust").item(i)
		network, err := netip.ParsePrefix(text)
		switch addr, bare := netip.ParseAddr(text); {
		case bare == nil && addr.Zone() == "":
			at.fail("must be a network: " + netip.PrefixFrom(addr, addr.BitLen()).String() + " is this address alone")
		case err != nil:
			at.fail("must be a network, such as 10.0.0.5/32 or fd00::5/128")
		case network != network.Masked():
			at.fail("has bits beyond its length: " + network.Masked().String() + " is the network, and a single address ends in " + single(network.Addr()))
		case network.Bits() == 0:
			at.fail("is everybody: any client could then say that he is another one; name the proxies alone")
		}
	}
}

func single(addr netip.Addr) string {
	if addr.Is4() {
		return "/32"
	}
	return "/128"
}

// validatePlain holds that plain HTTP, with passwords in it, stays in private networks.
func (p Proxy) validatePlain(s spot, mode string) {
	for i, text := range p.Trust {
		network, err := netip.ParsePrefix(text)
		if err == nil && mode == "off" && !private(network) {
			s.at("trust").item(i).fail("must be a private or loopback network with tls.mode off: passwords would go over the network in the clear; with TLS here as well any address will do")
		}
	}
}

// nearby are the networks that no route of the Internet leads to: RFC 1918, RFC 4193,
// RFC 3927, RFC 4291, RFC 6598 and loopback.
var nearby = strings.Fields("10.0.0.0/8 172.16.0.0/12 192.168.0.0/16 100.64.0.0/10 169.254.0.0/16 127.0.0.0/8 fc00::/7 fe80::/10 ::1/128")

func private(network netip.Prefix) bool {
	for _, text := range nearby {
		around := netip.MustParsePrefix(text)
		if around.Bits() <= network.Bits() && around.Contains(network.Addr()) {
			return true
		}
	}
	return false
}
