package units_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/redoubt-registry/redoubt/units"
)

// accounts are the users and groups of sysusers.d(5) that the image makes.
func accounts(t *testing.T) (users, groups []string) {
	t.Helper()
	data, err := os.ReadFile("../butane/files/redoubt.sysusers")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		switch f := strings.Fields(line); {
		case len(f) > 2 && f[0] == "u": // which makes the group of the same name
			users, groups = append(users, f[1]), append(groups, f[1])
		case len(f) > 2 && f[0] == "g":
			groups = append(groups, f[1])
		}
	}
	return users, groups
}

// TestAccountsAreDeclared holds that each user and group of a unit exists.
func TestAccountsAreDeclared(t *testing.T) {
	users, groups := accounts(t)
	for _, name := range named {
		if filepath.Ext(name) != ".service" {
			continue
		}
		set := assignments(t, name)
		for _, user := range set["User"] {
			if !slices.Contains(users, user) {
				t.Errorf("%s runs as %s, which butane/files/redoubt.sysusers does not declare", name, user)
			}
		}
		for _, group := range memberships(t, name) {
			if !slices.Contains(groups, group) {
				t.Errorf("%s runs in the group %s, which butane/files/redoubt.sysusers does not declare", name, group)
			}
		}
	}
}

// memberships are the groups that a unit names.
func memberships(t *testing.T, unit string) (groups []string) {
	t.Helper()
	set := assignments(t, unit)
	for _, list := range append(set["Group"], set["SupplementaryGroups"]...) {
		groups = append(groups, strings.Fields(list)...)
	}
	return groups
}

// TestTheCacheSharesOnlyItsSocket holds that Redis is not in the group that may
// read the registry's secrets, and that the registry reaches its socket.
func TestTheCacheSharesOnlyItsSocket(t *testing.T) {
	if got := memberships(t, units.Redis); !slices.Equal(got, []string{"redoubt-cache"}) {
		t.Errorf("Redis runs in the groups %q", got)
	}
	if got := memberships(t, units.Registry); !slices.Equal(got, []string{"redoubt-registry", "redoubt-cache"}) {
		t.Errorf("the registry runs in the groups %q", got)
	}
	for _, name := range named {
		if name != units.Redis && name != units.Registry && slices.Contains(memberships(t, name), "redoubt-cache") {
			t.Errorf("%s reaches the cache, and needs not", name)
		}
	}
}
