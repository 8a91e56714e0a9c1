package ldap

import (
	"fmt"
	"slices"
	"strings"

	"github.com/go-ldap/ldap/v3"
)

// inChain is Active Directory's rule for members of groups that are members of groups.
const inChain = "1.2.840.113556.1.4.1941"

// groups are the names of the groups that a user is in, in one question at most.
func (d *Directory) groups(conn *ldap.Conn, user *ldap.Entry) ([]string, error) {
	switch d.Groups {
	case MemberOf:
		return names(user.GetAttributeValues("memberOf")), nil
	case ActiveDirectory:
		found, err := d.find(conn, "(member:"+inChain+":="+ldap.EscapeFilter(user.DN)+")", "cn")
		if err != nil {
			return nil, err
		}
		var out []string
		for _, e := range found {
			out = add(out, e.GetAttributeValue("cn"))
		}
		return out, nil
	case GroupOfNames:
		found, err := d.find(conn, "(|(objectClass=groupOfNames)(objectClass=groupOfUniqueNames))", "cn", "member", "uniqueMember")
		if err != nil {
			return nil, err
		}
		return nested(found, user.DN), nil
	}
	return nil, nil
}

func (d *Directory) find(conn *ldap.Conn, filter string, attributes ...string) ([]*ldap.Entry, error) {
	found, err := conn.Search(ldap.NewSearchRequest(d.GroupBase, ldap.ScopeWholeSubtree, ldap.NeverDerefAliases, maxGroups, d.seconds(), false, filter, attributes, nil))
	if ldap.IsErrorWithCode(err, ldap.LDAPResultSizeLimitExceeded) {
		return nil, fmt.Errorf("cannot search for groups: there are more than the directory or %d allow: take a narrower groupBase", maxGroups)
	}
	if err != nil {
		return nil, cause("search for groups", err)
	}
	return found.Entries, nil
}

// nested are the names of the groups that have a DN in them, or a group that has.
func nested(groups []*ldap.Entry, dn string) []string {
	above := map[string][]*ldap.Entry{} // of a member, the groups
	for _, g := range groups {
		for _, m := range append(g.GetAttributeValues("member"), g.GetAttributeValues("uniqueMember")...) {
			above[fold(m)] = append(above[fold(m)], g)
		}
	}
	var out []string
	seen := map[string]bool{}
	for next := []string{fold(dn)}; len(next) > 0; next = next[1:] {
		for _, g := range above[next[0]] {
			if at := fold(g.DN); !seen[at] {
				seen[at] = true
				out = add(out, g.GetAttributeValue("cn"))
				next = append(next, at)
			}
		}
	}
	return out
}

// names are the first parts of DNs.
func names(dns []string) []string {
	var out []string
	for _, text := range dns {
		dn, err := ldap.ParseDN(text)
		if err == nil && len(dn.RDNs) > 0 && len(dn.RDNs[0].Attributes) == 1 {
			out = add(out, dn.RDNs[0].Attributes[0].Value)
		}
	}
	return out
}

func add(names []string, name string) []string {
	if problem(name) || slices.Contains(names, name) {
		return names
	}
	return append(names, name)
}

// fold is a DN in one way of writing it.
func fold(text string) string {
	dn, err := ldap.ParseDN(text)
	if err != nil {
		return strings.ToLower(text)
	}
	return strings.ToLower(dn.String())
}
