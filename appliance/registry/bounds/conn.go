package bounds

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// conn is one open connection.
type conn struct {
	net.Conn
	gate    *Gate
	from    netip.Prefix
	proxied bool         // it is a proxy's, and from is not valid until the proxy has said whose it is
	own     bool         // of this machine itself, such as the watchdog's, which must get in at any time
	since   time.Time    // when it was accepted, or its last request ended
	busy    atomic.Int32 // requests that a handler answers
	once    sync.Once
}

// proxy is what a connection has that a proxy may have made for another one. Its
// RemoteAddr waits until the proxy has said so.
type proxy interface{ Proxy() net.Addr }

// peer is the other end of the connection, which may be a proxy.
func (c *conn) peer() net.Addr {
	if p, ok := c.Conn.(proxy); ok {
		return p.Proxy()
	}
	return c.Conn.RemoteAddr()
}

// RemoteAddr is the client's address. It waits for what a proxy says of it, and then
// counts the connection for the client.
func (c *conn) RemoteAddr() net.Addr {
	addr := c.Conn.RemoteAddr()
	if c.proxied && addr.String() != c.peer().String() {
		c.gate.arrive(c, source(addr))
	}
	return addr
}

func (c *conn) Close() error {
	c.once.Do(func() { c.gate.forget(c) })
	return c.Conn.Close()
}

// source is whom a connection counts for: an IPv4 address, or the /64 of an IPv6
// address, which one client may have whole. The machine itself counts for nobody:
// the prefix is then not valid.
func source(addr net.Addr) netip.Prefix {
	tcp, ok := addr.(*net.TCPAddr)
	if !ok {
		return netip.Prefix{}
	}
	ip := tcp.AddrPort().Addr().Unmap().WithZone("")
	if ip == netip.AddrFrom4([4]byte{127, 0, 0, 1}) || ip == netip.IPv6Loopback() {
		return netip.Prefix{}
	}
	bits := 32
	if ip.Is6() {
		bits = 64
	}
	p, err := ip.Prefix(bits)
	if err != nil {
		return netip.Prefix{} // of a valid address with fitting bits: never
	}
	return p
}

type connKey struct{}

func (g *Gate) context(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, connKey{}, inner(c))
}

func (g *Gate) state(c net.Conn, state http.ConnState) {
	own := inner(c)
	if own == nil {
		return
	}
	switch state {
	case http.StateIdle:
		g.mu.Lock()
		own.since = time.Now()
		g.mu.Unlock()
	case http.StateClosed, http.StateHijacked:
		own.once.Do(func() { g.forget(own) })
	}
}

func inner(c net.Conn) *conn {
	if t, ok := c.(*tls.Conn); ok {
		c = t.NetConn()
	}
	own, _ := c.(*conn)
	return own
}

// Peer is the other end of the connection of a request, which may be a proxy; nil for a
// request that came over none.
func Peer(ctx context.Context) net.Addr {
	if c, ok := ctx.Value(connKey{}).(*conn); ok && c != nil {
		return c.peer()
	}
	return nil
}
