package scrub

import (
	"context"
	"sync"
	"time"
)

// pace keeps all readers together below a rate. Time that was not used does not raise
// the rate later.
type pace struct {
	rate int64 // bytes a second; 0 is no bound
	mu   sync.Mutex
	next time.Time // when the bytes granted so far would be read at the rate
}

// wait returns when n more bytes may be read.
func (p *pace) wait(ctx context.Context, n int) error {
	if p.rate <= 0 {
		return ctx.Err()
	}
	p.mu.Lock()
	now := time.Now()
	if p.next.Before(now) {
		p.next = now
	}
	due := p.next
	p.next = p.next.Add(p.duration(n))
	p.mu.Unlock()
	timer := time.NewTimer(due.Sub(now))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// unused gives n bytes back.
func (p *pace) unused(n int) {
	if p.rate > 0 {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.next = p.next.Add(-p.duration(n))
	}
}

func (p *pace) duration(n int) time.Duration {
	return time.Duration(float64(n) / float64(p.rate) * float64(time.Second))
}
