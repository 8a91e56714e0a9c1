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

// Gate counts the connections of one process, and knows which of them are at
// work. The zero value is not ready: use NewGate.
type Gate struct {
	bounds Bounds

	mu       sync.Mutex
	open     map[*conn]struct{}
	from     map[netip.Prefix]int
	refused  atomic.Uint64
	draining atomic.Bool
	transfer transfers
}

// NewGate returns a gate that holds b.
func NewGate(b Bounds) *Gate {
	g := &Gate{bounds: b, open: map[*conn]struct{}{}, from: map[netip.Prefix]int{}}
	g.transfer.active = map[*clock]struct{}{}
	return g
}

// conn is one open connection.
type conn struct {
	net.Conn
	gate  *Gate
	from  netip.Prefix
	since time.Time    // when it was accepted, or its last request ended
	busy  atomic.Int32 // requests that a handler answers
	once  sync.Once
}

func (c *conn) Close() error {
	c.once.Do(func() { c.gate.forget(c) })
	return c.Conn.Close()
}

// Listen returns l with each connection counted.
func (g *Gate) Listen(l net.Listener) net.Listener { return &listener{l, g} }

type listener struct {
	net.Listener
	gate *Gate
}

func (l *listener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if admitted := l.gate.admit(c); admitted != nil {
			return admitted, nil
		}
	}
}

// admit makes room for a connection, or closes it and returns nil. The oldest one
// that asks for nothing goes first.
func (g *Gate) admit(c net.Conn) net.Conn {
	n := &conn{Conn: c, gate: g, from: source(c.RemoteAddr()), since: time.Now()}
	own := !n.from.IsValid() // the watchdog must get in at any time
	for _, over := range []func() (bool, func(*conn) bool){
		func() (bool, func(*conn) bool) {
			return g.from[n.from] >= g.bounds.PerAddress, func(c *conn) bool { return c.from == n.from }
		},
		func() (bool, func(*conn) bool) {
			return len(g.open) >= g.bounds.Connections, func(c *conn) bool { return c.from.IsValid() }
		},
	} {
		g.mu.Lock()
		full, candidate := over()
		var oldest *conn
		if full && !own {
			oldest = g.oldest(candidate)
		}
		g.mu.Unlock()
		switch {
		case !full || own:
		case oldest == nil:
			g.refused.Add(1)
			c.Close()
			return nil
		default:
			g.refused.Add(1)
			oldest.Close()
		}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.open[n] = struct{}{}
	g.from[n.from]++
	return n
}

// oldest is the connection that has asked for nothing for the longest time.
func (g *Gate) oldest(candidate func(*conn) bool) *conn {
	var oldest *conn
	for c := range g.open {
		if c.busy.Load() == 0 && candidate(c) && (oldest == nil || c.since.Before(oldest.since)) {
			oldest = c
		}
	}
	return oldest
}

func (g *Gate) forget(c *conn) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.open, c)
	if g.from[c.from]--; g.from[c.from] <= 0 {
		delete(g.from, c.from)
	}
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

// Open is how many connections there are.
func (g *Gate) Open() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.open)
}

// Refused is how many connections were closed to keep the bounds.
func (g *Gate) Refused() uint64 { return g.refused.Load() }

// grace is for a request whose header arrives as the server is told to end.
const grace = time.Second

// Drain prepares the end of the server: from now on a body that stands still is
// waited for no longer than Bounds.Drain, and connections that have not sent the
// header of their request are closed.
func (g *Gate) Drain() {
	g.draining.Store(true)
	g.transfer.hurry(g.bounds.Drain)
	g.mu.Lock()
	var waiting []*conn
	for c := range g.open {
		if c.busy.Load() == 0 {
			waiting = append(waiting, c)
		}
	}
	g.mu.Unlock()
	time.AfterFunc(grace, func() {
		for _, c := range waiting {
			if c.busy.Load() == 0 {
				c.Close()
			}
		}
	})
}
