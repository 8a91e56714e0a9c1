package machine

import (
	"fmt"
	"net"
	"strings"
)

// Host gives the network more addresses, as a cloud has them for its services. A
// machine that is booted with the files has routes to them.
func (l *Lan) Host(addresses ...string) []Plant {
	l.t.Helper()
	text := "[Network]\nAddress=fd00:79::2/64\n"
	for _, a := range addresses {
		if strings.Contains(a, ":") {
			l.ip("addr", "add", a+"/128", "dev", "lan0", "nodad")
			text += fmt.Sprintf("[Route]\nDestination=%s/128\nGateway=fd00:79::1\n", a)
			continue
		}
		l.ip("addr", "add", a+"/32", "dev", "lan0")
		text += fmt.Sprintf("[Route]\nDestination=%s/32\nGateway=%s\n", a, LanAddress)
	}
	l.ip("addr", "replace", "fd00:79::1/64", "dev", "lan0", "nodad")
	return []Plant{{Path: "/etc/systemd/network/05-test.network.d/cloud.conf", Data: []byte(text), Mode: 0o644}}
}

// Listen listens on an address of the network, until the test ends.
func (l *Lan) Listen(address string) net.Listener {
	l.t.Helper()
	listener, err := within(l.pid, func() (net.Listener, error) { return net.Listen("tcp", address) })
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() { listener.Close() })
	return listener
}

// ListenUDP is Listen for datagrams.
func (l *Lan) ListenUDP(address string) net.PacketConn {
	l.t.Helper()
	conn, err := within(l.pid, func() (net.PacketConn, error) { return net.ListenPacket("udp", address) })
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() { conn.Close() })
	return conn
}
