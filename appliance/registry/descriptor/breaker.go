package descriptor

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"
)

// probePause is how long an open breaker waits between two probes.
const probePause = 250 * time.Millisecond

var errOpen = errors.New("redis is given up for now")

// breaker keeps requests away from a Redis that does not answer. One failure
// opens it. While it is open a goroutine, and never a request, asks Redis
// whether it is back; the breaker closes when it is.
type breaker struct {
	probe func(context.Context) error
	log   func(string, error)

	open            atomic.Bool
	skipped, opened atomic.Uint64

	mu     sync.Mutex // holds the change from open to closed and back
	ctx    context.Context
	cancel context.CancelFunc
	done   sync.WaitGroup
}

func newBreaker(probe func(context.Context) error, log func(string, error)) *breaker {
	ctx, cancel := context.WithCancel(context.Background())
	return &breaker{probe: probe, log: log, ctx: ctx, cancel: cancel}
}

func (b *breaker) isOpen() bool { return b.open.Load() }

func (b *breaker) allow() bool {
	if b.open.Load() {
		b.skipped.Add(1)
		return false
	}
	return true
}

func (b *breaker) fail(cause error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.open.Load() || b.ctx.Err() != nil {
		return
	}
	b.open.Store(true)
	b.opened.Add(1)
	b.log("the descriptor cache is left out until Redis answers again", cause)
	b.done.Go(b.recover)
}

// recover waits for Redis. Nothing is scheduled while the breaker is closed.
func (b *breaker) recover() {
	for {
		select {
		case <-b.ctx.Done():
			return
		case <-time.After(probePause):
		}
		if b.probe(b.ctx) == nil {
			b.mu.Lock()
			b.open.Store(false)
			b.mu.Unlock()
			b.log("the descriptor cache is in use again", nil)
			return
		}
	}
}

func (b *breaker) close() {
	b.mu.Lock()
	b.cancel()
	b.mu.Unlock()
	b.done.Wait()
}
