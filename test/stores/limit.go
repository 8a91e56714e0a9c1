package stores

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
)

// Limit puts a file system of so many bytes on a directory, until the owner ends.
// It wants root.
func Limit(t Owner, dir string, size int64) {
	t.Helper()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "mode=0755,size="+strconv.FormatInt(size, 10)); err != nil {
		t.Fatalf("cannot mount a file system of %d bytes on %s: %v", size, dir, err)
	}
	t.Cleanup(func() {
		// Detached: whoever still has a file open there does not keep the test.
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Fatalf("cannot unmount %s: %v", dir, err)
		}
	})
}

// Fill takes all the room that a file system has left, up to keep bytes, in a file
// of the directory whose path is answered: removing it gives the room back.
func Fill(t Owner, dir string, keep int64) (path string) {
	t.Helper()
	path = filepath.Join(dir, "filler")
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	chunk := make([]byte, 64<<10)
	for {
		var fs syscall.Statfs_t
		if err := syscall.Statfs(dir, &fs); err != nil {
			t.Fatal(err)
		}
		free := int64(fs.Bavail) * fs.Bsize
		if free <= keep {
			return path
		}
		if _, err := file.Write(chunk[:min(int64(len(chunk)), free-keep)]); errors.Is(err, syscall.ENOSPC) {
			return path
		} else if err != nil {
			t.Fatal(err)
		}
	}
}
