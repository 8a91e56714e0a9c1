package registry

import (
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/redoubt-registry/redoubt/appliance/access/users"
)

// Users and rules of one configuration count together: a new user does not count by the
// rules before, and who was there stays in until then.
func TestUsersAndRulesTogether(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	transport := m.transport()
	defer transport.CloseIdleConnections()
	write := func(rules string, names ...string) {
		m.users(t, names...)
		data, err := os.ReadFile(m.path("htpasswd"))
		check(t, err)
		m.authMore = fmt.Sprintf(", users: %s%s", users.Digest(data), rules)
	}
	const catalog = "/v2/_catalog"
	status := func(user string) int { return m.by(t, transport, user, http.MethodGet, catalog, "").StatusCode }
	write("", "alice")
	m.config(t, "info")
	m.start(t)
	if status("alice") != http.StatusOK || status("bob") != http.StatusUnauthorized {
		t.Error("before")
	}
	write(`, acl: [{users: [alice], repositories: ["**"], actions: [admin]}]`, "alice", "bob")
	if alice, bob := status("alice"), status("bob"); alice != http.StatusOK || bob != http.StatusUnauthorized {
		t.Errorf("with the users of an apply that has not ended: alice %d, bob %d", alice, bob)
	}
	m.config(t, "info")
	m.reload(t)
	if a := m.by(t, transport, "bob", http.MethodGet, "/v2/team/app/tags/list", ""); a.StatusCode != http.StatusForbidden {
		t.Errorf("a new user under the new rules: %s", a.Status)
	}
	write("", "bob")
	m.config(t, "info")
	m.reload(t)
	if alice, bob := status("alice"), status("bob"); alice != http.StatusUnauthorized || bob != http.StatusOK {
		t.Errorf("with alice removed: alice %d, bob %d", alice, bob)
	}
	check(t, os.Remove(m.path("htpasswd")))
	if a := m.by(t, transport, "bob", http.MethodGet, catalog, ""); a.StatusCode != http.StatusServiceUnavailable || !strings.Contains(a.body, "users") {
		t.Errorf("without a table: %s %s", a.Status, a.body)
	}
}
