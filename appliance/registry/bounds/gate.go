package bounds

import (
	"net"
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
	from     map[netip.Prefix]int // connections of each client
	asking   map[netip.Prefix]int // requests of each client over connections of proxies
	refused  atomic.Uint64
	draining atomic.Bool
	transfer transfers
}

// NewGate returns a gate that holds b.
func NewGate(b Bounds) *Gate {
	g := &Gate{bounds: b, open: map[*conn]struct{}{}, from: map[netip.Prefix]int{}, asking: map[netip.Prefix]int{}}
	g.transfer.active = map[*clock]struct{}{}
	return g
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

// admit counts a connection, or closes it and returns nil if there is no room. That of a
// proxy counts for no client yet.
func (g *Gate) admit(c net.Conn) net.Conn {
	n := &conn{Conn: c, gate: g, since: time.Now()}
	_, n.proxied = c.(proxy)
	from := source(n.peer())
	n.own = !from.IsValid()
	if !n.proxied {
		n.from = from
	}
	if !n.own && !(g.roomFor(n.from) && g.roomInAll()) {
		c.Close()
		return nil
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.open[n] = struct{}{}
	count(g.from, n.from, 1)
	return n
}

// arrive counts the connection of a proxy for the client that it turned out to be of, or
// closes it if there is no room.
func (g *Gate) arrive(c *conn, from netip.Prefix) {
	g.mu.Lock()
	_, open := g.open[c]
	counted, own := c.from == from, c.own
	g.mu.Unlock()
	if !open || counted || !from.IsValid() {
		return
	}
	if !g.roomFor(from) || own && !g.roomInAll() {
		c.Close()
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if _, open := g.open[c]; open && c.from != from {
		c.from, c.own = from, false
		count(g.from, from, 1)
	}
}

// roomFor makes room for one more connection of a client.
func (g *Gate) roomFor(from netip.Prefix) bool {
	return g.room(func() bool { return from.IsValid() && g.from[from] >= g.bounds.PerAddress },
		func(c *conn) bool { return c.from == from })
}

// roomInAll makes room for one more connection of anybody.
func (g *Gate) roomInAll() bool {
	return g.room(func() bool { return len(g.open) >= g.bounds.Connections }, func(c *conn) bool { return !c.own })
}

// room closes the oldest candidate that asks for nothing, if it is full. It is false if
// there is none.
func (g *Gate) room(full func() bool, candidate func(*conn) bool) bool {
	g.mu.Lock()
	if !full() {
		g.mu.Unlock()
		return true
	}
	oldest := g.oldest(candidate)
	g.mu.Unlock()
	g.refused.Add(1)
	if oldest == nil {
		return false
	}
	oldest.Close()
	return true
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

// count adds to what a client has.
func count(of map[netip.Prefix]int, from netip.Prefix, by int) {
	if !from.IsValid() {
		return
	}
	if of[from] += by; of[from] <= 0 {
		delete(of, from)
	}
}

// ask counts a request over a connection of a proxy for the client that it is of: the
// proxy has all its clients in a few connections, and one client may have as many
// requests at once as it may have connections without the proxy. end is nil if there are
// too many.
func (g *Gate) ask(c *conn, remote string) (end func()) {
	end = func() {}
	client, err := netip.ParseAddrPort(remote)
	if c == nil || !c.proxied || err != nil {
		return end
	}
	from := source(net.TCPAddrFromAddrPort(client))
	g.mu.Lock()
	defer g.mu.Unlock()
	if c.from.IsValid() || !from.IsValid() || from == source(c.peer()) {
		return end // the connection counts, or the proxy asks itself
	}
	if g.asking[from] >= g.bounds.PerAddress {
		g.refused.Add(1)
		return nil
	}
	count(g.asking, from, 1)
	return func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		count(g.asking, from, -1)
	}
}

func (g *Gate) forget(c *conn) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.open, c)
	count(g.from, c.from, -1)
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
