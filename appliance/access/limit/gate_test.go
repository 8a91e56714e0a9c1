package limit

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func TestGateBoundsTheChecks(t *testing.T) {
	limits := Default(3)
	g := NewGate(limits, time.Now)
	var now, most atomic.Int64
	var wg sync.WaitGroup
	for i := range 100 {
		wg.Go(func() {
			ok, err := g.Do(ClientOf("192.0.2.1:1", fmt.Sprint(i)), func() bool {
				if n := now.Add(1); n > most.Load() {
					most.Store(n)
				}
				time.Sleep(time.Millisecond)
				now.Add(-1)
				return true
			})
			if !ok || err != nil {
				t.Errorf("Do = %v, %v", ok, err)
			}
		})
	}
	wg.Wait()
	if most.Load() > 3 || g.Waiting() != 0 {
		t.Errorf("%d checks at a time, %d still wait", most.Load(), g.Waiting())
	}
}

// TestGateRefuses holds what a client gets who fails too often, whom the queue
// has no room for, or who has waited too long.
func TestGateRefuses(t *testing.T) {
	limits := small
	limits.MaxWait, limits.Waiting = 50*time.Millisecond, 1
	g := NewGate(limits, time.Now)
	busy, done := make(chan bool), make(chan bool)
	go func() {
		_, _ = g.Do(ClientOf("192.0.2.9:1", "slow"), func() bool { busy <- true; <-busy; return true })
		close(done)
	}()
	<-busy
	refused := make(chan error)
	go func() { _, err := g.Do(ClientOf("192.0.2.1:1", "a"), nil); refused <- err }()
	for g.Waiting() == 0 {
		time.Sleep(time.Millisecond)
	}
	for _, err := range []error{func() error { _, err := g.Do(ClientOf("192.0.2.1:1", "b"), nil); return err }(), <-refused} {
		var r *Refused
		if !errors.As(err, &r) || !r.Crowded || r.RetryAfter < time.Second {
			t.Errorf("who finds no room, or waits too long: %v", err)
		}
	}
	busy <- true
	<-done
	wrong := func() bool { return false }
	for i := range limits.User.Burst {
		if ok, err := g.Do(ClientOf("192.0.2.1:1", "a"), wrong); ok || err != nil {
			t.Errorf("failure %d: %v, %v", i, ok, err)
		}
	}
	var r *Refused
	if _, err := g.Do(ClientOf("192.0.2.1:1", "a"), wrong); !errors.As(err, &r) || r.Crowded {
		t.Errorf("a failure too many: %v", err)
	}
	if want := "too many wrong passwords: try again in 10 seconds"; r == nil || r.Error() != want {
		t.Errorf("%v, want %s", r, want)
	}
}

// TestPanicKeepsNoPlace holds that a check that panics does not narrow the gate.
func TestPanicKeepsNoPlace(t *testing.T) {
	g := NewGate(small, time.Now)
	func() {
		defer func() { _ = recover() }()
		_, _ = g.Do(ClientOf("192.0.2.1:1", "a"), func() bool { panic("a fault") })
	}()
	if ok, err := g.Do(ClientOf("192.0.2.1:1", "a"), func() bool { return true }); !ok || err != nil {
		t.Errorf("Do = %v, %v", ok, err)
	}
}

// TestGateLosesNoPlace holds that whatever ends a wait, and whenever, no place
// stays taken and no more checks run than may.
func TestGateLosesNoPlace(t *testing.T) {
	limits := Default(3)
	limits.Waiting, limits.MaxWait = 20, 2*time.Millisecond
	g := NewGate(limits, time.Now)
	var now, checked, refused atomic.Int64
	var wg sync.WaitGroup
	for i := range 500 {
		wg.Go(func() {
			_, err := g.Do(ClientOf(fmt.Sprintf("192.0.2.%d:%d", i%5, i), fmt.Sprint(i%7)), func() bool {
				if now.Add(1) > 3 {
					t.Error("more checks at a time than may be")
				}
				time.Sleep(time.Duration(i%3) * 500 * time.Microsecond)
				now.Add(-1)
				checked.Add(1)
				return i%2 == 0
			})
			if err != nil {
				refused.Add(1)
			}
		})
	}
	wg.Wait()
	if len(g.queue.waiting)+len(g.queue.working) != 0 || checked.Load()+refused.Load() != 500 || checked.Load() == 0 {
		t.Errorf("%d wait, %d work; %d were checked, %d refused", len(g.queue.waiting), len(g.queue.working), checked.Load(), refused.Load())
	}
}
