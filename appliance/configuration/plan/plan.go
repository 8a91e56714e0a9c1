// Package plan computes what turns the files that a machine has into the files
// that it is to have. It is pure: it reads and writes nothing. The only
// package that carries out a plan's writes is disk.
package plan

import (
	"bytes"
	"cmp"
	"io/fs"
	"maps"
	"slices"

	"github.com/redoubt-registry/redoubt/appliance/configuration/tree"
)

// Plan is what must be done, in the order in which it must be done.
type Plan struct {
	Write   []tree.File   // parents before what is in them
	Remove  []string      // what is in a directory before the directory
	Units   bool          // systemd must read its unit files again before the actions
	Actions []tree.Reader // each unit once, sockets first
	changed map[string]bool
}

// Empty reports whether there is nothing to do.
func (p Plan) Empty() bool {
	return len(p.Write) == 0 && len(p.Remove) == 0 && len(p.Actions) == 0 && !p.Units
}

// New compares three things. have is what is on the disk, among it everything
// that want or applied names. want is what is to be there. applied is what the
// units are known to have read.
//
// A file is written when have differs from want. Its readers act when its
// bytes on the disk change, or when applied differs from want: so what a crash
// left undone between a write and its actions is done by the next plan. A path
// that have or applied knows and want does not is removed, and its readers
// act. Readers are taken from all three sides, so the way back is New with
// have and want swapped.
func New(have, want tree.Tree, applied Applied) Plan {
	p := Plan{changed: map[string]bool{}}
	var readers []tree.Reader
	act := func(unit bool, sides ...[]tree.Reader) {
		p.Units = p.Units || unit
		for _, s := range sides {
			readers = append(readers, s...)
		}
	}
	for _, w := range want {
		h, exists := have.Lookup(w.Path)
		if !exists || !same(h, w) {
			p.Write = append(p.Write, w)
			p.changed[w.Path] = exists
		}
		a, known := applied[w.Path]
		if !exists || !bytes.Equal(h.Data, w.Data) || !known || a.Digest != Digest(w) {
			act(w.Unit || h.Unit || a.Unit, w.Readers, h.Readers, a.Readers)
		}
	}
	for _, path := range gone(have, want, applied) {
		h, exists := have.Lookup(path)
		if exists {
			p.Remove = append(p.Remove, path)
		}
		a := applied[path]
		act(h.Unit || a.Unit, h.Readers, a.Readers)
	}
	slices.SortFunc(p.Remove, func(a, b string) int { return cmp.Compare(b, a) })
	p.Actions = tree.Order(readers)
	return p
}

// gone returns the paths of have and applied that want lacks.
func gone(have, want tree.Tree, applied Applied) []string {
	set := map[string]bool{}
	for _, f := range have {
		set[f.Path] = true
	}
	for path := range applied {
		set[path] = true
	}
	for _, f := range want {
		delete(set, f.Path)
	}
	return slices.Sorted(maps.Keys(set))
}

// same reports whether two files have the same kind, permissions, owner and
// content. A symbolic link has no permissions of its own.
func same(a, b tree.File) bool {
	if a.Mode.Type() != b.Mode.Type() || !bytes.Equal(a.Data, b.Data) ||
		owner(a.Owner) != owner(b.Owner) || owner(a.Group) != owner(b.Group) {
		return false
	}
	return a.Mode.Type() == fs.ModeSymlink || a.Mode == b.Mode
}

func owner(name string) string { return cmp.Or(name, "root") }
