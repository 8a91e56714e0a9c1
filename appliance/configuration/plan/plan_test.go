package plan_test

import (
	"encoding/json"
	"io/fs"
	"reflect"
	"slices"
	"testing"

	"github.com/redoubt-registry/redoubt/appliance/configuration/plan"
	"github.com/redoubt-registry/redoubt/appliance/configuration/tree"
)

func reload(unit string) tree.Reader  { return tree.Reader{Unit: unit, Verb: tree.Reload} }
func restart(unit string) tree.Reader { return tree.Reader{Unit: unit, Verb: tree.Restart} }

func file(path, data string, readers ...tree.Reader) tree.File {
	return tree.File{Path: path, Mode: 0o640, Data: []byte(data), Readers: readers}
}

func dropIn(path, data string, readers ...tree.Reader) tree.File {
	f := file(path, data, readers...)
	f.Unit = true
	return f
}

func newTree(t *testing.T, files ...tree.File) tree.Tree {
	t.Helper()
	tr, err := tree.New(files...)
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

// onDisk is what disk.Read gives for a tree: the same without readers.
func onDisk(t *testing.T, files ...tree.File) tree.Tree {
	t.Helper()
	files = slices.Clone(files)
	for i := range files {
		files[i].Readers, files[i].Unit = nil, false
	}
	return newTree(t, files...)
}

func TestNew(t *testing.T) {
	conf := file("/run/redoubt/registry.yml", "one", reload("registry.service"))
	changed := file("/run/redoubt/registry.yml", "two", reload("registry.service"))
	redis := file("/run/redoubt/redis.conf", "r", restart("redis.service"))
	socket := dropIn("/run/systemd/system/registry.socket.d/50.conf", "s", restart("registry.socket"))
	dir := tree.File{Path: "/run/systemd/system/registry.socket.d", Mode: fs.ModeDir | 0o755}
	open := conf
	open.Mode = 0o644
	other := conf
	other.Owner = "mallory"

	tests := []struct {
		name       string
		have, want []tree.File
		applied    plan.Applied
		out        string
	}{
		{
			name: "first boot writes everything and starts every reader once, the socket first",
			want: []tree.File{conf, redis, socket, dir},
			out: `create   /run/redoubt/redis.conf (0640 root:root)
create   /run/redoubt/registry.yml (0640 root:root)
create   /run/systemd/system/registry.socket.d/ (0755 root:root)
create   /run/systemd/system/registry.socket.d/50.conf (0640 root:root)
reload   the unit files of systemd
restart  registry.socket
restart  redis.service
restart  registry.service
`,
		},
		{
			name: "what is there and was read needs nothing",
			have: []tree.File{conf, redis}, want: []tree.File{conf, redis},
			applied: plan.Record(tree.Tree{conf, redis}),
			out:     "nothing to do\n",
		},
		{
			name: "a change is written and its readers act, no others",
			have: []tree.File{conf, redis}, want: []tree.File{changed, redis},
			applied: plan.Record(tree.Tree{conf, redis}),
			out:     "change   /run/redoubt/registry.yml (0640 root:root)\nreload   registry.service\n",
		},
		{
			name: "permissions alone are fixed, and nobody acts",
			have: []tree.File{open}, want: []tree.File{conf},
			applied: plan.Record(tree.Tree{conf}),
			out:     "change   /run/redoubt/registry.yml (0640 root:root)\n",
		},
		{
			name: "a wrong owner alone is fixed",
			have: []tree.File{other}, want: []tree.File{conf},
			applied: plan.Record(tree.Tree{conf}),
			out:     "change   /run/redoubt/registry.yml (0640 root:root)\n",
		},
		{
			name: "an edit by hand is undone, and its readers act since they may have read it",
			have: []tree.File{changed}, want: []tree.File{conf},
			applied: plan.Record(tree.Tree{conf}),
			out:     "change   /run/redoubt/registry.yml (0640 root:root)\nreload   registry.service\n",
		},
		{
			name: "a crash after the write and before the actions leaves the actions",
			have: []tree.File{changed}, want: []tree.File{changed},
			applied: plan.Record(tree.Tree{conf}),
			out:     "reload   registry.service\n",
		},
		{
			name: "without a record of what was read, everything acts",
			have: []tree.File{conf}, want: []tree.File{conf},
			out: "reload   registry.service\n",
		},
		{
			name:    "a removal keeps the readers, and goes before its directory",
			have:    []tree.File{conf, socket, dir},
			want:    []tree.File{conf},
			applied: plan.Record(tree.Tree{conf, dir, socket}),
			out: `remove   /run/systemd/system/registry.socket.d/50.conf
remove   /run/systemd/system/registry.socket.d
reload   the unit files of systemd
restart  registry.socket
`,
		},
		{
			name:    "a crash after a removal and before the actions leaves the actions",
			have:    []tree.File{conf},
			want:    []tree.File{conf},
			applied: plan.Record(tree.Tree{conf, socket}),
			out:     "reload   the unit files of systemd\nrestart  registry.socket\n",
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			p := plan.New(onDisk(t, test.have...), newTree(t, test.want...), test.applied)
			if got := p.String(); got != test.out {
				t.Errorf("got:\n%swant:\n%s", got, test.out)
			}
		})
	}
}

func TestSocketRestartTurnsItsServicesReloadIntoRestart(t *testing.T) {
	p := plan.New(nil, newTree(t,
		file("/a", "", reload("registry.service"), reload("z.service")),
		file("/b", "", restart("registry.socket"))), nil)
	want := []tree.Reader{restart("registry.socket"), restart("registry.service"), reload("z.service")}
	if !reflect.DeepEqual(p.Actions, want) {
		t.Errorf("got %v, want %v", p.Actions, want)
	}
}

// The way back is the same function with the sides swapped: it undoes every
// write, removes what was new, and every unit that acted acts again.
func TestRollback(t *testing.T) {
	before := newTree(t, file("/a", "1", reload("a.service")), file("/gone", "x", restart("g.service")))
	after := newTree(t, file("/a", "2", reload("a.service")), dropIn("/new", "y", restart("n.service")))
	forth := plan.New(before, after, plan.Record(before))
	back := plan.New(after, before, plan.Record(after))
	if !reflect.DeepEqual(forth.Actions, back.Actions) {
		t.Errorf("forth %v, back %v", forth.Actions, back.Actions)
	}
	want := `change   /a (0640 root:root)
create   /gone (0640 root:root)
remove   /new
reload   the unit files of systemd
reload   a.service
restart  g.service
restart  n.service
`
	if got := back.String(); got != want {
		t.Errorf("got:\n%swant:\n%s", got, want)
	}
}

// A machine that stops between Intend and Record has, in its next plan, every
// path that may lie on its disk, even if the configuration is another by then.
func TestCrashThenAnotherConfiguration(t *testing.T) {
	old := newTree(t, file("/a", "1", reload("a.service")))
	crashed := newTree(t, file("/a", "2", reload("a.service")), dropIn("/drop-in", "d", restart("d.service")))
	applied := plan.Intend(plan.Record(old), plan.New(old, crashed, plan.Record(old)))

	p := plan.New(onDisk(t, crashed...), old, applied)
	want := `change   /a (0640 root:root)
remove   /drop-in
reload   the unit files of systemd
reload   a.service
restart  d.service
`
	if got := p.String(); got != want {
		t.Errorf("got:\n%swant:\n%s", got, want)
	}
	if !reflect.DeepEqual(applied.Paths(), []string{"/a", "/drop-in"}) {
		t.Errorf("paths: %v", applied.Paths())
	}
}

func TestPlanNeverShowsContent(t *testing.T) {
	p := plan.New(nil, newTree(t, file("/run/secret", "hunter2")), nil)
	if got := p.String(); got != "create   /run/secret (0640 root:root)\n" {
		t.Errorf("got %q", got)
	}
}

func TestAppliedSurvivesJSON(t *testing.T) {
	applied := plan.Record(newTree(t, dropIn("/a", "1", reload("a.service"), restart("b.service"))))
	data, err := json.Marshal(applied)
	if err != nil {
		t.Fatal(err)
	}
	var back plan.Applied
	if err := json.Unmarshal(data, &back); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(applied, back) {
		t.Errorf("got %v, want %v", back, applied)
	}
}
