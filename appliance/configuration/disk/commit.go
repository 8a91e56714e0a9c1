package disk

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"
	"syscall"

	"github.com/redoubt-registry/redoubt/appliance/configuration/plan"
	"github.com/redoubt-registry/redoubt/appliance/configuration/tree"
	"github.com/redoubt-registry/redoubt/appliance/files"
)

// Commit carries out the writes and removals of p below root. Everything new
// is first written beside its place, with mode and owner, and synced; only
// when all of it stands are the files renamed and the removals done. So an
// error before that (a full disk, an unknown owner, a directory where a file
// should be) leaves the machine as it was, with nothing half-written. Missing
// parent directories are made, 0755 and root's. Removing what is not there, or
// a directory that is not empty, is no error.
//
// Each file is atomic; the set is not. After a power cut in the middle, the
// next plan does the rest.
func Commit(root string, p plan.Plan) error {
	return write(root, p, true)
}

// Export writes t below dir as it would lie on a machine, but as files of
// whoever runs it: owners are left alone.
func Export(dir string, t tree.Tree) error {
	return write(dir, plan.Plan{Write: t}, false)
}

func write(root string, p plan.Plan, owners bool) (err error) {
	r, err := os.OpenRoot(root)
	if err != nil {
		return fmt.Errorf("cannot open the root directory: %w", err)
	}
	defer r.Close()
	w := &writer{root: r, owners: owners, dirs: map[string]bool{}}
	if w.names, err = readNames(r); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			w.undo()
		}
	}()
	for _, f := range p.Write {
		if err := w.stage(f); err != nil {
			return fmt.Errorf("cannot write %s: %w", f.Path, files.Cause(err))
		}
	}
	for len(w.staged) > 0 {
		s := w.staged[0]
		if err := r.Rename(s.temp, s.place); err != nil {
			return fmt.Errorf("cannot write /%s: %w", s.place, files.Cause(err))
		}
		w.staged = w.staged[1:]
	}
	w.made = nil // what is in place keeps its directories
	for _, path := range p.Remove {
		if err := w.remove(path); err != nil {
			return fmt.Errorf("cannot remove %s: %w", path, files.Cause(err))
		}
	}
	return w.sync()
}

// writer carries one commit.
type writer struct {
	root   *os.Root
	names  names
	owners bool
	staged []staged
	made   []string        // directories that this commit made
	dirs   map[string]bool // directories to sync
}

// staged is a file that waits for its rename.
type staged struct{ temp, place string }

// stage makes f ready. A directory needs no rename: it is made here, and one
// that exists gets its mode and owner.
func (w *writer) stage(f tree.File) error {
	if err := w.makeParents(f.Path); err != nil {
		return err
	}
	place := rel(f.Path)
	info, err := w.root.Lstat(place)
	switch {
	case err == nil && info.Mode().Type() != f.Mode.Type():
		return irregular(info)
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return err
	}
	dir := path.Dir(place)
	w.clean(dir)
	w.dirs[dir] = true
	if f.Mode.IsDir() {
		if errors.Is(err, fs.ErrNotExist) {
			if err := w.root.Mkdir(place, 0o700); err != nil {
				return err
			}
			w.made = append(w.made, place)
		}
		w.dirs[place] = true
		return w.own(place, f)
	}
	temp := path.Join(dir, files.Temporary+rand.Text())
	w.staged = append(w.staged, staged{temp, place})
	if f.Mode.Type() == fs.ModeSymlink {
		if err := w.root.Symlink(string(f.Data), temp); err != nil {
			return err
		}
		return w.own(temp, f)
	}
	return w.fill(temp, f)
}

// fill writes and syncs a temporary file. It is private until it has its
// owner: the mode comes last.
func (w *writer) fill(temp string, f tree.File) (err error) {
	file, err := w.root.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	if _, err := file.Write(f.Data); err != nil {
		return err
	}
	if err := w.own(temp, f); err != nil {
		return err
	}
	return file.Sync()
}

// own gives name the owner and the mode of f.
func (w *writer) own(name string, f tree.File) error {
	if w.owners {
		uid, gid, err := w.names.ids(f.Owner, f.Group)
		if err != nil {
			return err
		}
		if err := w.root.Lchown(name, uid, gid); err != nil {
			return err
		}
	}
	if f.Mode.Type() == fs.ModeSymlink {
		return nil
	}
	return w.root.Chmod(name, f.Mode.Perm())
}

// makeParents makes what is missing on the way to p.
func (w *writer) makeParents(p string) error {
	for dir := range parents(p) {
		err := canonical(w.root, dir+"/.")
		if !errors.Is(err, fs.ErrNotExist) {
			if err != nil {
				return err
			}
			continue
		}
		if err := w.root.Mkdir(rel(dir), 0o755); err != nil {
			return err
		}
		if err := w.root.Chmod(rel(dir), 0o755); err != nil { // whatever the umask
			return err
		}
		w.made = append(w.made, rel(dir))
		w.dirs[path.Dir(rel(dir))] = true
	}
	return nil
}

// clean removes what a killed process left in dir. Only one apply runs at a
// time, so none of it is in use, but for what this commit has staged.
func (w *writer) clean(dir string) {
	if w.dirs[dir] {
		return
	}
	d, err := w.root.Open(dir)
	if err != nil {
		return
	}
	defer d.Close()
	entries, _ := d.ReadDir(-1)
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), files.Temporary) {
			_ = w.root.Remove(path.Join(dir, e.Name()))
		}
	}
}

// undo removes what is staged and each directory that was made for it.
func (w *writer) undo() {
	for _, s := range w.staged {
		_ = w.root.Remove(s.temp)
	}
	for i := len(w.made) - 1; i >= 0; i-- {
		_ = w.root.Remove(w.made[i])
	}
}

func (w *writer) remove(p string) error {
	err := canonical(w.root, p)
	if err == nil {
		err = w.root.Remove(rel(p))
	}
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTEMPTY), errors.Is(err, syscall.EEXIST):
		return nil
	case err != nil:
		return err
	}
	w.dirs[path.Dir(rel(p))] = true
	delete(w.dirs, rel(p))
	return nil
}

// sync makes the renames and removals last: it syncs every directory that was
// touched.
func (w *writer) sync() error {
	for dir := range w.dirs {
		d, err := w.root.Open(dir)
		if err != nil {
			return fmt.Errorf("cannot sync /%s: %w", dir, files.Cause(err))
		}
		err = d.Sync()
		_ = d.Close()
		if err != nil {
			return fmt.Errorf("cannot sync /%s: %w", dir, files.Cause(err))
		}
	}
	return nil
}
