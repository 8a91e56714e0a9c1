package backup

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"path"
	"slices"
	"sync"
	"time"

	"github.com/distribution/distribution/v3/registry/storage/driver"
)

// tree is a storage driver whose files have their content here, or at a place: the
// registry of a snapshot.
type tree struct {
	mu    sync.RWMutex
	files map[string]file
	dirs  map[string][]string // children, in any order
	// open opens what has no content here.
	open func(ctx context.Context, path string, size int64) (io.ReadCloser, error)
}

// file is one of a tree. One without content is at the place.
type file struct {
	content []byte
	size    int64
}

var errReadOnly = errors.New("the images of a snapshot do not change")

func newTree() *tree { return &tree{files: map[string]file{}, dirs: map[string][]string{"/": nil}} }

// put adds a file, or replaces it, and adds the directories above it.
func (t *tree) put(p string, f file) {
	t.mu.Lock()
	defer t.mu.Unlock()
	_, there := t.files[p]
	t.files[p] = f
	for child := p; !there && child != "/"; {
		dir := path.Dir(child)
		_, there = t.dirs[dir]
		t.dirs[dir] = append(t.dirs[dir], child)
		child = dir
	}
}

// Name implements driver.StorageDriver.
func (t *tree) Name() string { return "snapshot" }

// GetContent implements driver.StorageDriver.
func (t *tree) GetContent(ctx context.Context, p string) ([]byte, error) {
	r, err := t.Reader(ctx, p, 0)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}

// Reader implements driver.StorageDriver.
func (t *tree) Reader(ctx context.Context, p string, offset int64) (io.ReadCloser, error) {
	t.mu.RLock()
	f, ok := t.files[p]
	t.mu.RUnlock()
	if !ok {
		return nil, driver.PathNotFoundError{Path: p, DriverName: t.Name()}
	}
	if f.content != nil {
		return io.NopCloser(bytes.NewReader(f.content[min(offset, int64(len(f.content))):])), nil
	}
	r, err := t.open(ctx, p, f.size)
	if err != nil {
		return nil, err
	}
	if _, err := io.CopyN(io.Discard, r, offset); err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return r, nil
}

// Stat implements driver.StorageDriver.
func (t *tree) Stat(_ context.Context, p string) (driver.FileInfo, error) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	fields := driver.FileInfoFields{Path: p, ModTime: time.Unix(0, 0)}
	f, ok := t.files[p]
	_, dir := t.dirs[p]
	if !ok && !dir {
		return nil, driver.PathNotFoundError{Path: p, DriverName: t.Name()}
	}
	fields.Size, fields.IsDir = f.size, !ok
	return driver.FileInfoInternal{FileInfoFields: fields}, nil
}

// List implements driver.StorageDriver.
func (t *tree) List(_ context.Context, p string) ([]string, error) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	children, ok := t.dirs[p]
	if !ok {
		return nil, driver.PathNotFoundError{Path: p, DriverName: t.Name()}
	}
	return slices.Sorted(slices.Values(children)), nil
}

// Walk implements driver.StorageDriver.
func (t *tree) Walk(ctx context.Context, p string, f driver.WalkFn, options ...func(*driver.WalkOptions)) error {
	return driver.WalkFallback(ctx, t, p, f, options...)
}

// PutContent, Writer, Move, Delete and RedirectURL are for a storage that changes.

// PutContent implements driver.StorageDriver.
func (t *tree) PutContent(context.Context, string, []byte) error { return errReadOnly }

// Writer implements driver.StorageDriver.
func (t *tree) Writer(context.Context, string, bool) (driver.FileWriter, error) {
	return nil, errReadOnly
}

// Move implements driver.StorageDriver.
func (t *tree) Move(context.Context, string, string) error { return errReadOnly }

// Delete implements driver.StorageDriver.
func (t *tree) Delete(context.Context, string) error { return errReadOnly }

// RedirectURL implements driver.StorageDriver.
func (t *tree) RedirectURL(*http.Request, string) (string, error) { return "", nil }
