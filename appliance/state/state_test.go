package state

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// TestMain is also a process that puts, when a test starts it as one.
func TestMain(m *testing.M) {
	dir := os.Getenv("REDOUBT_TEST_DIR")
	if dir == "" {
		os.Exit(m.Run())
	}
	d := Dir{Path: dir, Mode: 0o600, GID: -1, Now: time.Now}
	for i := 0; ; i++ {
		data := []byte(strings.Repeat(strconv.Itoa(i%10), 20000))
		_, version, err := d.Get(context.Background(), "object")
		if err == nil || errors.Is(err, ErrNotFound) {
			_, err = d.Put(context.Background(), "object", data, version)
		}
		if err != nil && !errors.Is(err, ErrConflict) {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
}

var ctx = context.Background()

func newDir(t *testing.T) Dir {
	return Dir{Path: filepath.Join(t.TempDir(), "store"), Mode: 0o640, GID: os.Getegid(), Now: time.Now}
}

func TestDir(t *testing.T) {
	d := newDir(t)
	if _, _, err := d.Get(ctx, "a"); !errors.Is(err, ErrNotFound) {
		t.Fatalf("an object that is not there: %v", err)
	}
	if _, err := d.Put(ctx, "a", []byte("1"), "some"); !errors.Is(err, ErrConflict) {
		t.Errorf("a put on a version where there is none: %v", err)
	}
	v1, err := d.Put(ctx, "a", []byte("1"), "")
	if err != nil {
		t.Fatal(err)
	}
	if again, err := d.Put(ctx, "a", []byte("1"), ""); err != nil || again != v1 {
		t.Errorf("the same put after its answer was lost: %q, %v", again, err)
	}
	if _, err := d.Put(ctx, "a", []byte("2"), ""); !errors.Is(err, ErrConflict) {
		t.Errorf("a second creation: %v", err)
	}
	v2, err := d.Put(ctx, "a", []byte("2"), v1)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Put(ctx, "a", []byte("3"), v1); !errors.Is(err, ErrConflict) {
		t.Errorf("a put on an old version: %v", err)
	}
	data, version, err := d.Get(ctx, "a")
	if err != nil || string(data) != "2" || version != v2 {
		t.Errorf("%q %q %v", data, version, err)
	}
	info, err := os.Stat(d.Where("a"))
	if err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("the file: %v %v", info.Mode(), err)
	}
	if info, err = os.Stat(d.Path); err != nil || info.Mode().Perm() != 0o750 {
		t.Errorf("the directory: %v %v", info.Mode(), err)
	}
	for range 2 {
		if err := d.Delete(ctx, "a"); err != nil {
			t.Error(err)
		}
	}
}

func TestKeys(t *testing.T) {
	d := newDir(t)
	for _, key := range []string{"", ".", "..", ".lock", ".new-1", "../a", "a/b", "a\x00", strings.Repeat("a", 300)} {
		if _, err := d.Put(ctx, key, nil, ""); err == nil {
			t.Errorf("put %q", key)
		}
		if _, _, err := d.Get(ctx, key); err == nil || errors.Is(err, ErrNotFound) {
			t.Errorf("get %q: %v", key, err)
		}
		if err := d.Delete(ctx, key); err == nil {
			t.Errorf("delete %q", key)
		}
	}
}

func TestWhatIsNoFile(t *testing.T) {
	d := newDir(t)
	if err := os.MkdirAll(d.Where("directory"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(d.Where("fifo"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(d.Where("large"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(d.Where("large"), 100<<20); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"directory", "fifo", "large"} {
		if _, _, err := d.Get(ctx, key); err == nil || errors.Is(err, ErrNotFound) {
			t.Errorf("get %s: %v", key, err)
		}
		if _, err := d.Put(ctx, key, []byte("x"), ""); err == nil {
			t.Errorf("put %s", key)
		}
	}
}

// Of all who put on one version, one wins.
func TestRace(t *testing.T) {
	d := newDir(t)
	version := ""
	for round := range 20 {
		var wins, conflicts int
		var next string
		var mu sync.Mutex
		var all sync.WaitGroup
		for i := range 32 {
			all.Go(func() {
				v, err := d.Put(ctx, "a", fmt.Appendf(nil, "%d %d", round, i), version)
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
		version = next
	}
}

// A process that is killed while it writes leaves a whole object and nothing in
// the way of the next.
func TestKilled(t *testing.T) {
	d := newDir(t)
	for range 25 {
		cmd := exec.Command("/proc/self/exe")
		cmd.Env = append(os.Environ(), "REDOUBT_TEST_DIR="+d.Path)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(30+time.Now().UnixNano()%70) * time.Millisecond)
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait() // it was killed
		data, version, err := d.Get(ctx, "object")
		if errors.Is(err, ErrNotFound) {
			continue
		}
		if err != nil || len(data) != 20000 || bytes.Count(data, data[:1]) != len(data) {
			t.Fatalf("a torn object of %d bytes: %v", len(data), err)
		}
		if _, err := d.Put(ctx, "object", []byte("x"), version); err != nil {
			t.Fatal(err)
		}
		if left, _ := filepath.Glob(filepath.Join(d.Path, tempPrefix+"*")); len(left) > 0 {
			t.Fatalf("%q are left", left)
		}
	}
}

func TestSweep(t *testing.T) {
	d := newDir(t)
	for _, key := range []string{"old", "new"} {
		if _, err := d.Put(ctx, key, []byte("x"), ""); err != nil {
			t.Fatal(err)
		}
	}
	past := time.Now().Add(-48 * time.Hour)
	if err := os.Chtimes(d.Where("old"), past, past); err != nil {
		t.Fatal(err)
	}
	if err := d.Sweep(24 * time.Hour); err != nil {
		t.Fatal(err)
	}
	if _, _, err := d.Get(ctx, "old"); !errors.Is(err, ErrNotFound) {
		t.Errorf("the old one: %v", err)
	}
	if _, _, err := d.Get(ctx, "new"); err != nil {
		t.Errorf("the new one: %v", err)
	}
}

func TestLease(t *testing.T) {
	d := newDir(t)
	clock := time.Now()
	d.Now = func() time.Time { return clock }
	take := func(owner string) (*Lease, error) { return Take(ctx, d, "lease", owner, time.Minute) }
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
	clock = clock.Add(time.Minute)
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
	clock = clock.Add(-33 * 24 * time.Hour)
	if _, err := take("d"); err != nil {
		t.Errorf("a lease from the future: %v", err)
	}
	if err := os.WriteFile(d.Where("lease"), make([]byte, 100), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := take("e"); err != nil {
		t.Errorf("a damaged lease: %v", err)
	}
}
