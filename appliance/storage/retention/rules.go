// Package retention decides which tags of a registry stay and which go: the rules of
// retention, as a pure function of tags and a time.
package retention

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/redoubt-registry/redoubt/appliance/access/acl"
	"github.com/redoubt-registry/redoubt/appliance/access/immutable"
)

// Rule keeps tags of some repositories. A tag is kept if all of its conditions hold; one
// without conditions keeps all tags that it is for.
type Rule struct {
	Repositories []string      `json:"repositories"`           // patterns
	Tags         []string      `json:"tags"`                   // patterns
	Keep         int           `json:"keep,omitempty"`         // among the most recent ones that it is for
	PushedWithin time.Duration `json:"pushedWithin,omitempty"` // it was pushed so long ago at most
	PulledWithin time.Duration `json:"pulledWithin,omitempty"` // it was pulled, or pushed, so long ago at most
	Protect      []string      `json:"protect,omitempty"`      // patterns of tags that stay, whatever a rule says
}

// Rules are all that decide.
type Rules struct {
	Enforce   bool             `json:"enforce"`
	Rules     []Rule           `json:"rules"`
	Immutable []immutable.Rule `json:"immutable,omitempty"` // their tags stay
}

// Tag is a tag of a repository.
type Tag struct {
	Name   string
	Digest digest.Digest
	Pushed time.Time
	Pulled time.Time // zero: not that anybody knows
}

// The rules that a Verdict may name instead of a number.
const (
	None      = -1 // no rule is for the tag
	Immutable = -2
	Belongs   = -3 // the tag names another image, and stays and goes with it
)

// Verdict is what becomes of a tag, and why.
type Verdict struct {
	Tag
	Kept bool
	Rule int // that keeps it, or the first that would have
	Why  string
}

// Policy is rules that can be asked.
type Policy struct {
	rules     []compiled
	immutable immutable.Rules
}

type compiled struct {
	Rule
	repositories acl.Patterns
}

// New makes a policy of rules. The error names the one that cannot be used.
func New(r Rules) (*Policy, error) {
	p := &Policy{}
	var err error
	if p.immutable, err = immutable.New(r.Immutable); err != nil {
		return nil, err
	}
	for i, rule := range r.Rules {
		for _, text := range rule.Repositories {
			if problem := acl.PatternProblem(text); problem != "" {
				return nil, fmt.Errorf("retention.rules[%d]: %q %s", i, text, problem)
			}
		}
		for _, text := range slices.Concat(rule.Tags, rule.Protect) {
			if problem := acl.TagPatternProblem(text); problem != "" {
				return nil, fmt.Errorf("retention.rules[%d]: %q %s", i, text, problem)
			}
		}
		p.rules = append(p.rules, compiled{rule, acl.Compile(rule.Repositories)})
	}
	return p, nil
}

// Covers tells whether any rule is for a repository.
func (p *Policy) Covers(repository string) bool {
	return slices.ContainsFunc(p.rules, func(r compiled) bool { return r.repositories.Match(repository) })
}

// naming matches a tag that names another image of the repository, as cosign and the
// specification's fallback for referrers do.
var naming = regexp.MustCompile(`^(sha256|sha512)-([0-9a-f]{64}|[0-9a-f]{128})(\.[a-z0-9]+)?$`)

// Names is the digest of the image that a tag names; empty: none.
func Names(tag string) digest.Digest {
	found := naming.FindStringSubmatch(tag)
	if found == nil {
		return ""
	}
	dgst := digest.NewDigestFromEncoded(digest.Algorithm(found[1]), found[2])
	if dgst.Validate() != nil {
		return ""
	}
	return dgst
}

// Decide says what becomes of the tags of a repository, in the order of their names. A
// tag is kept if one rule keeps it, if none is for it, if one protects it, or if it is
// immutable. since is from when on pulls are known: a pull before may have been.
func (p *Policy) Decide(repository string, tags []Tag, since, now time.Time) []Verdict {
	var rules []int
	for i, r := range p.rules {
		if r.repositories.Match(repository) {
			rules = append(rules, i)
		}
	}
	newest := slices.Clone(tags)
	slices.SortFunc(newest, func(a, b Tag) int { return cmp.Or(b.Pushed.Compare(a.Pushed), strings.Compare(b.Name, a.Name)) })
	verdicts := map[string]*Verdict{}
	for _, t := range newest {
		verdicts[t.Name] = p.standing(repository, rules, t)
	}
	for _, i := range rules {
		rank := 0
		for _, t := range newest {
			if Names(t.Name) != "" || !acl.MatchTag(p.rules[i].Tags, t.Name) {
				continue
			}
			rank++
			v := verdicts[t.Name]
			if v.Kept && v.Rule != None {
				continue
			}
			if kept, why := p.rules[i].keeps(t, rank, since, now); kept {
				v.Kept, v.Rule, v.Why = true, i, why
			} else if v.Rule == None {
				v.Kept, v.Rule, v.Why = false, i, why
			}
		}
	}
	p.follow(tags, verdicts)
	var out []Verdict
	for _, t := range newest {
		out = append(out, *verdicts[t.Name])
	}
	slices.SortFunc(out, func(a, b Verdict) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// standing is the verdict on a tag before any rule's conditions.
func (p *Policy) standing(repository string, rules []int, t Tag) *Verdict {
	if p.immutable.Holds(repository, t.Name) {
		return &Verdict{t, true, Immutable, "the tag is immutable"}
	}
	for _, i := range rules {
		if acl.MatchTag(p.rules[i].Protect, t.Name) {
			return &Verdict{t, true, i, "protected"}
		}
	}
	return &Verdict{t, true, None, "no rule is for it"}
}

// follow lets a tag that names another image stay and go with that.
func (p *Policy) follow(tags []Tag, verdicts map[string]*Verdict) {
	kept, gone := map[digest.Digest]bool{}, map[digest.Digest]bool{}
	for _, t := range tags {
		if Names(t.Name) == "" {
			kept[t.Digest] = kept[t.Digest] || verdicts[t.Name].Kept
			gone[t.Digest] = true
		}
	}
	for _, t := range tags {
		v, named := verdicts[t.Name], Names(t.Name)
		if named == "" || v.Rule != None {
			continue
		}
		v.Rule, v.Why = Belongs, "it belongs to "+string(named)
		v.Kept = kept[named] || !gone[named]
	}
}

// keeps tells whether the rule keeps a tag that it is for, and why, or why not. rank is
// 1 for the most recent one.
func (r compiled) keeps(t Tag, rank int, since, now time.Time) (bool, string) {
	var holds, fails []string
	judge := func(ok bool, text string) {
		if ok {
			holds = append(holds, text)
		} else {
			fails = append(fails, text)
		}
	}
	if r.Keep > 0 {
		judge(rank <= r.Keep, fmt.Sprintf("among the %d most recent", r.Keep))
	}
	if r.PushedWithin > 0 {
		judge(now.Sub(t.Pushed) <= r.PushedWithin, "pushed within "+days(r.PushedWithin))
	}
	if r.PulledWithin > 0 {
		last := t.Pulled
		if t.Pushed.After(last) {
			last = t.Pushed
		}
		switch {
		case now.Sub(last) > r.PulledWithin && now.Sub(since) < r.PulledWithin:
			holds = append(holds, "pulls are known for less than "+days(r.PulledWithin))
		default:
			judge(now.Sub(last) <= r.PulledWithin, "pulled within "+days(r.PulledWithin))
		}
	}
	switch {
	case len(fails) > 0:
		return false, "not " + strings.Join(fails, ", not ")
	case len(holds) == 0:
		return true, "the rule keeps all of these"
	}
	return true, strings.Join(holds, ", ")
}

// days is a duration in whole days where it is such.
func days(d time.Duration) string {
	if d%(24*time.Hour) == 0 {
		return fmt.Sprintf("%dd", d/(24*time.Hour))
	}
	return d.String()
}
