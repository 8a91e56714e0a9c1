//go:build integration

package sharedstate

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redoubt-registry/redoubt/appliance/storage/bucket"
	"github.com/redoubt-registry/redoubt/test/stores"
)

// TestMain is also a process that puts, when a test starts it as one.
func TestMain(m *testing.M) {
	dir, parameters := os.Getenv("REDOUBT_TEST_DIR"), os.Getenv("REDOUBT_TEST_BUCKET")
	var s Store
	switch {
	case dir != "":
		s = Dir{Path: dir, Mode: 0o600, GID: -1, Now: time.Now}
	case parameters != "":
		var params map[string]any
		if err := json.Unmarshal([]byte(parameters), &params); err != nil {
			panic(err)
		}
		b, err := bucket.OpenDefault(params)
		if err != nil {
			panic(err)
		}
		s = InBucket(b)
	default:
		os.Exit(m.Run())
	}
	for i := 0; ; i++ {
		data := []byte(strings.Repeat(strconv.Itoa(i%10), 20000))
		_, version, err := s.Get(context.Background(), "object")
		if err == nil || errors.Is(err, ErrNotFound) {
			_, err = s.Put(context.Background(), "object", data, version)
		}
		if err != nil && !errors.Is(err, ErrConflict) {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
}

var ctx = context.Background()

// newStore makes a store that is empty, and the environment of a process of
// TestMain that puts into it.
type newStore func(t *testing.T) (s Store, environment string)

// each runs a test of what every Store promises with each kind: the directory,
// and a bucket of each service.
func each(t *testing.T, test func(t *testing.T, fresh newStore)) {
	t.Run("dir", func(t *testing.T) {
		test(t, func(t *testing.T) (Store, string) {
			d := newDir(t)
			return d, "REDOUBT_TEST_DIR=" + d.Path
		})
	})
	for name, start := range services {
		t.Run(name, func(t *testing.T) {
			service := start(t)
			test(t, func(t *testing.T) (Store, string) {
				params := parameters(service, service.NewBucket(t))
				text, err := json.Marshal(params)
				if err != nil {
					t.Fatal(err)
				}
				return InBucket(open(t, params)), "REDOUBT_TEST_BUCKET=" + string(text)
			})
		})
	}
}

var services = map[string]func(t *testing.T) *stores.Store{
	"minio":     func(t *testing.T) *stores.Store { return stores.MinIO(t) },
	"versitygw": func(t *testing.T) *stores.Store { return stores.Versity(t) },
}

// parameters are those of distribution for a bucket of a service.
func parameters(s *stores.Store, name string) map[string]any {
	return map[string]any{"bucket": name, "region": s.Region, "regionendpoint": s.Endpoint, "forcepathstyle": true,
		"accesskey": s.AccessKey, "secretkey": s.SecretKey, "rootdirectory": "some/root"}
}

func open(t *testing.T, params map[string]any) *bucket.Bucket {
	t.Helper()
	b, err := bucket.OpenDefault(params)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestStore(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, fresh newStore) {
		s, _ := fresh(t)
		if _, _, err := s.Get(ctx, "a"); !errors.Is(err, ErrNotFound) {
			t.Fatalf("an object that is not there: %v", err)
		}
		if _, err := s.Put(ctx, "a", []byte("1"), `"0123456789abcdef0123456789abcdef"`); !errors.Is(err, ErrConflict) {
			t.Errorf("a put on a version where there is none: %v", err)
		}
		v1, err := s.Put(ctx, "a", []byte("1"), "")
		if err != nil {
			t.Fatal(err)
		}
		if again, err := s.Put(ctx, "a", []byte("1"), ""); err != nil || again != v1 {
			t.Errorf("the same put after its answer was lost: %q, %v", again, err)
		}
		if _, err := s.Put(ctx, "a", []byte("2"), ""); !errors.Is(err, ErrConflict) {
			t.Errorf("a second creation: %v", err)
		}
		v2, err := s.Put(ctx, "a", []byte("2"), v1)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := s.Put(ctx, "a", []byte("2"), v1); err != nil || again != v2 {
			t.Errorf("the same replacement after its answer was lost: %q, %v", again, err)
		}
		if _, err := s.Put(ctx, "a", []byte("3"), v1); !errors.Is(err, ErrConflict) {
			t.Errorf("a put on an old version: %v", err)
		}
		data, version, err := s.Get(ctx, "a")
		if err != nil || string(data) != "2" || version != v2 {
			t.Errorf("%q %q %v", data, version, err)
		}
		for range 2 {
			if err := s.Delete(ctx, "a"); err != nil {
				t.Error(err)
			}
		}
		if _, err := s.Put(ctx, "a", []byte("4"), v2); !errors.Is(err, ErrConflict) {
			t.Errorf("a put on a version that was removed: %v", err)
		}
		now, err := s.Time(ctx)
		if err != nil || time.Since(now).Abs() > time.Minute {
			t.Errorf("its clock says %v: %v", now, err)
		}
	})
}

func TestKeys(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, fresh newStore) {
		s, _ := fresh(t)
		for _, key := range []string{"", ".", "..", ".lock", ".new-1", "../a", "a/b", "a\x00", strings.Repeat("a", 300)} {
			if _, err := s.Put(ctx, key, nil, ""); err == nil {
				t.Errorf("put %q", key)
			}
			if _, _, err := s.Get(ctx, key); err == nil || errors.Is(err, ErrNotFound) {
				t.Errorf("get %q: %v", key, err)
			}
			if err := s.Delete(ctx, key); err == nil {
				t.Errorf("delete %q", key)
			}
		}
	})
}

// Of all who put on one version, one wins.
func TestRace(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, fresh newStore) {
		s, _ := fresh(t)
		version := ""
		for round := range 20 {
			var wins, conflicts int
			var next string
			var mu sync.Mutex
			var all sync.WaitGroup
			for i := range 32 {
				all.Go(func() {
					v, err := s.Put(ctx, "a", fmt.Appendf(nil, "%d %d", round, i), version)
					mu.Lock()
					defer mu.Unlock()
					switch {
					case err == nil:
						wins++
						next = v
					case errors.Is(err, ErrConflict):
						conflicts++
					default:
						t.Error(err)
					}
				})
			}
			all.Wait()
			if wins != 1 || conflicts != 31 {
				t.Fatalf("round %d: %d win, %d lose", round, wins, conflicts)
			}
			if version = next; round%5 == 4 { // a race to create
				version = ""
				if err := s.Delete(ctx, "a"); err != nil {
					t.Fatal(err)
				}
			}
		}
	})
}

// A process that is killed while it writes leaves a whole object and nothing in
// the way of the next.
func TestKilled(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, fresh newStore) {
		s, environment := fresh(t)
		written := 0
		for range 25 {
			cmd := exec.Command("/proc/self/exe")
			cmd.Env = append(os.Environ(), environment)
			var out strings.Builder
			cmd.Stderr = &out
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Duration(50+time.Now().UnixNano()%100) * time.Millisecond)
			if err := cmd.Process.Kill(); err != nil {
				t.Fatalf("%v: %s", err, out.String())
			}
			_ = cmd.Wait() // it was killed
			if out.Len() > 0 {
				t.Fatal(out.String())
			}
			data, version, err := s.Get(ctx, "object")
			if errors.Is(err, ErrNotFound) {
				continue
			}
			if err != nil || len(data) > 1 && len(data) != 20000 || bytes.Count(data, data[:1]) != len(data) {
				t.Fatalf("a torn object of %d bytes: %v", len(data), err)
			}
			if len(data) > 1 {
				written++
			}
			if _, err := s.Put(ctx, "object", []byte("x"), version); err != nil && !errors.Is(err, ErrConflict) {
				t.Fatal(err)
			}
		}
		if written == 0 {
			t.Error("no process wrote anything: this shows nothing")
		}
	})
}

func TestSweepAge(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, fresh newStore) {
		s, _ := fresh(t)
		for _, key := range []string{"a", "b"} {
			if _, err := s.Put(ctx, key, []byte("x"), ""); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.Sweep(ctx, time.Hour); err != nil {
			t.Fatal(err)
		}
		if _, _, err := s.Get(ctx, "a"); err != nil {
			t.Errorf("after a minute at most: %v", err)
		}
		if err := s.Sweep(ctx, 0); err != nil {
			t.Fatal(err)
		}
		for _, key := range []string{"a", "b"} {
			if _, _, err := s.Get(ctx, key); !errors.Is(err, ErrNotFound) {
				t.Errorf("%s, which is old: %v", key, err)
			}
		}
	})
}

// shifted is a store whose clock can be put forward and back.
type shifted struct {
	Store
	by *time.Duration
}

func (s shifted) Time(ctx context.Context) (time.Time, error) {
	now, err := s.Store.Time(ctx)
	return now.Add(*s.by), err
}

func TestLease(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, fresh newStore) {
		plain, _ := fresh(t)
		var by time.Duration
		s := shifted{plain, &by}
		take := func(owner string) (*Lease, error) { return Take(ctx, s, "lease", owner, 10*time.Minute) }
		a, err := take("a")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := take("b"); err == nil || !strings.Contains(err.Error(), "a is at work") {
			t.Errorf("a lease that is held: %v", err)
		}
		if err := a.Check(ctx); err != nil {
			t.Error(err)
		}
		by += 11 * time.Minute
		if err := a.Check(ctx); err == nil {
			t.Error("a lease that is over is still good")
		}
		b, err := take("b")
		if err != nil || b.Epoch() != a.Epoch()+1 {
			t.Fatalf("a lease that is over: %v", err)
		}
		if err := a.Release(ctx); err != nil {
			t.Error(err)
		}
		if err := b.Check(ctx); err != nil {
			t.Errorf("another has released it: %v", err)
		}
		if err := b.Release(ctx); err != nil {
			t.Error(err)
		}
		if _, err := take("c"); err != nil {
			t.Errorf("a lease that was released: %v", err)
		}
		by -= 33 * 24 * time.Hour
		if _, err := take("d"); err != nil {
			t.Errorf("a lease from the future: %v", err)
		}
		_, version, err := s.Get(ctx, "lease")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Put(ctx, "lease", bytes.Repeat([]byte{0}, 100), version); err != nil {
			t.Fatal(err)
		}
		if _, err := take("e"); err != nil {
			t.Errorf("a damaged lease: %v", err)
		}
	})
}

// Machines that are alike, to the name and the number of their processes, do not
// take each other's lease for their own.
func TestLeaseOfTwins(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, fresh newStore) {
		s, _ := fresh(t)
		for round := range 5 {
			key := fmt.Sprintf("lease-%d", round)
			var mu sync.Mutex
			var all sync.WaitGroup
			taken := 0
			for range 8 {
				all.Go(func() {
					_, err := Take(ctx, s, key, "twin, process 7", time.Minute)
					mu.Lock()
					defer mu.Unlock()
					if err == nil {
						taken++
					} else if _, held := errors.AsType[*Held](err); !held {
						t.Error(err)
					}
				})
			}
			all.Wait()
			if taken != 1 {
				t.Fatalf("%d have the lease", taken)
			}
		}
	})
}
