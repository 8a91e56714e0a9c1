package appliance

import (
	"cmp"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/redoubt-registry/redoubt/appliance/access/audit"
	"github.com/redoubt-registry/redoubt/appliance/configuration/tree"
	"github.com/redoubt-registry/redoubt/appliance/paths"
	"github.com/redoubt-registry/redoubt/appliance/system/imagestore"
)

// note writes an event of this process to the audit log.
func (m *Machine) note(e audit.Event) {
	e.User = cmp.Or(e.User, Person())
	e.Time = m.Now()
	if err := audit.Note(m.Root, m.Warnings, e); err != nil {
		m.warn("%v", err)
	}
}

// noteStorage writes down what was done to the storage of the registry of the machine at
// root.
func noteStorage(root, storage string, action audit.Action, failed error, detail string) {
	noteEvent(root, storage, audit.Event{Action: action, Detail: detail}, failed)
}

// noteEvent is noteStorage for what has more to it. Other storages have no audit log.
func noteEvent(root, storage string, e audit.Event, failed error) {
	if storage != imagestore.Configured || root == "" {
		return
	}
	e.Result, e.User, e.Proof, e.Time = audit.OK, Person(), audit.Local, time.Now()
	if failed != nil {
		e.Result = audit.Failed
	}
	if err := audit.Note(root, os.Stderr, e); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
}

// Person is who runs this process: who called sudo, or root. What systemd starts is
// root's too.
func Person() string { return cmp.Or(os.Getenv("SUDO_USER"), "root") }

// noteApply writes down that a configuration was applied, and whose logins came and went
// with it. At a boot nothing is there yet to compare them with.
func (m *Machine) noteApply(c change, want tree.Tree, failure error) {
	if !c.done && failure == nil {
		return
	}
	e := audit.Event{Action: audit.Configuration, Result: audit.OK, Detail: c.changedFiles()}
	if failure != nil {
		e.Result = audit.Failed
		e.Detail = "the configuration before it is in force again"
	}
	m.note(e)
	before, ok := c.have.Lookup(paths.Htpasswd)
	if !ok || failure != nil {
		return
	}
	after, _ := want.Lookup(paths.Htpasswd)
	old, now := logins(before.Data), logins(after.Data)
	for _, name := range slices.Sorted(maps.Keys(now)) {
		if !old[name] {
			m.note(audit.Event{Action: audit.UserAdd, Result: audit.OK, Detail: name})
		}
	}
	for _, name := range slices.Sorted(maps.Keys(old)) {
		if !now[name] {
			m.note(audit.Event{Action: audit.UserRemove, Result: audit.OK, Detail: name})
		}
	}
}

// changedFiles names what a change wrote and removed.
func (c change) changedFiles() string {
	var names []string
	for _, f := range c.plan.Write {
		if !f.Mode.IsDir() {
			names = append(names, f.Path)
		}
	}
	names = append(names, c.plan.Remove...)
	if len(names) == 0 {
		return ""
	}
	return "changed: " + strings.Join(names, ", ")
}

// logins are the names in an htpasswd file.
func logins(htpasswd []byte) map[string]bool {
	names := map[string]bool{}
	for line := range strings.Lines(string(htpasswd)) {
		if name, _, ok := strings.Cut(line, ":"); ok {
			names[name] = true
		}
	}
	return names
}
