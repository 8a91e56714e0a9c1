//go:build integration

package appliance_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/redoubt-registry/redoubt/appliance/access/audit"
	"github.com/redoubt-registry/redoubt/appliance/paths"
)

// An apply that changes something is in the audit log, with whose logins came and went.
func TestApplyIsAudited(t *testing.T) {
	b := newBox(t)
	inbox := filepath.Join(b.root, paths.AuditInbox)
	if err := os.MkdirAll(inbox, 0o755); err != nil {
		t.Fatal(err)
	}
	take := func() (events []string) {
		t.Helper()
		files, err := filepath.Glob(filepath.Join(inbox, "*.json"))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			var e audit.Event
			data, err := os.ReadFile(f)
			if err == nil {
				err = json.Unmarshal(data, &e)
			}
			if err == nil {
				err = os.Remove(f)
			}
			if err != nil {
				t.Fatal(err)
			}
			name := e.Detail
			if e.Action == audit.Configuration {
				name = ""
			}
			events = append(events, string(e.Action)+" "+string(e.Result)+" "+e.User+" "+e.Proof+" "+name)
		}
		slices.Sort(events)
		return events
	}
	document := func(users string) {
		b.userData("redoubt:\n  hostname: registry.example.com\n  auth: {users: [" + users + "]}\n")
	}
	document(`{name: alice, passwordHash: "` + someHash + `"}, {name: bob, passwordHash: "` + someHash + `"}`)
	b.mustApply()
	if got, want := take(), []string{"configuration.apply ok root local "}; !slices.Equal(got, want) {
		t.Errorf("at first: %q, want %q", got, want)
	}
	b.mustApply()
	if got := take(); len(got) > 0 {
		t.Errorf("without a change: %q", got)
	}
	document(`{name: bob, passwordHash: "` + someHash + `"}, {name: carol, passwordHash: "` + someHash + `"}`)
	b.mustApply()
	if got, want := take(), []string{"configuration.apply ok root local ", "user.add ok root local carol", "user.remove ok root local alice"}; !slices.Equal(got, want) {
		t.Errorf("after a change: %q, want %q", got, want)
	}
}
