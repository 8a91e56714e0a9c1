package plan

import (
	"fmt"
	"io/fs"
	"strings"

	"github.com/redoubt-registry/redoubt/appliance/configuration/tree"
)

// String is the plan as a person reads it before it is carried out: one line
// for each step, never the content of a file.
func (p Plan) String() string {
	if p.Empty() {
		return "nothing to do\n"
	}
	var b strings.Builder
	for _, f := range p.Write {
		verb := "create"
		if p.changed[f.Path] {
			verb = "change"
		}
		fmt.Fprintf(&b, "%-8s %s%s\n", verb, f.Path, describe(f))
	}
	for _, path := range p.Remove {
		fmt.Fprintf(&b, "%-8s %s\n", "remove", path)
	}
	if p.Units {
		b.WriteString("reload   the unit files of systemd\n")
	}
	for _, a := range p.Actions {
		fmt.Fprintf(&b, "%-8s %s\n", a.Verb, a.Unit)
	}
	return b.String()
}

// describe gives a file's permissions and owner.
func describe(f tree.File) string {
	kind := ""
	switch f.Mode.Type() {
	case fs.ModeSymlink:
		return " -> " + string(f.Data)
	case fs.ModeDir:
		kind = "/"
	}
	return fmt.Sprintf("%s (%04o %s:%s)", kind, f.Mode.Perm(), owner(f.Owner), owner(f.Group))
}
