package disk

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"github.com/redoubt-registry/redoubt/appliance/files"
)

// names translates between owners' names and numbers as root's own passwd(5)
// and group(5) have them, so that a tree can be written into the root of
// another machine.
type names struct{ users, groups table }

type table struct {
	ids   map[string]uint32
	names map[uint32]string
}

func readNames(r *os.Root) (names, error) {
	users, err := readTable(r, "etc/passwd")
	if err != nil {
		return names{}, err
	}
	groups, err := readTable(r, "etc/group")
	return names{users, groups}, err
}

// readTable reads the first and the third field of each line. A missing file
// is an empty one.
func readTable(r *os.Root, path string) (table, error) {
	t := table{ids: map[string]uint32{"root": 0}, names: map[uint32]string{0: "root"}}
	data, err := r.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return t, fmt.Errorf("cannot read /%s: %w", path, files.Cause(err))
	}
	for line := range strings.Lines(string(data)) {
		fields := strings.Split(strings.TrimSuffix(line, "\n"), ":")
		if len(fields) < 3 {
			continue
		}
		id, err := strconv.ParseUint(fields[2], 10, 32)
		if err != nil {
			continue
		}
		if _, ok := t.ids[fields[0]]; !ok {
			t.ids[fields[0]] = uint32(id)
		}
		if _, ok := t.names[uint32(id)]; !ok {
			t.names[uint32(id)] = fields[0]
		}
	}
	return t, nil
}

func (n names) user(id uint32) string  { return n.users.name(id) }
func (n names) group(id uint32) string { return n.groups.name(id) }

// name falls back to the number, as ls does.
func (t table) name(id uint32) string {
	if name, ok := t.names[id]; ok {
		return name
	}
	return strconv.FormatUint(uint64(id), 10)
}

func (t table) id(name string) (int, bool) {
	if id, ok := t.ids[cmp.Or(name, "root")]; ok {
		return int(id), true
	}
	id, err := strconv.ParseUint(name, 10, 31)
	return int(id), err == nil
}

// ids returns the numbers of an owner and a group by name; empty is root.
func (n names) ids(owner, group string) (uid, gid int, err error) {
	uid, ok := n.users.id(owner)
	if !ok {
		return 0, 0, fmt.Errorf("there is no user %s in /etc/passwd", owner)
	}
	gid, ok = n.groups.id(group)
	if !ok {
		return 0, 0, fmt.Errorf("there is no group %s in /etc/group", group)
	}
	return uid, gid, nil
}

// Group returns the number of a group by its name in root's /etc/group.
func Group(root, name string) (int, error) {
	r, err := os.OpenRoot(root)
	if err != nil {
		return 0, fmt.Errorf("cannot open the root directory: %w", err)
	}
	defer r.Close()
	names, err := readNames(r)
	if err != nil {
		return 0, err
	}
	_, gid, err := names.ids("root", name)
	return gid, err
}
