package blobcache

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// An open breaker waits this long before a probe. The pause doubles with
	// each, also of a server that fails again soon after.
	minPause = 250 * time.Millisecond
	maxPause = 5 * time.Second
	// calm is how long Redis must be in use without a failure to start again
	// with short pauses.
	calm = time.Minute
	// quiet is how long one reason is not said again.
	quiet = 10 * time.Minute
)

var errOpen = errors.New("redis is given up for now")

// breaker keeps requests away from a Redis that does not answer. One failure
// opens it. While it is open a goroutine, and never a request, asks Redis
// whether it is back; the breaker closes when it is.
type breaker struct {
	probe func(context.Context) error // its error is a reason for people
	log   func(string, error)

	open            atomic.Bool
	skipped, opened atomic.Uint64

	mu     sync.Mutex // holds the change from open to closed and back
	ctx    context.Context
	cancel context.CancelFunc
	done   sync.WaitGroup
	pause  time.Duration // before the next probe
	closed time.Time     // when it last closed
	said   string        // the reason that was logged last
	saidAt time.Time
	told   bool // this opening is in the log, so its end will be
}

func newBreaker(probe func(context.Context) error, log func(string, error)) *breaker {
	ctx, cancel := context.WithCancel(context.Background())
	return &breaker{probe: probe, log: log, ctx: ctx, cancel: cancel, pause: minPause}
}

// start opens the breaker before its first use: a server is believed to answer
// when it has.
func (b *breaker) start() {
	b.open.Store(true)
	b.done.Go(b.recover)
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
	if time.Since(b.closed) > calm {
		b.pause = minPause
	}
	b.open.Store(true)
	b.opened.Add(1)
	b.told = false
	b.say(cause)
	b.done.Go(b.recover)
}

// say logs a reason that is news: a server that comes and goes all night has
// one line in ten minutes. It is called with the lock held.
func (b *breaker) say(cause error) {
	if cause.Error() == b.said && time.Since(b.saidAt) < quiet {
		return
	}
	b.said, b.saidAt, b.told = cause.Error(), time.Now(), true
	b.log("the descriptor cache is left out until Redis answers again", cause)
}

// recover waits for Redis. Nothing is scheduled while the breaker is closed.
func (b *breaker) recover() {
	for first := b.closed.IsZero() && b.opened.Load() == 0; ; first = false {
		if !first {
			select {
			case <-b.ctx.Done():
				return
			case <-time.After(b.nextPause()):
			}
		}
		err := b.probe(b.ctx)
		if b.ctx.Err() != nil {
			return
		}
		b.mu.Lock()
		if err == nil {
			b.open.Store(false)
			b.closed = time.Now()
			if b.told {
				b.log("the descriptor cache is in use again", nil)
			}
			b.mu.Unlock()
			return
		}
		b.say(err)
		b.mu.Unlock()
	}
}

func (b *breaker) nextPause() time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	p := b.pause
	b.pause = min(2*p, maxPause)
	return p
}

func (b *breaker) close() {
	b.mu.Lock()
	b.cancel()
	b.mu.Unlock()
	b.done.Wait()
}
