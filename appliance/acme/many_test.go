package acme

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/redoubt-registry/redoubt/appliance/state"
	"github.com/redoubt-registry/redoubt/test/pebble"
)

// TestMain is also a renewer's own process, when a test starts it as one.
func TestMain(m *testing.M) {
	dir := os.Getenv("REDOUBT_TEST_DIR")
	if dir == "" {
		os.Exit(m.Run())
	}
	r := renewer(dir, "registry.example.com")
	r.Want.Directory, r.Want.Roots = os.Getenv("REDOUBT_TEST_DIRECTORY"), os.Getenv("REDOUBT_TEST_ROOTS")
	if _, err := r.Tick(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "redoubt:", err)
		os.Exit(1)
	}
}

// process is a renewer of the world's store in a process of its own.
func (w *world) process() (*exec.Cmd, *strings.Builder) {
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), "REDOUBT_TEST_DIR="+w.dir,
		"REDOUBT_TEST_DIRECTORY="+w.Want.Directory, "REDOUBT_TEST_ROOTS="+w.Want.Roots)
	var out strings.Builder
	cmd.Stderr = &out
	return cmd, &out
}

func TestACME15EightRenewersOneOrder(t *testing.T) {
	w := newWorld(t, pebble.Options{}, "registry.example.com")
	p := w.front()
	var all sync.WaitGroup
	for range 8 {
		cmd, out := w.process()
		all.Go(func() {
			if err := cmd.Run(); err != nil {
				t.Errorf("%v: %s", err, out.String())
			}
		})
	}
	all.Wait()
	if orders, accounts := len(p.Requests(newOrder)), len(p.Requests("/sign-me-up")); orders != 1 || accounts != 1 {
		t.Errorf("%d orders of %d accounts", orders, accounts)
	}
	if m := w.memory(); m.Number != 1 || !m.Fits(w.Want.Names) {
		t.Errorf("there are %d certificates", m.Number)
	}
	w.idle()
}

// pastLease is the clock when the lease of one who began now is over.
const pastLease = LeaseTime + time.Minute

// late gives the store the machine's clock too.
func (w *world) lateStore() {
	d := w.Store.(state.Dir)
	d.Now = w.Now
	w.Store = d
}

func TestACME16FrozenHolderIsFenced(t *testing.T) {
	w := newWorld(t, pebble.Options{}, "registry.example.com")
	p := w.front()
	w.lateStore()
	holder, out := w.process()
	frozen, thaw := make(chan struct{}), make(chan struct{})
	var first atomic.Bool
	p.Meddle(func(_ http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == newOrder && first.CompareAndSwap(false, true) {
			if err := holder.Process.Signal(syscall.SIGSTOP); err != nil {
				t.Error(err)
			}
			close(frozen)
			<-thaw
		}
		return false
	})
	if err := holder.Start(); err != nil {
		t.Fatal(err)
	}
	<-frozen
	w.idle()
	if !strings.Contains(w.out.String(), "is at work on it") {
		t.Errorf("the lease is not respected: %s", w.out.String())
	}
	w.late = pastLease
	m := w.issued()
	close(thaw)
	if err := holder.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	if err := holder.Wait(); err == nil || !strings.Contains(out.String(), "another process has changed the state") {
		t.Errorf("the thawed process ends with %v: %s", err, out.String())
	}
	if now := w.memory(); now.Chain != m.Chain || now.Number != 1 || now.Failures.Count != 0 {
		t.Errorf("the thawed process changed the state: %d certificates, %d failures", now.Number, now.Failures.Count)
	}
}

func TestACME17KilledHolderIsReplaced(t *testing.T) {
	w := newWorld(t, pebble.Options{}, "registry.example.com")
	p := w.front()
	w.lateStore()
	holder, _ := w.process()
	killed := make(chan struct{})
	var first atomic.Bool
	p.Meddle(func(_ http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == newOrder && first.CompareAndSwap(false, true) {
			if err := holder.Process.Kill(); err != nil {
				t.Error(err)
			}
			close(killed)
		}
		return false
	})
	if err := holder.Start(); err != nil {
		t.Fatal(err)
	}
	<-killed
	_ = holder.Wait() // it was killed
	w.idle()
	w.late = pastLease
	w.issued()
}
