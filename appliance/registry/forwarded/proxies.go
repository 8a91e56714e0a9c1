// Package forwarded finds out who asks where a proxy stands between: by the PROXY
// protocol (versions 1 and 2, of HAProxy) before a connection's first byte, and by
// X-Forwarded-For, -Proto and -Host of a request. Both are believed only of the
// addresses that the operator named.
package forwarded

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
)

// Proxies are the addresses of proxies that are believed. Empty: there is none.
type Proxies []netip.Prefix

// Parse reads an option of registry.yml: a list of networks, such as 10.0.0.5/32.
func Parse(option any) (Proxies, error) {
	if option == nil {
		return nil, nil
	}
	items, ok := option.([]any)
	if !ok {
		return nil, errors.New("it must be a list of networks")
	}
	var out Proxies
	for _, item := range items {
		p, err := netip.ParsePrefix(fmt.Sprint(item))
		if err != nil {
			return nil, fmt.Errorf("%v is not a network, such as 10.0.0.5/32", item)
		}
		out = append(out, p.Masked())
	}
	return out, nil
}

// Has says whether a proxy is at addr, which may be a 4-in-6 address.
func (p Proxies) Has(addr netip.Addr) bool {
	addr = addr.Unmap().WithZone("")
	for _, net := range p {
		if net.Contains(addr) {
			return true
		}
	}
	return false
}

// HasEnd says whether a proxy is at one end of a connection.
func (p Proxies) HasEnd(end net.Addr) bool {
	tcp, ok := end.(*net.TCPAddr)
	return ok && p.Has(tcp.AddrPort().Addr())
}
