package imagecopy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/distribution/distribution/v3/registry/storage/driver"
	"golang.org/x/sys/unix"

	"github.com/redoubt-registry/redoubt/appliance/files"
)

// Directory is a target in a file system. Everything below it belongs to the
// owner of its root, with the root's permissions. Only one Directory of a root can be
// open at a time, also of other processes.
type Directory struct {
	driver.StorageDriver
	root     string
	open     *os.File // the root, for Sync
	unlock   func()   // lets others copy to the root
	uid, gid int
	dirs     fs.FileMode // the mode of directories
	files    fs.FileMode
}

// scratch is below the root, so that a file can be renamed to its final path.
const scratch = "redoubt/copy"

// OpenDirectory makes root a target, which d reads.
func OpenDirectory(d driver.StorageDriver, root string) (*Directory, error) {
	t := &Directory{StorageDriver: d, root: root}
	if err := t.prepare(); err != nil {
		return nil, fmt.Errorf("cannot copy to %s: %w", root, err)
	}
	return t, nil
}

func (t *Directory) prepare() (err error) {
	if t.open, err = os.Open(t.root); err != nil {
		return files.Cause(err)
	}
	defer func() {
		if err != nil {
			t.open.Close()
		}
	}()
	info, err := t.open.Stat()
	if err != nil {
		return files.Cause(err)
	}
	if !info.IsDir() {
		return errors.New("it is no directory")
	}
	stat := info.Sys().(*syscall.Stat_t)
	t.uid, t.gid = int(stat.Uid), int(stat.Gid)
	t.dirs = info.Mode().Perm() | 0o700
	t.files = t.dirs &^ 0o111
	t.unlock, err = files.TryLock(t.root)
	if errors.Is(err, files.ErrLocked) {
		return errors.New("another copy writes there; wait for it and try again")
	}
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			t.unlock()
		}
	}()
	if err := os.RemoveAll(filepath.Join(t.root, scratch)); err != nil { // left by a copy that was killed
		return err
	}
	return t.makeScratch()
}

// makeScratch makes the scratch directory. The registry may use the one above it too.
func (t *Directory) makeScratch() error {
	full := filepath.Join(t.root, scratch)
	above := filepath.Dir(full)
	err := os.Mkdir(above, t.dirs)
	if err == nil {
		err = errors.Join(os.Chmod(above, t.dirs), os.Chown(above, t.uid, t.gid))
	}
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return os.Mkdir(full, 0o700)
}

// Close removes the scratch directory and releases the target.
func (t *Directory) Close() error {
	err := os.RemoveAll(filepath.Join(t.root, scratch))
	os.Remove(filepath.Dir(filepath.Join(t.root, scratch))) // unless others use it
	t.unlock()
	return errors.Join(err, t.open.Close())
}

// Place implements Target.
func (t *Directory) Place(ctx context.Context, path string, size int64, r io.Reader) error {
	f, err := os.CreateTemp(filepath.Join(t.root, scratch), "")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // fails after the rename, as it should
	defer f.Close()
	if _, err := io.CopyBuffer(struct{ io.Writer }{f}, r, make([]byte, min(buffer, size+1))); err != nil {
		return err
	}
	if err := errors.Join(t.own(f), f.Sync(), f.Close()); err != nil {
		return err
	}
	name := filepath.Clean("/" + path)[1:]
	if err := t.directory(filepath.Dir(name)); err != nil {
		return err
	}
	return os.Rename(f.Name(), filepath.Join(t.root, name))
}

func (t *Directory) own(f *os.File) error {
	if err := f.Chmod(t.files); err != nil {
		return err
	}
	return f.Chown(t.uid, t.gid)
}

// directory makes a directory below the root, and those above it. Each gets its owner
// before it is renamed to its path, so that a kill never leaves one that the registry
// cannot write to.
func (t *Directory) directory(name string) error {
	full := filepath.Join(t.root, name)
	if info, err := os.Stat(full); err == nil {
		if !info.IsDir() {
			return fmt.Errorf("%s is no directory", full)
		}
		return nil
	}
	if err := t.directory(filepath.Dir(name)); err != nil {
		return err
	}
	made, err := os.MkdirTemp(filepath.Join(t.root, scratch), "")
	if err != nil {
		return err
	}
	defer os.Remove(made)
	if err := errors.Join(os.Chmod(made, t.dirs), os.Chown(made, t.uid, t.gid)); err != nil {
		return err
	}
	// Not rename(2) alone: it would put this one in the place of an empty one, into which
	// another worker is about to put something.
	err = unix.Renameat2(unix.AT_FDCWD, made, unix.AT_FDCWD, full, unix.RENAME_NOREPLACE)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) { // as on NFS
		err = os.Rename(made, full)
	}
	if errors.Is(err, fs.ErrExist) || errors.Is(err, syscall.ENOTEMPTY) {
		return nil // another worker made it
	}
	if err != nil {
		return fmt.Errorf("cannot make the directory %s: %w", full, err)
	}
	return nil
}

// Remove implements Target.
func (t *Directory) Remove(ctx context.Context, path string) error {
	err := os.Remove(filepath.Join(t.root, filepath.Clean("/"+path)))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// Sync implements Target.
func (t *Directory) Sync() error {
	if err := unix.Syncfs(int(t.open.Fd())); err != nil {
		return fmt.Errorf("cannot write %s to the disk: %w", t.root, err)
	}
	return nil
}
