package seed

import (
	"io/fs"
	"os"
	"sync"
	"testing"
	"testing/fstest"
)

// made holds what Filled has made, by the size of the large layer.
var made = struct {
	sync.Mutex
	trees map[int64]fstest.MapFS
}{trees: map[int64]fstest.MapFS{}}

// Filled is a new directory with what Fill pushes. The images of one size are made
// once.
func Filled(t testing.TB, large int64) string {
	t.Helper()
	made.Lock()
	defer made.Unlock()
	if made.trees[large] == nil {
		made.trees[large] = fill(t, large)
	}
	root := t.TempDir()
	check(t, os.CopyFS(root, made.trees[large]))
	return root
}

func fill(t testing.TB, large int64) fstest.MapFS {
	t.Helper()
	dir := t.TempDir()
	Serve(t, Directory(dir)).Fill(t, large)
	files := fstest.MapFS{}
	root := os.DirFS(dir)
	check(t, fs.WalkDir(root, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := fs.ReadFile(root, path)
		files[path] = &fstest.MapFile{Data: data, Mode: 0o644}
		return err
	}))
	return files
}
