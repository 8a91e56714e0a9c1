//go:build integration

package appliance_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/bcrypt"
)

const ownUsers = "etc/redoubt/config.d/users.yaml"

// logins are the names in the htpasswd of the box, in their order.
func (b *box) logins() string {
	b.Helper()
	var names []string
	for line := range strings.Lines(b.get("run/redoubt/htpasswd")) {
		name, _, _ := strings.Cut(line, ":")
		names = append(names, name)
	}
	return strings.Join(names, " ")
}

// TestUsers adds, changes and removes users beside those of the user-data, and of a
// file of the operator.
func TestUsers(t *testing.T) {
	b := newBox(t)
	b.userData("redoubt:\n  hostname: registry.example.com\n  auth:\n    users: [{name: nora, password: correct horse}]\n    htpasswd: |\n      otto:" + someHash + "\n")
	b.put("etc/redoubt/config.d/20-users.yaml", "auth: {users: [{name: paul, passwordHash: \""+someHash+"\"}]}\n")
	b.mustApply()
	ctx := t.Context()
	for _, step := range []struct {
		do   func() error
		want string
	}{
		{func() error { return b.machine().AddUser(ctx, "david", "first password") }, "david nora otto paul"},
		{func() error { return b.machine().AddUser(ctx, "nora", "another password") }, "david nora otto paul"},
		{func() error { return b.machine().RemoveUser(ctx, "otto") }, "david nora paul"},
		{func() error { return b.machine().RemoveUser(ctx, "paul") }, "david nora"},
		{func() error { return b.machine().AddUser(ctx, "paul", "back again") }, "david nora paul"},
		{func() error { return b.machine().RemoveUser(ctx, "david") }, "nora paul"},
	} {
		if err := step.do(); err != nil {
			t.Fatalf("%v\n%s", err, &b.out)
		}
		if got := b.logins(); got != step.want {
			t.Errorf("logins %q, want %q\n%s", got, step.want, b.get(ownUsers))
		}
	}
	for line := range strings.Lines(b.get("run/redoubt/htpasswd")) {
		name, hash, _ := strings.Cut(strings.TrimSpace(line), ":")
		cost, err := bcrypt.Cost([]byte(hash))
		want := map[string]string{"nora": "another password", "paul": "back again"}[name]
		if err != nil || cost < 10 || bcrypt.CompareHashAndPassword([]byte(hash), []byte(want)) != nil {
			t.Errorf("%s: cost %d, %v", name, cost, err)
		}
	}
	info, err := os.Stat(filepath.Join(b.root, ownUsers))
	if err != nil || info.Mode().Perm() != 0o600 || strings.Contains(b.get(ownUsers), "another password") {
		t.Errorf("%v, %v\n%s", info, err, b.get(ownUsers))
	}
	b.out.Reset()
	if err := b.machine().ListUsers(); err != nil {
		t.Fatal(err)
	}
	if got := b.out.String(); !strings.Contains(got, "nora  /etc/redoubt/config.d/users.yaml:") || !strings.Contains(got, "paul  /etc/redoubt/config.d/users.yaml:") || strings.Contains(got, "otto") {
		t.Errorf("list:\n%s", got)
	}
	b.userData("redoubt: {hostname: registry.example.com}\n")
	for _, name := range []string{"nora", "paul"} {
		if err := b.machine().RemoveUser(ctx, name); err != nil {
			t.Fatal(err)
		}
	}
	if got := b.logins(); got != "" {
		t.Errorf("logins at the end: %q", got)
	}
}

// TestUsersRefused holds that what cannot be done changes nothing and says why.
func TestUsersRefused(t *testing.T) {
	b := newBox(t)
	b.userData("redoubt:\n  hostname: registry.example.com\n  auth: {users: [{name: nora, passwordHash: \"" + someHash + "\"}]}\n")
	b.mustApply()
	ctx := t.Context()
	add := func(name, password string) func() error {
		return func() error { return b.machine().AddUser(ctx, name, password) }
	}
	remove := func(name string) func() error { return func() error { return b.machine().RemoveUser(ctx, name) } }
	for _, tc := range []struct {
		file, text string
		do         func() error
		want       string
	}{
		{"", "", add("a:b", "secretvalue"), "must have no colon"},
		{"", "", add("alice", ""), "it is empty"},
		{"", "", add("alice", strings.Repeat("a", 73)), "at most 72 bytes"},
		{"", "", remove("mallory"), "there is no such user"},
		{"etc/redoubt/config.d/zz.yaml", "auth: {users: [{name: zoe, passwordHash: \"" + someHash + "\"}]}\n", add("zoe", "secretvalue"), "/etc/redoubt/config.d/zz.yaml:1 has another word"},
		{"etc/redoubt/config.d/zz.yaml", "auth: {users: [{name: zoe, passwordHash: \"" + someHash + "\"}]}\n", remove("zoe"), "/etc/redoubt/config.d/zz.yaml:1 adds this user"},
		{"etc/redoubt/config.yaml", "nods: 1\n", add("alice", "secretvalue"), "nods: unknown key"},
		{ownUsers, "auth: {users: [{name: a, password: secretvalue}]}\n", add("alice", "secretvalue"), "it has more than users"},
	} {
		if tc.file != "" {
			b.put(tc.file, tc.text)
		}
		before := b.snapshot()
		err := tc.do()
		if err == nil || !strings.Contains(err.Error(), tc.want) || strings.Contains(err.Error(), "secretvalue") {
			t.Errorf("got %v, want %s", err, tc.want)
		}
		if b.snapshot() != before {
			t.Errorf("%s: something was changed", tc.want)
		}
		if tc.file != "" {
			if err := os.Remove(filepath.Join(b.root, tc.file)); err != nil {
				t.Fatal(err)
			}
		}
	}
}
