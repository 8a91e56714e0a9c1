package ldap

import (
	"slices"
	"testing"

	"github.com/go-ldap/ldap/v3"
)

func TestNestedGroups(t *testing.T) {
	group := func(cn string, members ...string) *ldap.Entry {
		return ldap.NewEntry("cn="+cn+",dc=x", map[string][]string{"cn": {cn}, "member": members})
	}
	groups := []*ldap.Entry{
		group("dev", "UID=Alice, DC=X", "cn=staff,dc=x"), group("staff", "cn=dev,dc=x"), group("all", "cn=staff,dc=x"),
		group("others", "uid=bob,dc=x"), group("*", "uid=alice,dc=x"), group("self", "cn=self,dc=x"), group("broken", "no dn"),
	}
	if got := nested(groups, "uid=alice,dc=x"); !slices.Equal(got, []string{"dev", "staff", "all"}) {
		t.Errorf("%q", got)
	}
}

func TestNames(t *testing.T) {
	got := names([]string{"CN=Dev Team,OU=x,DC=y", "cn=dev,dc=x", "cn=dev,dc=z", "cn=a+sn=b,dc=x", "no dn", "", `cn=a\2Cb,dc=x`, "cn=*,dc=x"})
	if !slices.Equal(got, []string{"Dev Team", "dev", "a,b"}) {
		t.Errorf("%q", got)
	}
}

// Whatever a client calls itself, the filter finds one user's name and nothing else.
func FuzzFilter(f *testing.F) {
	d := &Directory{Settings: Settings{UserAttribute: "uid", UserFilter: "(objectClass=person)"}}
	f.Add("alice)(uid=*")
	f.Add("*")
	f.Add("\xff\\")
	f.Fuzz(func(t *testing.T, name string) {
		packet, err := ldap.CompileFilter(d.filter(name))
		if err != nil {
			t.Fatalf("%q: %v", name, err)
		}
		if len(packet.Children) != 2 || packet.Children[1].Tag != ldap.FilterEqualityMatch || packet.Children[1].Children[1].Data.String() != name {
			t.Errorf("%q is another filter: %s", name, d.filter(name))
		}
	})
}

func FuzzNames(f *testing.F) {
	f.Add("CN=Dev,OU=x")
	f.Fuzz(func(t *testing.T, dn string) {
		for _, n := range names([]string{dn}) {
			if problem(n) {
				t.Errorf("%q gives %q", dn, n)
			}
		}
		fold(dn)
	})
}
