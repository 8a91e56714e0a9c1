// Package tree describes what belongs on a machine as a value: a sorted set
// of files, directories and symbolic links. The image build makes one from
// butane/appliance.bu, the agent makes one from its configuration; comparing
// and writing them is the work of other packages.
package tree

import (
	"archive/tar"
	"cmp"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"
)

// Verb is what a unit needs when a file that it reads has changed.
type Verb int

// The verbs, in the order of how much they do.
const (
	// Start only makes sure that the unit runs: for a unit that did not run
	// when its files changed, so that it cannot have read the old ones.
	Start Verb = iota - 1
	// Reload asks the unit to read its configuration again; a unit that
	// cannot reload is restarted.
	Reload
	// Restart stops and starts the unit: for what is read only at its start,
	// such as a drop-in of the unit itself.
	Restart
)

// String returns the word that a plan prints.
func (v Verb) String() string {
	switch v {
	case Restart:
		return "restart"
	case Start:
		return "start"
	default:
		return "reload"
	}
}

// MarshalText gives the word that String gives.
func (v Verb) MarshalText() ([]byte, error) { return []byte(v.String()), nil }

// UnmarshalText reads what MarshalText wrote.
func (v *Verb) UnmarshalText(text []byte) error {
	for _, known := range []Verb{Reload, Restart, Start} {
		if known.String() == string(text) {
			*v = known
			return nil
		}
	}
	return fmt.Errorf("cannot use verb %q: it must be reload, restart or start", text)
}

// Reader is a systemd unit that reads a file.
type Reader struct {
	Unit string `json:"unit"`
	Verb Verb   `json:"verb"`
}

// Order gives each unit once, with the verb that does the most: sockets first, since a
// service must not come up on a socket that is about to go, then by name. A socket
// cannot restart under a running service, so its service restarts too.
func Order(readers []Reader) []Reader {
	verbs := map[string]Verb{}
	for _, r := range readers {
		if v, ok := verbs[r.Unit]; !ok || r.Verb > v {
			verbs[r.Unit] = r.Verb
		}
	}
	for unit, verb := range verbs {
		name, socket := strings.CutSuffix(unit, socketSuffix)
		if service := name + ".service"; socket && verb == Restart {
			if _, ok := verbs[service]; ok {
				verbs[service] = Restart
			}
		}
	}
	actions := make([]Reader, 0, len(verbs))
	for unit, verb := range verbs {
		actions = append(actions, Reader{Unit: unit, Verb: verb})
	}
	slices.SortFunc(actions, func(a, b Reader) int {
		if a.Socket() != b.Socket() {
			return map[bool]int{true: -1, false: 1}[a.Socket()]
		}
		return cmp.Compare(a.Unit, b.Unit)
	})
	return actions
}

const socketSuffix = ".socket"

// Socket says whether the unit is a socket.
func (r Reader) Socket() bool { return strings.HasSuffix(r.Unit, socketSuffix) }

// File is one thing at one path. Its kind is in Mode: a regular file, a
// directory (fs.ModeDir, no Data) or a symbolic link (fs.ModeSymlink, Data is
// the target).
type File struct {
	Path         string      // absolute, clean, canonical (no symbolic link on the way)
	Mode         fs.FileMode // kind and permission bits
	Owner, Group string      // names; empty is root
	Data         []byte
	Readers      []Reader // units that must act when it changes, appears or goes
	Unit         bool     // a unit file or a drop-in: systemd itself must read it again first
}

// Tree is a set of files, sorted by path, no path twice. New makes one.
type Tree []File

// New sorts files into a Tree. It is an error if a path is not absolute and
// clean, if a path comes twice, or if a file's kind is not one of three.
func New(files ...File) (Tree, error) {
	t := Tree(slices.Clone(files))
	slices.SortFunc(t, func(a, b File) int { return cmp.Compare(a.Path, b.Path) })
	for i, f := range t {
		switch {
		case !strings.HasPrefix(f.Path, "/") || path.Clean(f.Path) != f.Path || f.Path == "/":
			return nil, fmt.Errorf("cannot use path %q: it must be absolute and clean", f.Path)
		case i > 0 && t[i-1].Path == f.Path:
			return nil, fmt.Errorf("cannot use path %q twice", f.Path)
		case f.Mode.Type() != 0 && f.Mode.Type() != fs.ModeDir && f.Mode.Type() != fs.ModeSymlink:
			return nil, fmt.Errorf("cannot use %s: a tree holds files, directories and symbolic links", f.Path)
		}
	}
	return t, nil
}

// Lookup returns the file at path p.
func (t Tree) Lookup(p string) (File, bool) {
	i, ok := slices.BinarySearchFunc(t, p, func(f File, p string) int { return cmp.Compare(f.Path, p) })
	if !ok {
		return File{}, false
	}
	return t[i], true
}

// Paths returns every path of t in order.
func (t Tree) Paths() []string {
	paths := make([]string, len(t))
	for i, f := range t {
		paths[i] = f.Path
	}
	return paths
}

// Tar writes t as a POSIX (PAX) tar archive with relative names, owners by
// name and every time stamp set to mtime, so that equal trees are equal bytes.
func (t Tree) Tar(w io.Writer, mtime time.Time) error {
	tw := tar.NewWriter(w)
	for _, f := range t {
		h := &tar.Header{
			Name:    strings.TrimPrefix(f.Path, "/"),
			Mode:    int64(f.Mode.Perm()),
			Uname:   cmp.Or(f.Owner, "root"),
			Gname:   cmp.Or(f.Group, "root"),
			ModTime: mtime,
			Format:  tar.FormatPAX,
		}
		switch f.Mode.Type() {
		case fs.ModeDir:
			h.Typeflag, h.Name = tar.TypeDir, h.Name+"/"
		case fs.ModeSymlink:
			h.Typeflag, h.Linkname = tar.TypeSymlink, string(f.Data)
		default:
			h.Typeflag, h.Size = tar.TypeReg, int64(len(f.Data))
		}
		if err := tw.WriteHeader(h); err != nil {
			return fmt.Errorf("cannot archive %s: %w", f.Path, err)
		}
		if h.Typeflag == tar.TypeReg {
			if _, err := tw.Write(f.Data); err != nil {
				return fmt.Errorf("cannot archive %s: %w", f.Path, err)
			}
		}
	}
	return tw.Close()
}
