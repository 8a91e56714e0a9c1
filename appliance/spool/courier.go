package spool

import (
	"context"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

// Courier delivers the lines of a spool, in order, again and again until it can.
type Courier struct {
	Spool *Spool
	Most  int // lines at once; Send may change it
	// Send delivers lines. An error means that none of them counts as delivered.
	Send func(ctx context.Context, lines [][]byte) error
	// Least and Longest are the pauses after a failure: they double from the one to the
	// other, and a random half is left out, so that several machines do not ask as one.
	Least, Longest time.Duration

	sent   atomic.Uint64 // lines
	tried  atomic.Uint64 // calls of Send that failed
	mu     sync.Mutex
	err    error
	failed time.Time // since when Send fails
}

// Run delivers until ctx ends. What is being sent then is sent again by the next Run.
func (c *Courier) Run(ctx context.Context) {
	pause := c.Least
	for ctx.Err() == nil {
		lines, end, err := c.Spool.read(c.Most)
		if err == nil && len(lines) > 0 {
			err = c.send(ctx, lines)
		}
		if err == nil && len(lines) > 0 {
			err = c.Spool.commit(end)
		}
		if ctx.Err() != nil {
			return
		}
		c.note(err, len(lines) > 0)
		switch {
		case err != nil:
			wait(ctx, nil, pause/2+rand.N(pause/2+1))
			pause = min(2*pause, c.Longest)
		case len(lines) > 0:
			pause = c.Least
		default:
			wait(ctx, c.Spool.more, time.Minute)
		}
	}
}

func (c *Courier) send(ctx context.Context, lines [][]byte) error {
	err := c.Send(ctx, lines)
	if err != nil {
		c.tried.Add(1)
		return err
	}
	c.sent.Add(uint64(len(lines)))
	return nil
}

// Stats are how many lines were delivered, and how often that failed.
func (c *Courier) Stats() (sent, failed uint64) { return c.sent.Load(), c.tried.Load() }

// wait returns when ctx ends, when there is more, or after a while.
func wait(ctx context.Context, more <-chan struct{}, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-more:
	case <-timer.C:
	}
}

func (c *Courier) note(err error, sent bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case err != nil && c.err == nil:
		c.err, c.failed = err, time.Now()
	case err != nil:
		c.err = err
	case sent:
		c.err = nil
	}
}

// Err is since when nothing is delivered, and why; nil while all is well.
func (c *Courier) Err() (since time.Time, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.failed, c.err
}
