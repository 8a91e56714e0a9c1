//go:build integration

package imagecopy_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/distribution/distribution/v3/registry/storage/driver"

	"github.com/redoubt-registry/redoubt/appliance/storage/imagecopy"
	"github.com/redoubt-registry/redoubt/appliance/storage/layout"
	"github.com/redoubt-registry/redoubt/appliance/storage/progress"
	"github.com/redoubt-registry/redoubt/appliance/storage/scrub"
	"github.com/redoubt-registry/redoubt/test/seed"
	"github.com/redoubt-registry/redoubt/test/stores"
)

// scrubbed is what is wrong with the tags in a directory.
func scrubbed(t *testing.T, root string) []scrub.Fault {
	t.Helper()
	var faults []scrub.Fault
	s := &scrub.Scrub{Storage: open(root), Parallel: 4, Meter: &progress.Meter{}, Fault: func(f scrub.Fault) { faults = append(faults, f) }}
	_, err := s.Run(context.Background())
	check(t, err)
	return faults
}

// A registry that is pushed to all the while: each copy is whole, and the one
// after the last push is the same.
func TestWhileServing(t *testing.T) {
	from, to := filled(t), t.TempDir()
	registry := seed.Serve(t, seed.Directory(from))
	done := make(chan struct{})
	var pushes sync.WaitGroup
	for i := range 2 {
		pushes.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-done:
					return
				default:
					registry.Push(t, fmt.Sprintf("busy/%d:%d", i, n%5), seed.Image(t, 2_000, 2))
				}
			}
		})
	}
	for range 8 {
		copied(t, from, to)
		if faults := scrubbed(t, to); len(faults) > 0 {
			t.Errorf("faults at the target: %v", faults)
		}
	}
	close(done)
	pushes.Wait()
	copied(t, from, to)
	same(t, from, to)
}

// late is a source that changes when it has listed its blobs: what is pushed then
// is copied by its links.
type late struct {
	driver.StorageDriver
	once sync.Once
	push func()
}

func (l *late) List(ctx context.Context, path string) ([]string, error) {
	if path == layout.Repositories {
		l.once.Do(l.push)
	}
	return l.StorageDriver.List(ctx, path)
}

func TestAPushAfterTheBlobs(t *testing.T) {
	from, to := filled(t), t.TempDir()
	registry := seed.Serve(t, seed.Directory(from))
	source := &late{StorageDriver: open(from), push: func() { registry.Push(t, "late:1", seed.Image(t, 2_000, 2)) }}
	_, faults, err := run(t, &imagecopy.Copy{From: source, To: directory(t, to)})
	if err != nil || len(faults) > 0 {
		t.Fatalf("%v %q", err, faults)
	}
	same(t, from, to)
	check(t, seed.Serve(t, seed.Directory(to)).Pull(t, "late:1"))
}

// A full disk ends the copy at once, and with more room it resumes.
func TestFullTarget(t *testing.T) {
	from, to := filled(t), t.TempDir()
	stores.Limit(t, to, 8<<20)
	target := directory(t, to)
	_, _, err := run(t, &imagecopy.Copy{From: open(from), To: target})
	if err == nil || !strings.Contains(err.Error(), "no space left on device") {
		t.Fatal(err)
	}
	check(t, target.Close())
	for path := range tree(t, to) {
		if strings.HasSuffix(path, "/link") {
			t.Errorf("%s was written before all blobs were", path)
		}
	}
	check(t, syscall.Mount("tmpfs", to, "tmpfs", syscall.MS_REMOUNT, "size=64m"))
	copied(t, from, to)
	same(t, from, to)
}

// A store that dies ends the copy, which resumes once the store is back.
func TestStoreDies(t *testing.T) {
	from := filled(t)
	store := stores.MinIO(t)
	params := parameters(t, store)
	target := &dying{StorageDriver: openBucket(t, params), after: 10, kill: store.Kill}
	began := time.Now()
	s, faults, err := run(t, &imagecopy.Copy{From: open(from), To: imagecopy.Objects{StorageDriver: target}, Parallel: 8})
	if err == nil || s.Links > 0 {
		t.Fatalf("%v %q %+v", err, faults, s)
	}
	t.Logf("after %v: %v", time.Since(began), err)
	store.Start()
	_, faults, err = run(t, &imagecopy.Copy{From: open(from), To: imagecopy.Objects{StorageDriver: openBucket(t, params)}, Verify: true})
	if err != nil || len(faults) > 0 {
		t.Fatalf("%v %q", err, faults)
	}
	to := t.TempDir()
	_, faults, err = run(t, &imagecopy.Copy{From: openBucket(t, params), To: directory(t, to)})
	if err != nil || len(faults) > 0 {
		t.Fatalf("%v %q", err, faults)
	}
	same(t, from, to)
}

// dying is a target whose store is killed after some objects.
type dying struct {
	driver.StorageDriver
	after int64
	kill  func()
	once  sync.Once
	n     atomic.Int64
}

func (d *dying) PutContent(ctx context.Context, path string, content []byte) error {
	if d.n.Add(1) > d.after {
		d.once.Do(d.kill)
	}
	return d.StorageDriver.PutContent(ctx, path, content)
}

// A source that fails now and then is asked again; one that always fails ends it.
func TestSourceFails(t *testing.T) {
	from, to := filled(t), t.TempDir()
	source := &failing{StorageDriver: open(from), share: 4}
	_, faults, err := run(t, &imagecopy.Copy{From: source, To: directory(t, to), Parallel: 2})
	if err != nil || len(faults) > 0 || source.n.Load() < 10 {
		t.Fatalf("%v %q", err, faults)
	}
	same(t, from, to)
	_, faults, err = run(t, &imagecopy.Copy{From: &failing{StorageDriver: open(from), share: 1}, To: directory(t, t.TempDir()), Parallel: 16})
	if err == nil || !strings.Contains(err.Error(), "gave up after 10 failures in a row: source: it broke") {
		t.Fatalf("%v %q", err, faults)
	}
}

// failing fails one reading of so many.
type failing struct {
	driver.StorageDriver
	share int64
	n     atomic.Int64
}

func (f *failing) Reader(ctx context.Context, path string, offset int64) (r io.ReadCloser, err error) {
	r, err = f.StorageDriver.Reader(ctx, path, offset)
	if err == nil && strings.HasPrefix(path, layout.Blobs) && f.n.Add(1)%f.share == 0 {
		return &cut{r}, nil
	}
	return r, err
}

// cut gives a few bytes and breaks.
type cut struct{ io.ReadCloser }

func (c *cut) Read(p []byte) (int, error) {
	n, err := c.ReadCloser.Read(p[:1])
	if err != nil {
		return n, err
	}
	return n, errors.New("it broke")
}

// What lies in the scratch directory of a killed copy is gone after the next.
func TestScratchIsSwept(t *testing.T) {
	from, to := filled(t), t.TempDir()
	left := filepath.Join(to, "redoubt/copy/123")
	check(t, os.MkdirAll(filepath.Dir(left), 0o700))
	check(t, os.WriteFile(left, []byte("half a blob"), 0o600))
	copied(t, from, to)
	same(t, from, to)
	if _, err := os.Stat(filepath.Join(to, "redoubt")); err == nil {
		t.Error("the scratch directory is still there")
	}
}
