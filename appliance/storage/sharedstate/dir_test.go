//go:build integration

package sharedstate

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/redoubt-registry/redoubt/appliance/files"
)

func newDir(t *testing.T) Dir {
	return Dir{Path: filepath.Join(t.TempDir(), "store"), Mode: 0o640, GID: os.Getegid(), Now: time.Now}
}

func TestModes(t *testing.T) {
	t.Parallel()
	d := newDir(t)
	if _, err := d.Put(ctx, "a", []byte("1"), ""); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(d.Where("a"))
	if err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("the file: %v %v", info.Mode(), err)
	}
	if info, err = os.Stat(d.Path); err != nil || info.Mode().Perm() != 0o750 {
		t.Errorf("the directory: %v %v", info.Mode(), err)
	}
}

// What a process that was killed left is removed by the next that writes.
func TestTidy(t *testing.T) {
	t.Parallel()
	d := newDir(t)
	if _, err := d.Put(ctx, "a", []byte("1"), ""); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(d.Where(files.Temporary+"1"), []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Put(ctx, "b", []byte("1"), ""); err != nil {
		t.Fatal(err)
	}
	if left, _ := filepath.Glob(filepath.Join(d.Path, files.Temporary+"*")); len(left) > 0 {
		t.Errorf("%q are left", left)
	}
}

func TestWhatIsNoFile(t *testing.T) {
	t.Parallel()
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

func TestSweep(t *testing.T) {
	t.Parallel()
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
	if err := d.Sweep(ctx, 24*time.Hour); err != nil {
		t.Fatal(err)
	}
	if _, _, err := d.Get(ctx, "old"); !errors.Is(err, ErrNotFound) {
		t.Errorf("the old one: %v", err)
	}
	if _, _, err := d.Get(ctx, "new"); err != nil {
		t.Errorf("the new one: %v", err)
	}
}
