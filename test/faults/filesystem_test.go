//go:build faults

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
	begin := func(*server) { filler = stores.Fill(t, dir, 2<<20) }
	trial{storage: storage, begin: begin, wait: 15 * time.Second, end: func(*server) {
		if err := os.Remove(filler); err != nil {
			t.Error(err)
		}
	}}.run(t)
}
