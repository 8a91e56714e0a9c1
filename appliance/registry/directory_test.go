//go:build integration

package registry

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/redoubt-registry/redoubt/test/slapd"
)

// Users of a directory log in beside those of the table, with the groups that the directory
// says; while it is dead those of the table go on, and the others hear why they cannot.
func TestDirectory(t *testing.T) {
	t.Parallel()
	s := slapd.New(t)
	m := newMachine(t)
	m.users(t, "carol")
	m.authMore = fmt.Sprintf(`, acl: [{users: [carol], repositories: ["**"], actions: [admin]}, {groups: [all], repositories: ["team/**"], actions: [push]}],
    ldap: {servers: [%q], starttls: true, cabundle: %s, binddn: "cn=search,dc=example,dc=com", userbase: "ou=people,dc=example,dc=com", userattribute: uid,
      groups: groupOfNames, groupbase: "ou=groups,dc=example,dc=com", timeout: 10s, cache: 1m}`, s.Plain, strconv.Quote(string(s.CA)))
	m.config(t, "info")
	check(t, os.WriteFile(m.path("redoubt.ldap"), []byte(`{"password":"find them"}`), 0o600))
	m.start(t, "CREDENTIALS_DIRECTORY="+m.dir)
	check(t, m.pushAs(t, "alice", "correct horse", "team/app"))
	check(t, m.pushAs(t, "carol", password, "other/app"))
	a := m.get(t, "/v2/_token", "Authorization", "Basic "+basic("alice", "correct horse"))
	var given struct{ Token string }
	check(t, json.Unmarshal([]byte(a.body), &given))
	if a := m.get(t, "/v2/", "Authorization", "Bearer "+given.Token); given.Token == "" || a.StatusCode != http.StatusOK {
		t.Errorf("by a token: %s %s", a.Status, a.body)
	}
	for what, err := range map[string]error{
		"where no rule is":     m.pushAs(t, "alice", "correct horse", "other/app"),
		"with another's":       m.pushAs(t, "alice", "battery staple", "team/app"),
		"without a password":   m.pushAs(t, "alice", "", "team/app"),
		"who is in no group":   m.pushAs(t, "bob", "battery staple", "team/app"),
		"a table's user's own": m.pushAs(t, "carol", "battery staple", "team/app"),
	} {
		if err == nil {
			t.Errorf("%s: it was pushed", what)
		}
	}
	s.Stop()
	check(t, m.pushAs(t, "carol", password, "other/app"))
	check(t, m.pushAs(t, "alice", "correct horse", "team/app")) // known, for a minute
	a = m.get(t, "/v2/", "Authorization", "Basic "+basic("bob", "new"))
	if a.StatusCode != http.StatusServiceUnavailable || !strings.Contains(a.body, "cannot ask the directory") {
		t.Errorf("%s %s", a.Status, a.body)
	}
	if n := m.metric(t, "redoubt_login_sources_down"); n != 1 {
		t.Errorf("%v directories are down", n)
	}
}
