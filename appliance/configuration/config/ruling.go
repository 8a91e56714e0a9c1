package config

import (
	"fmt"
	"slices"
	"strings"

	"github.com/redoubt-registry/redoubt/appliance/access/acl"
)

// Nobody stands for those without a login where a user is asked for.
const Nobody = "-"

// Ruling is whether somebody who logs in by one way may do something, and why.
type Ruling struct {
	Allowed bool
	Way     string // how he logs in, such as "with a password"
	Why     string // the rule that decides, with its file and line
}

// Check says whether a user may do something with a repository: one ruling for each way in
// which the user logs in, since certificates may have groups of their own. The user Nobody
// is somebody without a login. The error says what is wrong with the question.
func (a Auth) Check(origins Origins, user, action, repository string) ([]Ruling, error) {
	if !slices.Contains(acl.Actions(), acl.Action(action)) {
		return nil, fmt.Errorf("cannot check the action %q: it must be pull, push, delete or admin", action)
	}
	if problem := acl.PatternProblem(repository); problem != "" || strings.Contains(repository, "*") {
		return nil, fmt.Errorf("cannot check the repository %q: write the name of one, such as team/app", repository)
	}
	policy, err := acl.New(a.Anonymous == "pull", a.Rules())
	if err != nil {
		return nil, err
	}
	rule := func(who acl.Who, way string) Ruling {
		d := policy.Decide(who, acl.Action(action), repository)
		return Ruling{Allowed: d.Allowed, Way: way, Why: a.why(origins, who, acl.Action(action), d)}
	}
	if user == Nobody {
		return []Ruling{rule(acl.Who{}, "without a login")}, nil
	}
	var out []Ruling
	for _, l := range a.logins() {
		if l.who.User != user {
			continue
		}
		switch l.list {
		case "clientCertificates":
			out = append(out, rule(l.who, "with a certificate of "+a.ClientCertificates[l.item].Match))
		case "robots":
			r := rule(l.who, "with its token")
			out = append(out, a.Robots[l.item].cut(r, origins[fmt.Sprintf("auth.robots[%d]", l.item)], acl.Action(action), repository))
		default:
			out = append(out, rule(l.who, "with a password"))
		}
	}
	if out == nil && madeElsewhere(user) {
		out = append(out, rule(acl.Who{User: user}, "with a token of redoubt token create (without its groups, and what it is for)"))
	}
	for _, t := range a.OIDC.Trust {
		if t.makesUser(user) {
			out = append(out, rule(acl.Who{User: user, Groups: append(t.fixedGroups(), a.Groups(user)...)}, t.way()))
		}
	}
	if out == nil && a.LDAP.inUse() {
		out = append(out, rule(acl.Who{User: user}, "with a password of the directory (without the groups that it has)"))
	}
	if out == nil {
		return nil, fmt.Errorf("cannot check the user %q: no item of auth.users, auth.clientCertificates, auth.robots and auth.oidc.trust is this user; %s is somebody without a login", user, Nobody)
	}
	return out, nil
}

// why is a decision in words.
func (a Auth) why(origins Origins, who acl.Who, action acl.Action, d acl.Decision) string {
	at := func(path string) string { return fmt.Sprintf("%s (%s)", path, origins[path]) }
	switch {
	case d.Rule != acl.NoRule:
		return at(fmt.Sprintf("auth.acl[%d]", d.Rule))
	case who.User == "" && a.Anonymous != "pull":
		return at("auth.anonymous") + " is none"
	case who.User == "" && action != acl.Pull:
		return "without a login nothing but pull is ever allowed"
	case !d.Allowed:
		return "no rule of auth.acl allows it"
	case who.User == "":
		return at("auth.anonymous") + " is pull, and auth.acl has no rules"
	}
	return "auth.acl has no rules, so every login may do all"
}
