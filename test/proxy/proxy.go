// Package proxy stands between a client and a server in tests, and is the bad
// network, or the bad server, that a test says, while both run.
package proxy

import (
	"context"
	"fmt"
	"net"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Owner is what a proxy belongs to and ends with: a test, or a program.
type Owner interface {
	Helper()
	Fatal(args ...any)
	Fatalf(format string, args ...any)
	Cleanup(f func())
}

// Proxy forwards connections to one address.
type Proxy struct {
	Address string // that it listens on, host:port
	URL     string // the same, of HTTP

	target string
	http   *faults // nil: it forwards bytes that it does not read

	mu       sync.Mutex
	changed  chan struct{} // closed at each change of what follows
	latency  time.Duration
	rate     int
	frozen   bool
	line     [2]time.Time // until when each way is taken, at that rate
	listener net.Listener // nil: cut, or ended
	links    map[*link]struct{}
}

// TCP starts a proxy that forwards bytes to an address, host:port.
func TCP(t Owner, target string) *Proxy {
	t.Helper()
	p := &Proxy{target: target, changed: make(chan struct{}), links: map[*link]struct{}{}}
	if err := p.listen("127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	p.Address = p.listener.Addr().String()
	p.URL = "http://" + p.Address
	// This socket keeps the port for us while the other is closed.
	keeper, err := reserve(p.listener.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.Cut()
		_ = unix.Close(keeper)
	})
	return p
}

// Latency delays what goes each way by so much.
func (p *Proxy) Latency(d time.Duration) { p.change(func() { p.latency = d }) }

// Rate limits each way to so many bytes a second, for all connections together.
// 0: no limit.
func (p *Proxy) Rate(bytes int) { p.change(func() { p.rate = bytes }) }

// Freeze forwards nothing any more, either way, and takes new connections.
func (p *Proxy) Freeze() { p.change(func() { p.frozen = true }) }

// Thaw forwards again, first what has come in the meantime.
func (p *Proxy) Thaw() { p.change(func() { p.frozen = false }) }

// Cut resets all connections and refuses new ones.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.listener != nil {
		p.listener.Close()
		p.listener = nil
	}
	p.reset()
}

// Reset resets all connections, and takes new ones.
func (p *Proxy) Reset() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.reset()
}

func (p *Proxy) reset() {
	for l := range p.links {
		l.reset()
	}
}

// Restore accepts connections again after Cut.
func (p *Proxy) Restore(t Owner) {
	t.Helper()
	p.mu.Lock()
	cut := p.listener == nil
	p.mu.Unlock()
	if !cut {
		return
	}
	if err := p.listen(p.Address); err != nil {
		t.Fatalf("cannot restore the proxy: %v", err)
	}
}

// Heal ends every fault.
func (p *Proxy) Heal(t Owner) {
	t.Helper()
	p.change(func() { p.latency, p.rate, p.frozen = 0, 0, false })
	if p.http != nil {
		p.http.set(nil)
	}
	p.Restore(t)
}

// Connections is how many are open.
func (p *Proxy) Connections() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.links)
}

func (p *Proxy) change(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f()
	close(p.changed)
	p.changed = make(chan struct{})
}

func (p *Proxy) listen(address string) error {
	config := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var err error
		control := c.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1) })
		if control != nil {
			return control
		}
		return err
	}}
	l, err := config.Listen(context.Background(), "tcp", address)
	if err != nil {
		return err
	}
	p.mu.Lock()
	p.listener = l
	p.mu.Unlock()
	go p.accept(l)
	return nil
}

// reserve binds a port without listening: nobody else gets it, and who connects
// is refused unless another of our sockets listens.
func reserve(address net.Addr) (fd int, err error) {
	tcp, ok := address.(*net.TCPAddr)
	if !ok {
		return 0, fmt.Errorf("no TCP address: %v", address)
	}
	fd, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1); err != nil {
		return 0, err
	}
	return fd, unix.Bind(fd, &unix.SockaddrInet4{Port: tcp.Port, Addr: [4]byte(tcp.IP.To4())})
}

func (p *Proxy) accept(listener net.Listener) {
	for {
		c, err := listener.Accept()
		if err != nil {
			return // it was closed
		}
		client, ok := c.(*net.TCPConn)
		if !ok {
			continue
		}
		go p.connect(client, listener)
	}
}

// connect joins a client to the target until one of them ends it.
func (p *Proxy) connect(client *net.TCPConn, listener net.Listener) {
	l := &link{client: client, done: make(chan struct{})}
	c, err := net.DialTimeout("tcp", p.target, time.Minute)
	if err != nil {
		l.reset()
		return
	}
	l.server, _ = c.(*net.TCPConn)
	p.mu.Lock()
	if p.listener != listener {
		p.mu.Unlock()
		l.reset()
		return
	}
	p.links[l] = struct{}{}
	p.mu.Unlock()
	var ways sync.WaitGroup
	ways.Go(func() { p.pump(l, 0, l.client, l.server) })
	ways.Go(func() { p.pump(l, 1, l.server, l.client) })
	ways.Wait()
	l.close()
	p.mu.Lock()
	delete(p.links, l)
	p.mu.Unlock()
}
