// Package disk reads the files of a machine and carries out the writes of a
// plan. It is the only writer of configuration. A file is replaced whole or
// not at all: written beside its place, synced, renamed.
//
// Paths are looked up inside one root directory and never leave it. They must
// be canonical: a symbolic link on the way to a file is refused, not followed.
package disk

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"
	"syscall"

	"github.com/redoubt-registry/redoubt/appliance/configuration/tree"
	"github.com/redoubt-registry/redoubt/appliance/files"
)

// Read returns what is at each of paths below root, with owners as names from
// root's own /etc/passwd and /etc/group. A path where nothing is is left out.
// Readers are not on a disk, so the files have none.
func Read(root string, paths []string) (tree.Tree, error) {
	r, err := os.OpenRoot(root)
	if err != nil {
		return nil, fmt.Errorf("cannot open the root directory: %w", err)
	}
	defer r.Close()
	names, err := readNames(r)
	if err != nil {
		return nil, err
	}
	var found []tree.File
	for _, p := range paths {
		f, err := readFile(r, names, p)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("cannot read %s: %w", p, files.Cause(err))
		}
		found = append(found, f)
	}
	return tree.New(found...)
}

func readFile(r *os.Root, names names, p string) (tree.File, error) {
	if err := canonical(r, p); err != nil {
		return tree.File{}, err
	}
	info, err := r.Lstat(rel(p))
	if err != nil {
		return tree.File{}, err
	}
	f := tree.File{Path: p, Mode: info.Mode()}
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		f.Owner, f.Group = names.user(stat.Uid), names.group(stat.Gid)
	}
	switch info.Mode().Type() {
	case 0:
		f.Data, err = r.ReadFile(rel(p))
	case fs.ModeSymlink:
		var target string
		target, err = r.Readlink(rel(p))
		f.Data = []byte(target)
	case fs.ModeDir:
	default:
		err = irregular(info)
	}
	return f, err
}

// canonical is an error if one of the directories on the way to p is a
// symbolic link or no directory at all. One that is missing is fs.ErrNotExist.
func canonical(r *os.Root, p string) error {
	for dir := range parents(p) {
		info, err := r.Lstat(rel(dir))
		if err != nil {
			return err
		}
		if info.Mode().Type() == fs.ModeSymlink {
			return fmt.Errorf("%s is a symbolic link, and only canonical paths are used", dir)
		}
		if !info.IsDir() {
			return fmt.Errorf("%s is not a directory", dir)
		}
	}
	return nil
}

// parents yields each directory on the way to p, outermost first, without "/".
func parents(p string) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		for i := 1; i < len(p); i++ {
			if p[i] == '/' && !yield(p[:i]) {
				return
			}
		}
	}
}

// rel makes an absolute path one that os.Root takes.
func rel(p string) string {
	if p = strings.TrimPrefix(path.Clean(p), "/"); p == "" {
		return "."
	}
	return p
}

func irregular(info fs.FileInfo) error {
	kind := "not a regular file"
	switch {
	case info.IsDir():
		kind = "a directory"
	case info.Mode().Type() == fs.ModeSymlink:
		kind = "a symbolic link"
	case info.Mode().Type()&fs.ModeNamedPipe != 0:
		kind = "a named pipe"
	case info.Mode().Type()&fs.ModeDevice != 0:
		kind = "a device"
	case info.Mode().Type()&fs.ModeSocket != 0:
		kind = "a socket"
	}
	return fmt.Errorf("there is %s in its place; move it away", kind)
}
