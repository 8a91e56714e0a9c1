package config

import (
	"slices"
	"strings"

	"github.com/redoubt-registry/redoubt/appliance/access/acl"
	"github.com/redoubt-registry/redoubt/appliance/access/robot"
)

// Rules are the rules of auth.acl as the registry decides by them.
func (a Auth) Rules() []acl.Rule {
	var rules []acl.Rule
	for _, r := range a.ACL {
		rules = append(rules, r.rule())
	}
	return rules
}

func (r Rule) rule() acl.Rule {
	out := acl.Rule{Users: r.Users, Groups: r.Groups, Anonymous: r.Anonymous, Repositories: r.Repositories}
	for _, a := range r.Actions {
		out.Actions = append(out.Actions, acl.Action(a))
	}
	return out
}

// Groups are those that auth.users has a user in.
func (a Auth) Groups(user string) []string {
	var groups []string
	for _, u := range a.Users {
		if u.Name == user {
			groups = append(groups, u.Groups...)
		}
	}
	return groups
}

// Who is whom a certificate logs in: its groups are its own and those of its user.
func (c ClientCertificate) Who(a Auth) acl.Who {
	return acl.Who{User: c.User, Groups: append(slices.Clone(c.Groups), a.Groups(c.User)...)}
}

// validateACL checks the rules, and warns of those that do nothing and of logins that may
// do nothing.
func (a Auth) validateACL(s spot) {
	for i, u := range a.Users {
		validateGroups(u.Groups, s.at("users").item(i).at("groups"))
	}
	for i, c := range a.ClientCertificates {
		validateGroups(c.Groups, s.at("clientCertificates").item(i).at("groups"))
	}
	rules := a.Rules()
	for i, r := range a.Robots {
		validateGroups(r.Groups, s.at("robots").item(i).at("groups"))
	}
	for i, r := range a.ACL {
		at := s.at("acl").item(i)
		r.validate(at)
		r.validateAnonymous(at, a.Anonymous)
		a.validatePeople(r, at)
		for j := range i {
			if rules[j].Covers(rules[i]) && len(r.Actions) > 0 && len(r.Repositories) > 0 {
				earlier := s.at("acl").item(j).path
				at.warn("never decides: %s (%s) allows all of this", earlier, s.origins.At(earlier))
				break
			}
		}
	}
	if len(a.ACL) > 0 && !s.at("acl").partly() {
		a.warnUnserved(s)
	}
}

func validateGroups(groups []string, s spot) {
	for i, g := range groups {
		if problem := nameProblem(g); problem != "" || g == acl.Everyone {
			s.item(i).fail("not a group's name: it must have no colon and no line break, no space at either end, no # first, and not be *")
		}
	}
}

// validate checks a rule by itself.
func (r Rule) validate(s spot) {
	if len(r.Users)+len(r.Groups) == 0 && !r.Anonymous && !s.wanting[s.path+".users"] && !s.wanting[s.path+".groups"] && !s.wanting[s.path+".anonymous"] {
		s.fail("is for nobody: it needs users, groups or anonymous: true; users: [\"*\"] is everybody with a login")
	}
	validateRepositories(r.Repositories, s)
	if len(r.Actions) == 0 {
		s.at("actions").fail("required: some of pull, push, delete and admin")
	}
	for i, a := range r.Actions {
		s.at("actions").item(i).oneOf(a, "pull", "push", "delete", "admin")
	}
}

// validateAnonymous holds a rule to what auth.anonymous says.
func (r Rule) validateAnonymous(s spot, anonymous string) {
	if !r.Anonymous {
		return
	}
	if anonymous != "pull" {
		s.at("anonymous").fail("needs auth.anonymous: pull: nothing goes without a login now")
	}
	if slices.ContainsFunc(r.Actions, func(a string) bool { return a != "pull" }) {
		s.at("actions").fail("must be pull alone where anonymous is true: everybody in the network is meant")
	}
}

// validatePeople warns of people in a rule that there are none of.
func (a Auth) validatePeople(r Rule, s spot) {
	for i, name := range r.Users {
		if name != acl.Everyone && !a.hasUser(name) {
			s.at("users").item(i).warn("matches nobody: no item of auth.users, auth.clientCertificates, auth.robots and auth.oidc.trust is this user")
		}
	}
	for i, name := range r.Groups {
		if !a.hasGroup(name) {
			s.at("groups").item(i).warn("matches nobody: no user, no client certificate, no robot and no token of auth.oidc is in this group")
		}
	}
}

// hasUser says whether somebody who logs in can be a user of this name.
func (a Auth) hasUser(name string) bool {
	return a.LDAP.inUse() || madeElsewhere(name) || slices.ContainsFunc(a.logins(), func(l way) bool { return l.who.User == name }) ||
		slices.ContainsFunc(a.OIDC.Trust, func(t Trust) bool { return t.makesUser(name) })
}

// hasGroup says whether somebody who logs in can be in a group of this name.
func (a Auth) hasGroup(name string) bool {
	return a.LDAP.inUse() || slices.ContainsFunc(a.logins(), func(l way) bool { return slices.Contains(l.who.Groups, name) }) ||
		slices.ContainsFunc(a.OIDC.Trust, func(t Trust) bool { return t.makesGroup(name) })
}

// madeElsewhere says whether a user can be a robot whose token was made on the machine.
func madeElsewhere(user string) bool {
	name, ok := strings.CutPrefix(user, robot.UserPrefix)
	return ok && robot.NameProblem(name) == ""
}

// way is one way to log in, and the list and the item that say so.
type way struct {
	who  acl.Who
	list string
	item int
}

func (a Auth) logins() []way {
	var all []way
	for i, u := range a.Users {
		all = append(all, way{acl.Who{User: u.Name, Groups: u.Groups}, "users", i})
	}
	for i, c := range a.ClientCertificates {
		all = append(all, way{c.Who(a), "clientCertificates", i})
	}
	for i, r := range a.Robots {
		all = append(all, way{acl.Who{User: robot.UserPrefix + r.Name, Groups: r.Groups}, "robots", i})
	}
	return all
}

// warnUnserved warns of logins that no rule is for.
func (a Auth) warnUnserved(s spot) {
	for _, l := range a.logins() {
		if !acl.Serves(a.Rules(), l.who) {
			s.at(l.list).item(l.item).warn("may do nothing: no rule of auth.acl is for this login")
		}
		if l.who.User == acl.Everyone {
			s.at(l.list).item(l.item).fail("the user's name must not be *, which is everybody in auth.acl: take another name")
		}
	}
	for i, t := range a.OIDC.Trust {
		if !slices.ContainsFunc(a.ACL, t.servedBy) {
			s.at("oidc").at("trust").item(i).warn("may do nothing: no rule of auth.acl is for such a login")
		}
	}
	if a.Anonymous == "pull" && !acl.Serves(a.Rules(), acl.Who{}) {
		s.at("anonymous").warn("allows nothing: no rule of auth.acl has anonymous: true")
	}
}
