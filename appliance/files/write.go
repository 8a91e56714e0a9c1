// Package files writes, locks and compares the files that the machine keeps: one
// way to replace a file in one step, one lock between processes, one way to see
// that a file has changed.
package files

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// Temporary starts the name of every temporary file of this package, so that those
// that a killed process left behind are known by it; see Sweep.
const Temporary = ".redoubt-new-"

// Write replaces the file path in one step: the data goes to a temporary file beside
// it, which gets its group and mode, is synced and renamed; then the directory is
// synced. After a crash or a power cut path is the old file or the new one, and once
// Write has returned without an error it is the new one. A gid of -1 leaves the group
// alone. Errors name path.
func Write(path string, data []byte, mode fs.FileMode, gid int) error {
	if err := write(path, data, mode, gid); err != nil {
		return fmt.Errorf("cannot write %s: %w", path, Cause(err))
	}
	return nil
}

func write(path string, data []byte, mode fs.FileMode, gid int) (err error) {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, Temporary)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name()) // the first error says more
		}
	}()
	if err := errors.Join(fill(f, data, mode, gid), f.Close()); err != nil {
		return err
	}
	return Rename(f.Name(), path)
}

// fill writes a whole file. It is private until it has its group: the mode comes after.
func fill(f *os.File, data []byte, mode fs.FileMode, gid int) error {
	if gid >= 0 {
		if err := f.Chown(-1, gid); err != nil {
			return err
		}
	}
	if err := f.Chmod(mode); err != nil {
		return err
	}
	if _, err := f.Write(data); err != nil {
		return err
	}
	return f.Sync()
}

// Link makes path a symbolic link to target in one step, as Write does a file.
func Link(target, path string) error {
	temp := filepath.Join(filepath.Dir(path), Temporary+filepath.Base(path))
	if err := os.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("cannot write %s: %w", path, Cause(err))
	}
	err := os.Symlink(target, temp)
	if err == nil {
		err = Rename(temp, path)
	}
	if err != nil {
		return fmt.Errorf("cannot write %s: %w", path, Cause(err))
	}
	return nil
}

// Rename moves a file within its file system and syncs the directory that it is then
// in. Errors are those of package os.
func Rename(from, to string) error {
	if err := os.Rename(from, to); err != nil {
		return err
	}
	return SyncDir(filepath.Dir(to))
}

// SyncDir makes what was created, renamed and removed in a directory last over a power
// cut (fsync(2)). A file system that cannot do it for directories is no error.
func SyncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("cannot sync %s: %w", dir, Cause(err))
	}
	defer f.Close()
	if err := f.Sync(); err != nil && !errors.Is(err, syscall.EINVAL) && !errors.Is(err, syscall.ENOTSUP) {
		return fmt.Errorf("cannot sync %s: %w", dir, Cause(err))
	}
	return nil
}

// Sweep removes the temporary files in dir that are older than age. What cannot be
// removed stays: the next sweep tries again.
func Sweep(dir string, age time.Duration) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), Temporary) {
			continue
		}
		if info, err := e.Info(); err == nil && time.Since(info.ModTime()) >= age {
			_ = os.Remove(filepath.Join(dir, e.Name()))
		}
	}
}

// Cause drops the operation and the path that package os puts before an error, for
// messages that name the path already or must not.
func Cause(err error) error {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return e.Err
	}
	if e, ok := errors.AsType[*os.LinkError](err); ok {
		return e.Err
	}
	return err
}
