package driver

import (
	"context"
	"errors"
	"path"
	"slices"
	"strings"

	storagedriver "github.com/distribution/distribution/v3/registry/storage/driver"
)

// Walk implements storagedriver.StorageDriver by a listing alone: directories
// are where the paths of two files differ.
func (d *driver) Walk(ctx context.Context, from string, f storagedriver.WalkFn, options ...func(*storagedriver.WalkOptions)) error {
	var o storagedriver.WalkOptions
	for _, option := range options {
		option(&o)
	}
	w := walk{visit: f, last: from}
	empty := true
	for object, err := range d.bucket.List(ctx, strings.TrimSuffix(from, "/")+"/", o.StartAfterHint, "") {
		if err != nil {
			return fail(ctx, from, err)
		}
		empty = false
		err := w.file("/"+object.Key, file("/"+object.Key, object))
		if errors.Is(err, storagedriver.ErrFilledBuffer) {
			return nil
		}
		if err != nil {
			return err
		}
	}
	if empty && o.StartAfterHint == "" && from != "/" { // as in a directory: there is no such repository
		return storagedriver.PathNotFoundError{Path: from}
	}
	return nil
}

type walk struct {
	visit   storagedriver.WalkFn
	last    string // the directory before
	skipped string // nothing below it is visited
}

// file visits the directories that a file is the first one of, and the file.
func (w *walk) file(p string, info storagedriver.FileInfo) error {
	for _, dir := range between(w.last, p) {
		w.last = dir
		if err := w.call(dir, directory(dir)); err != nil {
			return err
		}
	}
	if strings.HasSuffix(p, "/") { // the marker of an empty directory
		return nil
	}
	return w.call(p, info)
}

func (w *walk) call(p string, info storagedriver.FileInfo) error {
	if w.skipped != "" && (p == w.skipped || strings.HasPrefix(p, w.skipped+"/")) {
		return nil
	}
	err := w.visit(info)
	if errors.Is(err, storagedriver.ErrSkipDir) {
		w.skipped = p
		return nil
	}
	return err
}

// between are the directories of a path that the one before is not in, from the
// top down.
func between(last, p string) []string {
	var dirs []string
	for dir := path.Dir(p); dir != "/" && dir != "." && dir != last && !strings.HasPrefix(last+"/", dir+"/"); dir = path.Dir(dir) {
		dirs = append(dirs, dir)
	}
	slices.Reverse(dirs)
	return dirs
}
