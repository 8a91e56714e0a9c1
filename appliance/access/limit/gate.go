package limit

import (
	"sync"
	"time"
)

// Gate lets checks of passwords through in the order of a Queue, a few at a
// time. It is safe for concurrent use.
type Gate struct {
	now     func() time.Time
	maxWait time.Duration

	mu    sync.Mutex
	queue *Queue
}

// NewGate returns a gate with a queue of its own.
func NewGate(limits Limits, now func() time.Time) *Gate {
	return &Gate{now: now, maxWait: limits.MaxWait, queue: NewQueue(limits)}
}

// Do checks the password of a client when it is its turn, and returns what check
// returned. A check that is false is a failure of the client's. The error is a
// *Refused: check was not called then.
func (g *Gate) Do(c Client, check func() bool) (ok bool, err error) {
	p, err := g.enter(c)
	if err != nil {
		return false, err
	}
	patience := time.NewTimer(g.maxWait)
	defer patience.Stop()
	select {
	case err = <-p.turn:
	case <-patience.C:
		err = g.giveUp(p)
	}
	if err != nil {
		return false, err
	}
	defer func() { g.leave(p, !ok) }() // of a panic as well: a place is not lost
	return check(), nil
}

// Waiting is how many wait for their turn.
func (g *Gate) Waiting() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.queue.Waiting()
}

func (g *Gate) enter(c Client) (*Place, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	p, out, err := g.queue.Enter(c, g.now())
	if err != nil {
		return nil, err
	}
	if out != nil {
		out.turn <- crowded
	}
	g.advance()
	return p, nil
}

// crowded tells a client to come again when the queue may be shorter.
var crowded = &Refused{RetryAfter: 5 * time.Second, Crowded: true}

// giveUp ends the wait of p, unless its turn came just now.
func (g *Gate) giveUp(p *Place) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	select {
	case err := <-p.turn:
		return err
	default:
	}
	g.queue.Leave(p, false, g.now())
	return crowded
}

func (g *Gate) leave(p *Place, failed bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.queue.Leave(p, failed, g.now())
	g.advance()
}

// advance tells all whose turn it is.
func (g *Gate) advance() {
	for {
		p, err := g.queue.Next(g.now())
		switch {
		case p == nil:
			return
		case err != nil:
			p.turn <- err
		default:
			p.turn <- nil
		}
	}
}
