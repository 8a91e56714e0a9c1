package socket

import (
	"net"
	"net/netip"
)

// Local says whether an address is one of this machine's: whether it can be bound.
func Local(ip netip.Addr) bool {
	c, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(ip, 0)))
	if err != nil {
		return false
	}
	return c.Close() == nil
}
