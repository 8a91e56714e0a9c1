// Package acl decides who may do what with which repository: the rules of auth.acl, as a
// pure function of a login, an action and a repository's name.
package acl

import (
	"fmt"
	"slices"
	"strings"
)

// Action is what a login wants to do with a repository.
type Action string

// The actions. Push includes Pull, since every client looks at what is there before it
// pushes; Admin includes all the others.
const (
	Pull   Action = "pull"
	Push   Action = "push"
	Delete Action = "delete"
	Admin  Action = "admin"
)

// Actions are all there are.
func Actions() []Action { return []Action{Pull, Push, Delete, Admin} }

// gives says whether who is allowed a may also do b.
func (a Action) gives(b Action) bool {
	return a == b || a == Admin || a == Push && b == Pull
}

// Everyone stands among the users of a rule for all who have a login.
const Everyone = "*"

// Rule allows some people some actions on some repositories.
type Rule struct {
	Users     []string
	Groups    []string
	Anonymous bool // for all people, with a login or without
	// Repositories are patterns: * is one part of a name or some of its letters, ** is one
	// part or more.
	Repositories []string
	Actions      []Action
}

// isFor says whether the rule is for one login.
func (r Rule) isFor(w Who) bool {
	switch {
	case r.Anonymous:
		return true
	case w.User == "":
		return false
	}
	return slices.Contains(r.Users, Everyone) || slices.Contains(r.Users, w.User) ||
		slices.ContainsFunc(w.Groups, func(g string) bool { return slices.Contains(r.Groups, g) })
}

func (r Rule) gives(a Action) bool {
	return slices.ContainsFunc(r.Actions, func(given Action) bool { return given.gives(a) })
}

// Who is a login. The zero value is somebody without one.
type Who struct {
	User   string
	Groups []string
}

// Policy is rules in force. Without rules every login may do all, and who has none may
// pull where that is allowed at all; with rules nobody may do what no rule allows.
type Policy struct {
	anonymous bool
	rules     []compiled
}

type compiled struct {
	Rule
	patterns []pattern
}

// New makes a policy. anonymous says whether anything is allowed without a login, which is
// to pull and nothing else. The error names the rule that cannot be used.
func New(anonymous bool, rules []Rule) (*Policy, error) {
	p := &Policy{anonymous: anonymous}
	for i, r := range rules {
		c := compiled{Rule: r}
		for _, text := range r.Repositories {
			if problem := PatternProblem(text); problem != "" {
				return nil, fmt.Errorf("acl[%d]: %q %s", i, text, problem)
			}
			c.patterns = append(c.patterns, compile(text))
		}
		for _, a := range r.Actions {
			if !slices.Contains(Actions(), a) {
				return nil, fmt.Errorf("acl[%d]: %q is no action", i, a)
			}
		}
		p.rules = append(p.rules, c)
	}
	return p, nil
}

// Limits says whether there is a login that may not do all: whether there are rules.
func (p *Policy) Limits() bool { return len(p.rules) > 0 }

// Anonymous says whether anything is allowed without a login.
func (p *Policy) Anonymous() bool { return p.anonymous }

// NoRule stands for the number of a rule where none decided.
const NoRule = -1

// Decision is what a policy says, and by which of its rules, counted from 0.
type Decision struct {
	Allowed bool
	Rule    int
}

// Decide says whether a login may do something with a repository. The first rule that
// allows it decides.
func (p *Policy) Decide(w Who, a Action, repository string) Decision {
	no := Decision{Rule: NoRule}
	if w.User == "" && (!p.anonymous || a != Pull) {
		return no
	}
	if len(p.rules) == 0 {
		return Decision{Allowed: true, Rule: NoRule}
	}
	parts := strings.Split(repository, "/")
	for i, r := range p.rules {
		if r.isFor(w) && r.gives(a) && slices.ContainsFunc(r.patterns, func(p pattern) bool { return p.match(parts) }) {
			return Decision{Allowed: true, Rule: i}
		}
	}
	return no
}

// Serves says whether any rule is for one login.
func Serves(rules []Rule, w Who) bool {
	return slices.ContainsFunc(rules, func(r Rule) bool { return r.isFor(w) })
}

// Covers says whether a rule allows all that another one does. It may say no although it
// does, but not the other way round.
func (r Rule) Covers(other Rule) bool {
	return r.coversPeople(other) &&
		all(other.Actions, r.gives) &&
		all(other.Repositories, func(b string) bool {
			return slices.ContainsFunc(r.Repositories, func(a string) bool { return covers(a, b) })
		})
}

func (r Rule) coversPeople(other Rule) bool {
	switch {
	case r.Anonymous:
		return true
	case other.Anonymous:
		return false
	case slices.Contains(r.Users, Everyone):
		return true
	}
	return all(other.Users, func(u string) bool { return slices.Contains(r.Users, u) }) &&
		all(other.Groups, func(g string) bool { return slices.Contains(r.Groups, g) })
}

func all[T any](items []T, holds func(T) bool) bool {
	return !slices.ContainsFunc(items, func(item T) bool { return !holds(item) })
}
