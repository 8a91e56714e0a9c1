// Package trash keeps what collection takes from a registry, until it is purged: below
// /redoubt/trash, under the path that it had, with one file for each run that took it.
// Whoever asks for something that lies there gets it back.
//
// Only one process at a time moves into the trash, or empties it. Any process may
// restore. Nothing is ever deleted where a push writes to, so that a push needs no lock.
package trash

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/distribution/distribution/v3/registry/storage/driver"

	"github.com/redoubt-registry/redoubt/appliance/storage/layout"
)

// Root is the directory of the trash.
const Root = "/redoubt/trash"

// Entry is one thing in the trash.
type Entry struct {
	Path string // that it had
	Run  int64  // that took it
	Size int64  // bytes
}

// At is where an entry lies.
func (e Entry) At() string { return Root + e.Path + "/" + strconv.FormatInt(e.Run, 10) }

// Holds tells whether the trash takes what has such a path: blobs, and the links that
// make a manifest one of a repository.
func Holds(p string) bool { return layout.IsBlob(p) || layout.IsRevision(p) }

// copier is a store that copies by itself, and cannot rename.
type copier interface {
	Copy(ctx context.Context, from, to string) error
}

// renames tells whether a move in d is one step.
func renames(d driver.StorageDriver) bool { return d.Name() == "filesystem" }

// Take moves what is at a path into the trash. gone means that there is nothing. On a
// store that cannot rename, what is taken is deleted after it was copied: whoever asks
// for it in between finds the one or the other.
func Take(ctx context.Context, d driver.StorageDriver, p string, run int64) (gone bool, err error) {
	to := Entry{Path: p, Run: run}.At()
	if renames(d) {
		err = d.Move(ctx, p, to)
		return layout.Missing(err), unlessMissing(err)
	}
	if err := duplicate(ctx, d, p, to); err != nil {
		return layout.Missing(err), unlessMissing(err)
	}
	return false, unlessMissing(d.Delete(ctx, p))
}

// Restore brings back what lies in the trash under the path that it had. It tells
// whether there was something. A store that cannot rename keeps the entry: a process
// that takes it at this moment deletes the original last.
func Restore(ctx context.Context, d driver.StorageDriver, p string) (bool, error) {
	entries, err := entriesOf(ctx, d, p)
	for _, e := range slices.Backward(entries) {
		if err = e.restore(ctx, d); !layout.Missing(err) {
			return err == nil, err
		}
	}
	return false, unlessMissing(err)
}

func (e Entry) restore(ctx context.Context, d driver.StorageDriver) error {
	if !renames(d) {
		return duplicate(ctx, d, e.At(), e.Path)
	}
	if layout.IsBlob(e.Path) {
		return d.Move(ctx, e.At(), e.Path)
	}
	// A link is written, since its age counts from now.
	data, err := d.GetContent(ctx, e.At())
	if err == nil {
		err = d.PutContent(ctx, e.Path, data)
	}
	if err == nil {
		err = unlessMissing(d.Delete(ctx, e.At()))
	}
	return err
}

// Purge deletes an entry for good, and its directory with the last one.
func Purge(ctx context.Context, d driver.StorageDriver, e Entry) error {
	err := unlessMissing(d.Delete(ctx, e.At()))
	if err != nil || !renames(d) {
		return err
	}
	if left, err := d.List(ctx, Root+e.Path); err != nil || len(left) > 0 {
		return unlessMissing(err)
	}
	return unlessMissing(d.Delete(ctx, path.Dir(Root+e.Path)))
}

// forget deletes all entries of a path.
func forget(ctx context.Context, d driver.StorageDriver, p string) error {
	entries, err := entriesOf(ctx, d, p)
	for _, e := range entries {
		err = errors.Join(err, unlessMissing(d.Delete(ctx, e.At())))
	}
	return unlessMissing(err)
}

// Each calls f for each entry, in no order.
func Each(ctx context.Context, d driver.StorageDriver, f func(Entry) error) error {
	if err := layout.Walk(ctx, d, Root, func(info driver.FileInfo) error {
		dir, base := path.Split(info.Path())
		run, err := strconv.ParseInt(base, 10, 64)
		p := strings.TrimSuffix(strings.TrimPrefix(dir, Root), "/")
		if err != nil || !Holds(p) {
			return nil
		}
		return f(Entry{Path: p, Run: run, Size: info.Size()})
	}); err != nil {
		return fmt.Errorf("cannot list the trash: %w", err)
	}
	return nil
}

// entriesOf are those of a path, the oldest first.
func entriesOf(ctx context.Context, d driver.StorageDriver, p string) ([]Entry, error) {
	files, err := d.List(ctx, Root+p)
	if err != nil {
		return nil, err
	}
	var entries []Entry
	for _, file := range files {
		if run, err := strconv.ParseInt(path.Base(file), 10, 64); err == nil {
			entries = append(entries, Entry{Path: p, Run: run})
		}
	}
	slices.SortFunc(entries, func(a, b Entry) int { return int(a.Run - b.Run) })
	return entries, nil
}

// duplicate copies within a store.
func duplicate(ctx context.Context, d driver.StorageDriver, from, to string) error {
	if c, ok := d.(copier); ok {
		return c.Copy(ctx, from, to)
	}
	r, err := d.Reader(ctx, from, 0)
	if err != nil {
		return err
	}
	defer r.Close()
	w, err := d.Writer(ctx, to, false)
	if err != nil {
		return err
	}
	if _, err := io.Copy(w, r); err != nil {
		return errors.Join(err, w.Cancel(ctx))
	}
	return errors.Join(w.Commit(ctx), w.Close())
}

func unlessMissing(err error) error {
	if layout.Missing(err) {
		return nil
	}
	return err
}
