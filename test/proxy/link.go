package proxy

import (
	"net"
	"sync"
	"time"
)

// link is a client joined to the target.
type link struct {
	client, server *net.TCPConn
	once           sync.Once
	done           chan struct{}
}

// reset ends both connections, so that what was under way is lost.
func (l *link) reset() { l.end(func(c *net.TCPConn) { _ = c.SetLinger(0) }) }

// close ends both connections after what was written to them.
func (l *link) close() { l.end(func(*net.TCPConn) {}) }

func (l *link) end(how func(*net.TCPConn)) {
	l.once.Do(func() {
		close(l.done)
		for _, c := range []*net.TCPConn{l.client, l.server} {
			if c != nil {
				how(c)
				c.Close()
			}
		}
	})
}

// piece is some bytes on their way.
type piece struct {
	data []byte
	due  time.Time
}

// window is how many pieces are on their way at most: 64 KiB each.
const window = 64

// pump forwards one way until its end, or the link's.
func (p *Proxy) pump(l *link, way int, from, to *net.TCPConn) {
	pieces := make(chan piece, window)
	go func() {
		defer close(pieces)
		for {
			buffer := make([]byte, 64<<10)
			n, err := from.Read(buffer)
			if n > 0 {
				select {
				case pieces <- piece{buffer[:n], p.due(way, n)}:
				case <-l.done:
					return
				}
			}
			if err != nil {
				return
			}
		}
	}()
	for next := range pieces {
		if !l.sleep(time.Until(next.due)) || !p.thawed(l) {
			return
		}
		if _, err := to.Write(next.data); err != nil {
			l.reset()
			return
		}
	}
	if p.thawed(l) {
		_ = to.CloseWrite() // the other way may have ended both
	}
}

// due is when bytes that come now are passed on.
func (p *Proxy) due(way, n int) time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	at := time.Now()
	if p.rate > 0 {
		if p.line[way].After(at) {
			at = p.line[way]
		}
		at = at.Add(time.Duration(n) * time.Second / time.Duration(p.rate))
		p.line[way] = at
	}
	return at.Add(p.latency)
}

// sleep says whether the link still stands afterwards.
func (l *link) sleep(d time.Duration) bool {
	if d <= 0 {
		return true
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-l.done:
		return false
	}
}

// thawed waits until the proxy is not frozen, and says whether the link still
// stands.
func (p *Proxy) thawed(l *link) bool {
	for {
		p.mu.Lock()
		frozen, changed := p.frozen, p.changed
		p.mu.Unlock()
		if !frozen {
			return true
		}
		select {
		case <-changed:
		case <-l.done:
			return false
		}
	}
}
