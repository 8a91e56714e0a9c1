package sharedstate

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"syscall"
	"time"

	"github.com/redoubt-registry/redoubt/appliance/files"
)

// Dir is a Store of one machine: each object is a file of a directory. A
// version is a digest of the content.
type Dir struct {
	Path string
	Mode fs.FileMode      // of the files; the directory gets the bits to enter it too
	GID  int              // the group of both; -1 leaves it alone
	Now  func() time.Time // the machine's clock
}

var _ Store = Dir{}

const (
	lockFile = ".lock"
	// lockPatience is how long to wait for a process that was stopped while it
	// held the lock. A write holds it.
	lockPatience = 10 * time.Second
	// maxObject is more than any object needs.
	maxObject = 4 << 20
)

var safeKey = regexp.MustCompile(`^[A-Za-z0-9_-][A-Za-z0-9._-]{0,199}$`)

// Beside is where what changes the images in a directory keeps what it knows.
func Beside(root string) Dir {
	return Dir{Path: filepath.Join(root, "redoubt/lease"), Mode: 0o640, GID: -1, Now: time.Now}
}

// Where is the path of an object, for messages.
func (d Dir) Where(key string) string { return filepath.Join(d.Path, key) }

// Time is the machine's clock.
func (d Dir) Time(context.Context) (time.Time, error) { return d.Now(), nil }

// Get reads a file. Anything but a regular file is an error; it does not block on a
// FIFO.
func (d Dir) Get(_ context.Context, key string) ([]byte, string, error) {
	if !safeKey.MatchString(key) {
		return nil, "", fmt.Errorf("cannot read %q: not a name of an object", key)
	}
	f, err := os.OpenFile(d.Where(key), os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, "", ErrNotFound
	}
	if err != nil {
		return nil, "", fmt.Errorf("cannot read: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, "", fmt.Errorf("cannot read: %w", err)
	}
	if !info.Mode().IsRegular() || info.Size() > maxObject {
		return nil, "", &Damaged{d.Where(key), "it is no regular file of a sane size"}
	}
	data, err := io.ReadAll(io.LimitReader(f, maxObject))
	if err != nil {
		return nil, "", fmt.Errorf("cannot read %s: %w", d.Where(key), err)
	}
	return data, digest(data), nil
}

func digest(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// Put replaces a file: it writes a temporary file, syncs it, renames it, and syncs the
// directory.
func (d Dir) Put(ctx context.Context, key string, data []byte, ifVersion string) (string, error) {
	if err := d.ready(); err != nil {
		return "", err
	}
	unlock, err := d.lock(ctx)
	if err != nil {
		return "", err
	}
	defer unlock()
	have, version, err := d.Get(ctx, key)
	switch {
	case errors.Is(err, ErrNotFound):
	case err != nil:
		return "", err
	case string(have) == string(data):
		return version, files.SyncDir(d.Path) // our own, of a Put that was interrupted
	}
	if version != ifVersion {
		return "", ErrConflict
	}
	files.Sweep(d.Path, 0) // the lock is held, so nobody else is writing
	if err := files.Write(d.Where(key), data, d.Mode, d.GID); err != nil {
		return "", err
	}
	return digest(data), nil
}

// Delete removes a file.
func (d Dir) Delete(_ context.Context, key string) error {
	if !safeKey.MatchString(key) {
		return fmt.Errorf("cannot remove %q: not a name of an object", key)
	}
	if err := os.Remove(d.Where(key)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("cannot remove: %w", err)
	}
	return nil
}

// Sweep removes old files.
func (d Dir) Sweep(_ context.Context, age time.Duration) error {
	entries, err := os.ReadDir(d.Path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("cannot list: %w", err)
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil || !info.Mode().IsRegular() || e.Name() == lockFile || d.Now().Sub(info.ModTime()).Abs() < age {
			continue
		}
		if err := os.Remove(filepath.Join(d.Path, e.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("cannot remove: %w", err)
		}
	}
	return nil
}

// ready makes the directory.
func (d Dir) ready() error {
	mode := d.Mode | d.Mode&0o444>>2 | 0o100
	if err := os.MkdirAll(d.Path, mode); err != nil {
		return fmt.Errorf("cannot make a directory: %w", err)
	}
	if err := os.Chmod(d.Path, mode); err != nil {
		return fmt.Errorf("cannot set the mode: %w", err)
	}
	if d.GID >= 0 {
		if err := os.Chown(d.Path, -1, d.GID); err != nil {
			return fmt.Errorf("cannot set the group: %w", err)
		}
	}
	return nil
}

// lock makes the comparison and the swap one step. The kernel releases the lock of a
// process that dies.
func (d Dir) lock(ctx context.Context) (unlock func(), err error) {
	path := filepath.Join(d.Path, lockFile)
	ctx, cancel := context.WithTimeout(ctx, lockPatience)
	defer cancel()
	unlock, err = files.Lock(ctx, path)
	if errors.Is(err, files.ErrLocked) {
		return nil, fmt.Errorf("cannot lock %s: another process has held it for %v; see: fuser -v %s", path, lockPatience, path)
	}
	return unlock, err
}
