// Package quota bounds what repositories take together. The count is one object that
// machines share. Space is set aside in it before bytes are taken in, and counts as used
// when they are stored; a count of the storage, as redoubt gc makes it, makes it exact
// again. In between it is never less than what is stored.
package quota

import (
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v2"

	"github.com/redoubt-registry/redoubt/appliance/access/acl"
	"github.com/redoubt-registry/redoubt/appliance/storage/progress"
)

// Option is the option of the registry's access controller that has the rules.
// Distribution's own words have none for them.
const Option = "quotas"

// Rule limits what some repositories take together.
type Rule struct {
	Repositories []string // patterns, as those of an acl.Rule
	Size         int64    // bytes; a blob that several have counts once
}

// String names the rule by its patterns.
func (r Rule) String() string { return strings.Join(r.Repositories, ", ") }

// key is what the count of a rule is kept under: another size keeps it.
func (r Rule) key() string { return strings.Join(r.Repositories, " ") }

// Rules are rules in force. The zero value has none.
type Rules struct{ list []compiled }

type compiled struct {
	Rule
	repositories acl.Patterns
}

// Parse makes rules of the value of Option.
func Parse(option any) (Rules, error) {
	var rules []Rule
	data, err := yaml.Marshal(option)
	if err == nil {
		err = yaml.UnmarshalStrict(data, &rules)
	}
	if err != nil {
		return Rules{}, fmt.Errorf("cannot use %s: the rules cannot be read: %w", Option, err)
	}
	return New(rules)
}

// New makes rules. The error names the one that cannot be used.
func New(rules []Rule) (Rules, error) {
	var out Rules
	for i, r := range rules {
		for _, text := range r.Repositories {
			if problem := acl.PatternProblem(text); problem != "" {
				return Rules{}, fmt.Errorf("%s[%d]: %q %s", Option, i, text, problem)
			}
		}
		switch {
		case len(r.Repositories) == 0:
			return Rules{}, fmt.Errorf("%s[%d] has no repositories", Option, i)
		case r.Size <= 0:
			return Rules{}, fmt.Errorf("%s[%d]: the size must be more than 0", Option, i)
		case out.has(r.key()):
			return Rules{}, fmt.Errorf("%s[%d] is for the same repositories as one before it", Option, i)
		}
		out.list = append(out.list, compiled{r, acl.Compile(r.Repositories)})
	}
	return out, nil
}

// None tells whether there are no rules.
func (r Rules) None() bool { return len(r.list) == 0 }

func (r Rules) has(key string) bool {
	return slices.ContainsFunc(r.list, func(c compiled) bool { return c.key() == key })
}

// of are the rules that a repository falls under.
func (r Rules) of(repository string) (list []Rule) {
	for _, c := range r.list {
		if c.repositories.Match(repository) {
			list = append(list, c.Rule)
		}
	}
	return list
}

// Exceeded is a push that does not fit. All numbers are bytes.
type Exceeded struct {
	Rule
	Used, Asked int64
}

func (e *Exceeded) Error() string {
	return fmt.Sprintf("the quota of %s is %s: %s are used, and the push needs %s more; delete images and wait for the next redoubt gc, or let an administrator raise the quota",
		e.Rule, progress.Size(e.Size), progress.Size(e.Used), progress.Size(e.Asked))
}
