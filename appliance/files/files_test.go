package files

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// A reader beside a writer sees one version or the other, whole.
func TestWriteIsOneStep(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	versions := [][]byte{bytes.Repeat([]byte("a"), 1<<16), bytes.Repeat([]byte("b"), 1<<15)}
	if err := Write(path, versions[0], 0o640, -1); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	var all sync.WaitGroup
	all.Go(func() {
		defer close(done)
		for i := range 50 {
			if err := Write(path, versions[i%2], 0o640, -1); err != nil {
				t.Error(err)
			}
		}
	})
	all.Go(func() {
		for {
			data, err := os.ReadFile(path)
			if err != nil || !bytes.Equal(data, versions[0]) && !bytes.Equal(data, versions[1]) {
				t.Errorf("read %d bytes, %v", len(data), err)
			}
			select {
			case <-done:
				return
			default:
			}
		}
	})
	all.Wait()
	info, err := os.Stat(path)
	if err != nil || info.Mode() != 0o640 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(path), Temporary+"*")); len(left) > 0 {
		t.Errorf("%v are left", left)
	}
}

func TestWriteThatFails(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "taken")
	if err := os.MkdirAll(filepath.Join(path, "below"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := Write(path, []byte("x"), 0o600, -1); err == nil {
		t.Error("a directory was replaced")
	}
	if left, _ := filepath.Glob(filepath.Join(dir, Temporary+"*")); len(left) > 0 {
		t.Errorf("%v are left", left)
	}
	err := Write(filepath.Join(dir, "missing", "file"), nil, 0o600, -1)
	if !errors.Is(err, fs.ErrNotExist) || err.Error() != "cannot write "+filepath.Join(dir, "missing", "file")+": no such file or directory" {
		t.Error(err)
	}
}

func TestLinkReplacesALink(t *testing.T) {
	path := filepath.Join(t.TempDir(), "current")
	for _, target := range []string{"1", "2"} {
		if err := Link(target, path); err != nil {
			t.Fatal(err)
		}
		if got, err := os.Readlink(path); got != target {
			t.Errorf("%q, %v", got, err)
		}
	}
}

func TestSweepTakesOnlyWhatIsOldAndOurs(t *testing.T) {
	dir := t.TempDir()
	old := time.Now().Add(-time.Hour)
	for name, at := range map[string]time.Time{Temporary + "old": old, Temporary + "new": time.Now(), "other": old} {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.WriteFile(path, nil, 0o600), os.Chtimes(path, at, at)); err != nil {
			t.Fatal(err)
		}
	}
	Sweep(dir, time.Minute)
	left, _ := os.ReadDir(dir)
	if len(left) != 2 || left[0].Name() != Temporary+"new" || left[1].Name() != "other" {
		t.Errorf("%v are left", left)
	}
}

func TestLock(t *testing.T) {
	dir := t.TempDir()
	for _, path := range []string{filepath.Join(dir, "lock"), dir} {
		unlock, err := TryLock(path)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 3*lockPause)
		if _, err := Lock(ctx, path); !errors.Is(err, ErrLocked) {
			t.Errorf("%s was locked twice: %v", path, err)
		}
		cancel()
		time.AfterFunc(3*lockPause, unlock)
		again, err := Lock(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		again()
	}
	link := filepath.Join(dir, "link")
	if err := os.Symlink("elsewhere", link); err != nil {
		t.Fatal(err)
	}
	if _, err := TryLock(link); err == nil || errors.Is(err, ErrLocked) {
		t.Errorf("a symbolic link was followed: %v", err)
	}
}

func TestStampTellsVersionsApart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	stampOf := func() Stamp {
		s, err := StampOf(path)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	if err := Write(path, []byte("one"), 0o600, -1); err != nil {
		t.Fatal(err)
	}
	before := stampOf()
	if before != stampOf() {
		t.Error("nothing has changed, the stamp has")
	}
	if err := Write(path, []byte("two"), 0o600, -1); err != nil {
		t.Fatal(err)
	}
	if before == stampOf() {
		t.Error("the file has changed, the stamp has not")
	}
	if _, err := StampOf(path + ".missing"); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}
