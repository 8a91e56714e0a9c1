package forwarded

import (
	"net"
	"time"

	proxyproto "github.com/pires/go-proxyproto"
)

// Listener reads the header of the PROXY protocol from connections of proxies, where
// there is one. On all others it is the client's first bytes, and no header.
type Listener struct {
	net.Listener
	Trusted  func(net.Addr) bool // asked for each connection: the answer may change
	Patience time.Duration       // for the header
}

// Accept does not wait for the header: whoever sends half of one holds up only his own
// connection.
func (l *Listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil || !l.Trusted(c.RemoteAddr()) {
		return c, err
	}
	return &Conn{proxyproto.NewConn(c, proxyproto.WithPolicy(proxyproto.USE), proxyproto.SetReadHeaderTimeout(l.Patience))}, nil
}

// Conn is a connection of a proxy. Its RemoteAddr is the client's, and waits for the
// header; it is the proxy's own if there is none, or if the proxy speaks for itself
// (LOCAL), as for its health check.
type Conn struct{ *proxyproto.Conn }

// Proxy is the address that the connection comes from, which is known at once.
func (c *Conn) Proxy() net.Addr { return c.Raw().RemoteAddr() }
