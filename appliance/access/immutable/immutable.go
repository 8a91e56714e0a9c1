// Package immutable decides which tags may be written once and then stay: the rules of
// immutable, as a pure function of a repository's name and a tag.
package immutable

import (
	"fmt"

	"github.com/redoubt-registry/redoubt/appliance/access/acl"
)

// Rule makes tags of some repositories immutable.
type Rule struct {
	Repositories []string // patterns, as those of an acl.Rule
	Tags         []string // patterns: * is any text
	Except       []string // patterns of tags that the rule leaves out
}

// Rules are rules in force. The zero value has none.
type Rules struct{ rules []compiled }

type compiled struct {
	Rule
	repositories acl.Patterns
}

// New makes rules. The error names the one that cannot be used.
func New(rules []Rule) (Rules, error) {
	var out Rules
	for i, r := range rules {
		for _, text := range r.Repositories {
			if problem := acl.PatternProblem(text); problem != "" {
				return Rules{}, fmt.Errorf("immutable[%d]: %q %s", i, text, problem)
			}
		}
		for _, tags := range [][]string{r.Tags, r.Except} {
			for _, text := range tags {
				if problem := acl.TagPatternProblem(text); problem != "" {
					return Rules{}, fmt.Errorf("immutable[%d]: %q %s", i, text, problem)
				}
			}
		}
		out.rules = append(out.rules, compiled{r, acl.Compile(r.Repositories)})
	}
	return out, nil
}

// Holds tells whether a tag of a repository may not be written again.
func (r Rules) Holds(repository, tag string) bool {
	for _, rule := range r.rules {
		if acl.MatchTag(rule.Tags, tag) && !acl.MatchTag(rule.Except, tag) && rule.repositories.Match(repository) {
			return true
		}
	}
	return false
}

// In tells whether a repository can have tags that stay.
func (r Rules) In(repository string) bool {
	for _, rule := range r.rules {
		if rule.repositories.Match(repository) {
			return true
		}
	}
	return false
}
