//go:build faults

package faults

import (
	"testing"
	"time"
)

// trial is a fault, and when it ends.
type trial struct {
	storage string // registry.yml's section
	before  keys   // what the registry begins with
	after   keys   // what opens the storage at the end
	begin   func(s *server)
	wait    time.Duration
	end     func(s *server)
	quiet   bool // the registry may hide it from every client
}

// run runs clients on a registry, begins the fault, waits, ends it, and holds what
// the registry promised: what it acknowledged is there, what failed succeeds again,
// and nobody waited too long.
func (f trial) run(t *testing.T) {
	t.Helper()
	s := serve(t, f.storage, f.before)
	l := newLoad(s.url)
	done := make(chan struct{})
	go func() {
		defer close(done)
		l.run(t)
	}()
	l.warm(t)
	f.begin(s)
	time.Sleep(f.wait)
	f.end(s)
	l.heal()
	<-done
	l.report(t)
	if l.failures == 0 && !f.quiet {
		t.Error("the fault was not felt: no request failed")
	}
	l.verify(t, s.url)
	// Another registry knows nothing but what is in the storage.
	l.verify(t, serve(t, f.storage, f.after).url)
}
