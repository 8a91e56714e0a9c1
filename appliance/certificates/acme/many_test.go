//go:build integration

package acme

import (
	"context"
	"encoding/json"
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

	"github.com/redoubt-registry/redoubt/appliance/storage/bucket"
	"github.com/redoubt-registry/redoubt/appliance/storage/sharedstate"
	"github.com/redoubt-registry/redoubt/test/pebble"
	"github.com/redoubt-registry/redoubt/test/stores"
)

// TestMain is also a renewer's own process, when a test starts it as one.
func TestMain(m *testing.M) {
	dir := os.Getenv("REDOUBT_TEST_DIR")
	if dir == "" {
		os.Exit(m.Run())
	}
	r := renewer(dir, "registry.example.com")
	r.Want.Directory, r.Want.Roots = os.Getenv("REDOUBT_TEST_DIRECTORY"), os.Getenv("REDOUBT_TEST_ROOTS")
	err := shareAs(r, os.Getenv("REDOUBT_TEST_BUCKET"))
	if err == nil {
		_, err = r.Tick(context.Background())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "redoubt:", err)
		os.Exit(1)
	}
}

// shareAs makes a renewer one of several machines, if there are parameters.
func shareAs(r *Renewer, parameters string) error {
	if parameters == "" {
		return nil
	}
	var params map[string]any
	if err := json.Unmarshal([]byte(parameters), &params); err != nil {
		return err
	}
	b, err := bucket.OpenDefault(params)
	if err != nil {
		return err
	}
	r.Local, r.Store, r.Challenges = r.Store, sharedstate.InBucket(b), sharedstate.ChallengesIn(b)
	return nil
}

// share makes the world's machine one of several on a bucket of a service.
func (w *world) share(s *stores.Store, endpoint string) {
	w.t.Helper()
	w.join(map[string]any{"bucket": s.NewBucket(w.t), "region": s.Region, "regionendpoint": endpoint, "forcepathstyle": true,
		"accesskey": s.AccessKey, "secretkey": s.SecretKey, "rootdirectory": "some/root"})
}

// join makes the world's machine one more of those on a bucket.
func (w *world) join(parameters map[string]any) {
	w.t.Helper()
	w.parameters = parameters
	if err := shareAs(w.Renewer, w.text()); err != nil {
		w.t.Fatal(err)
	}
}

// text is the parameters for a process; none is empty.
func (w *world) text() string {
	if w.parameters == nil {
		return ""
	}
	text, err := json.Marshal(w.parameters)
	if err != nil {
		w.t.Fatal(err)
	}
	return string(text)
}

var services = map[string]func(t *testing.T) *stores.Store{
	"minio":     func(t *testing.T) *stores.Store { return stores.MinIO(t) },
	"versitygw": func(t *testing.T) *stores.Store { return stores.Versity(t) },
}

// eachStore runs a test with a machine that is alone, and with one of several on a
// bucket of each service.
func eachStore(t *testing.T, test func(t *testing.T, w *world)) {
	t.Run("dir", func(t *testing.T) { test(t, newWorld(t, pebble.Options{}, "registry.example.com")) })
	eachService(t, func(t *testing.T, w *world, _ *stores.Store) { test(t, w) })
}

// eachService runs a test with a machine of several on a bucket of each service.
func eachService(t *testing.T, test func(t *testing.T, w *world, s *stores.Store)) {
	for name, start := range services {
		t.Run(name, func(t *testing.T) {
			s := start(t)
			w := newWorld(t, pebble.Options{}, "registry.example.com")
			w.share(s, s.Endpoint)
			test(t, w, s)
		})
	}
}

// process is a renewer of the world's store in a process of its own, on the
// machine whose directory is dir.
func (w *world) process(dir string) (*exec.Cmd, *strings.Builder) {
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), "REDOUBT_TEST_DIR="+dir, "REDOUBT_TEST_BUCKET="+w.text(),
		"REDOUBT_TEST_DIRECTORY="+w.Want.Directory, "REDOUBT_TEST_ROOTS="+w.Want.Roots)
	var out strings.Builder
	cmd.Stderr = &out
	return cmd, &out
}

// machines are directories of several machines, or eight times the same one.
func (w *world) machines() [8]string {
	var dirs [8]string
	for i := range dirs {
		if dirs[i] = w.dir; w.parameters != nil {
			dirs[i] = w.t.TempDir()
		}
	}
	return dirs
}

func TestEightRenewersOneOrder(t *testing.T) {
	t.Parallel()
	eachStore(t, func(t *testing.T, w *world) {
		p := w.front()
		machines := w.machines()
		for round := range 2 {
			var all sync.WaitGroup
			for _, dir := range machines {
				cmd, out := w.process(dir)
				all.Go(func() {
					if err := cmd.Run(); err != nil {
						t.Errorf("round %d: %v: %s", round, err, out.String())
					}
				})
			}
			all.Wait()
		}
		if orders, accounts := len(p.Requests(newOrder)), len(p.Requests("/sign-me-up")); orders != 1 || accounts != 1 {
			t.Errorf("%d orders of %d accounts", orders, accounts)
		}
		m := w.memory()
		if m.Number != 1 || !m.Fits(w.Want.Names) {
			t.Errorf("there are %d certificates", m.Number)
		}
		for i, dir := range machines {
			if have, _, err := Load(t.Context(), renewer(dir).Store); err != nil || have.Chain != m.Chain || have.Key != m.Key {
				t.Errorf("machine %d has another certificate: %v", i, err)
			}
		}
		w.idle()
	})
}

// pastLease is the clock when the lease of one who began now is over.
const pastLease = LeaseTime + time.Minute

// shifted is a store whose clock goes with the machine's.
type shifted struct {
	sharedstate.Store
	by *time.Duration
}

func (s shifted) Time(ctx context.Context) (time.Time, error) {
	now, err := s.Store.Time(ctx)
	return now.Add(*s.by), err
}

// lateStore gives the store the machine's clock too.
func (w *world) lateStore() { w.Store = shifted{w.Store, &w.late} }

func TestFrozenHolderIsFenced(t *testing.T) {
	t.Parallel()
	eachStore(t, func(t *testing.T, w *world) {
		p := w.front()
		w.lateStore()
		holder, out := w.process(t.TempDir())
		if w.parameters == nil {
			holder, out = w.process(w.dir)
		}
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
	})
}

func TestKilledHolderIsReplaced(t *testing.T) {
	t.Parallel()
	eachStore(t, func(t *testing.T, w *world) {
		p := w.front()
		w.lateStore()
		holder, _ := w.process(w.dir)
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
	})
}
