package faults

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/redoubt-registry/redoubt/test/stores"
)

// TestFileSystemFull: the directory's file system has no room in the middle of
// pushes, and then has again.
func TestFileSystemFull(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "registry")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	stores.Limit(t, dir, 4<<30)
	storage := fmt.Sprintf("  filesystem: {rootdirectory: %s}\n", dir)
	var filler string
	hold(t, storage, keys{}, func() { filler = stores.Fill(t, dir, 12<<20) }, 15*time.Second, func() {
		if err := os.Remove(filler); err != nil {
			t.Error(err)
		}
	})
}

// hold runs clients on a registry, begins the fault, waits, ends it, and holds
// what the registry promised: what it acknowledged is there, what failed succeeds
// again, and nobody waited too long.
func hold(t *testing.T, storage string, k keys, begin func(), wait time.Duration, end func()) {
	t.Helper()
	s := serve(t, storage, k)
	l := newLoad(s.url)
	done := make(chan struct{})
	go func() {
		defer close(done)
		l.run(t)
	}()
	l.warm(t)
	begin()
	time.Sleep(wait)
	end()
	l.heal()
	<-done
	l.report(t)
	if l.failures == 0 {
		t.Error("the fault was not felt: no request failed")
	}
	l.verify(t, s.url)
	l.verify(t, serve(t, storage, k).url)
}
