package plan

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"

	"github.com/redoubt-registry/redoubt/appliance/configuration/tree"
)

// Applied says for each path what its readers are known to have read. It is
// kept on the machine, beside the files.
type Applied map[string]Entry

// Entry is one path of Applied. An empty Digest is a path that was about to be
// written: nobody is known to have read it.
type Entry struct {
	Digest  string        `json:"digest"`
	Readers []tree.Reader `json:"readers,omitempty"`
	Unit    bool          `json:"unit,omitempty"`
}

// Digest is what Applied keeps of a file: SHA-256 over its kind, permissions,
// owner and content.
func Digest(f tree.File) string {
	h := sha256.New()
	fmt.Fprintf(h, "%o %s %s %d\n", uint32(f.Mode), owner(f.Owner), owner(f.Group), len(f.Data))
	h.Write(f.Data)
	return "sha256:" + hex.EncodeToString(h.Sum(nil))
}

// Record returns what to keep once the actions of a plan that led to want are
// done.
func Record(want tree.Tree) Applied {
	applied := make(Applied, len(want))
	for _, f := range want {
		applied[f.Path] = Entry{Digest: Digest(f), Readers: f.Readers, Unit: f.Unit}
	}
	return applied
}

// Intend returns what to keep before p is carried out: every path that p is
// about to write has no digest, and has the readers of both sides. If the
// machine stops half way, the next plan knows each path that may lie on the
// disk, and which units have not seen it.
func Intend(applied Applied, p Plan) Applied {
	next := make(Applied, len(applied)+len(p.Write))
	for path, e := range applied {
		next[path] = e
	}
	for _, f := range p.Write {
		old := next[f.Path]
		readers := slices.Concat(old.Readers, f.Readers)
		slices.SortFunc(readers, func(a, b tree.Reader) int {
			return cmp.Or(cmp.Compare(a.Unit, b.Unit), cmp.Compare(a.Verb, b.Verb))
		})
		next[f.Path] = Entry{Readers: slices.Compact(readers), Unit: old.Unit || f.Unit}
	}
	return next
}

// Paths returns every path of a in order.
func (a Applied) Paths() []string {
	paths := make([]string, 0, len(a))
	for p := range a {
		paths = append(paths, p)
	}
	slices.Sort(paths)
	return paths
}
