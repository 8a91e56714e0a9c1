package acl_test

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redoubt-registry/redoubt/appliance/access/acl"
)

var update = flag.Bool("update", false, "write the golden table")

// house is the rules of a house with a team, its CI, guests and a public part.
var house = []acl.Rule{
	{Users: []string{"root"}, Repositories: []string{"**"}, Actions: []acl.Action{acl.Admin}},
	{Groups: []string{"dev"}, Repositories: []string{"team/**"}, Actions: []acl.Action{acl.Push}},
	{Groups: []string{"leads"}, Repositories: []string{"team/**", "release/*"}, Actions: []acl.Action{acl.Delete, acl.Pull}},
	{Users: []string{"ci"}, Groups: []string{"builders"}, Repositories: []string{"team/*/build-*"}, Actions: []acl.Action{acl.Pull, acl.Push}},
	{Users: []string{acl.Everyone}, Repositories: []string{"shared/*"}, Actions: []acl.Action{acl.Pull}},
	{Anonymous: true, Repositories: []string{"public/**", "hello"}, Actions: []acl.Action{acl.Pull}},
	{Users: []string{"mallory"}, Repositories: []string{"**/drop"}, Actions: []acl.Action{acl.Delete}},
}

var people = []acl.Who{
	{},
	{User: "root"},
	{User: "alice", Groups: []string{"dev"}},
	{User: "bob", Groups: []string{"dev", "leads"}},
	{User: "carol", Groups: []string{"leads"}},
	{User: "ci"},
	{User: "ci-7", Groups: []string{"builders"}},
	{User: "dev"}, // a user's name is no group's
	{User: "mallory"},
	{User: "guest", Groups: []string{"Dev", ""}},
}

var repositories = []string{
	"hello", "hello/world", "public", "public/a", "public/a/b/c", "publica/a", "team", "team/app", "team/app/build-1",
	"team/app/build-", "team/build-1", "team/app/x/build-1", "team/app/rebuild-1", "team/drop", "teams/app", "steam/app", "a/team/app",
	"release/v1", "release/v1/rc", "release", "shared/base", "shared/base/x", "shared", "drop", "x/drop", "x/y/drop", "x/drop/y", "secret",
}

// Each row is one login and one repository: the rule that decides for each action.
func TestTheTableOfDecisions(t *testing.T) {
	var b strings.Builder
	rows := 0
	for _, open := range []bool{true, false} {
		p, err := acl.New(open, house)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&b, "anonymous=%v\n", open)
		for _, who := range people {
			for _, repository := range repositories {
				rows++
				fmt.Fprintf(&b, "%-9s %-14s %-20s", name(who), strings.Join(who.Groups, "+"), repository)
				for _, a := range acl.Actions() {
					d := p.Decide(who, a, repository)
					if d.Allowed {
						fmt.Fprintf(&b, " %s:%d", a, d.Rule)
					} else if d.Rule != acl.NoRule {
						t.Errorf("%v may not %s %s, by rule %d", who, a, repository, d.Rule)
					}
				}
				b.WriteString("\n")
			}
		}
	}
	got := strings.ReplaceAll(b.String(), " \n", "\n")
	got = regexp.MustCompile(` +\n`).ReplaceAllString(got, "\n")
	golden := filepath.Join("testdata", "table.txt")
	if *update {
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("the decisions are not those of %s; go test -update and look at the difference", golden)
	}
	if rows < 500 {
		t.Errorf("the table has %d rows", rows)
	}
}

func name(w acl.Who) string {
	if w.User == "" {
		return "-"
	}
	return w.User
}

func TestWithoutRules(t *testing.T) {
	for _, open := range []bool{false, true} {
		p, err := acl.New(open, nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range acl.Actions() {
			if !p.Decide(acl.Who{User: "alice"}, a, "x/y").Allowed {
				t.Errorf("a login may not %s", a)
			}
			if got, want := p.Decide(acl.Who{}, a, "x/y").Allowed, open && a == acl.Pull; got != want {
				t.Errorf("anonymous %v: %s without a login is %v", open, a, got)
			}
		}
	}
}

func TestPatterns(t *testing.T) {
	for _, c := range []struct {
		pattern  string
		yes, not []string
	}{
		{"app", []string{"app"}, []string{"apps", "a", "app/x", "x/app"}},
		{"*", []string{"a", "a-b.c"}, []string{"a/b"}},
		{"**", []string{"a", "a/b", "a/b/c"}, nil},
		{"a/*", []string{"a/b"}, []string{"a", "a/b/c", "ab", "aa/b"}},
		{"a/**", []string{"a/b", "a/b/c"}, []string{"a", "ab", "b/a/c"}},
		{"**/a", []string{"x/a", "x/y/a", "a/a"}, []string{"a", "x/a/y"}},
		{"a/**/b", []string{"a/x/b", "a/x/y/b", "a/b/b"}, []string{"a/b", "a/x", "a/x/b/c"}},
		{"**/**", []string{"a/b", "a/b/c"}, []string{"a"}},
		{"a/*/c/**", []string{"a/b/c/d", "a/b/c/d/e"}, []string{"a/b/c", "a/c/d", "a/b/b/c/d"}},
		{"team-*", []string{"team-a", "team-a-b"}, []string{"team", "team-a/b"}},
		{"*-x", []string{"a-x", "a-x-x"}, []string{"a-xx", "a-x/y"}},
		{"a*b*c", []string{"abc", "axbxc", "abcbc"}, []string{"ab", "acb", "abcd"}},
	} {
		if problem := acl.PatternProblem(c.pattern); problem != "" {
			t.Errorf("%s %s", c.pattern, problem)
		}
		p := one(t, c.pattern)
		for _, name := range c.yes {
			if !p.Decide(acl.Who{User: "u"}, acl.Pull, name).Allowed {
				t.Errorf("%s does not match %s", c.pattern, name)
			}
		}
		for _, name := range c.not {
			if p.Decide(acl.Who{User: "u"}, acl.Pull, name).Allowed {
				t.Errorf("%s matches %s", c.pattern, name)
			}
		}
	}
	for _, bad := range []string{"", "/", "/a", "a/", "a//b", "Team/**", "a b", "a**", "**a", "***", ".a", "a..b", "a/-b", "ü", "a:b", "a?", strings.Repeat("a", 256)} {
		if acl.PatternProblem(bad) == "" {
			t.Errorf("%q is taken for a pattern", bad)
		}
		if _, err := acl.New(false, []acl.Rule{{Users: []string{"u"}, Repositories: []string{bad}}}); err == nil {
			t.Errorf("a policy takes %q for a pattern", bad)
		}
	}
	if _, err := acl.New(false, []acl.Rule{{Actions: []acl.Action{"Pull"}}}); err == nil {
		t.Error("a policy takes an action that there is not")
	}
}

func one(t *testing.T, pattern string) *acl.Policy {
	t.Helper()
	p, err := acl.New(false, []acl.Rule{{Users: []string{"u"}, Repositories: []string{pattern}, Actions: []acl.Action{acl.Pull}}})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// A name is the client's to choose: none may cost more than its length says.
func TestMatchingIsBounded(t *testing.T) {
	p := one(t, strings.Repeat("**/", 60)+"a*a*a*a*a*a*b")
	name := strings.Repeat("a/", 120) + "aaaaaaaaaaaaaaa"
	began := time.Now()
	if p.Decide(acl.Who{User: "u"}, acl.Pull, name).Allowed {
		t.Error("it matches")
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("matching takes %s", took)
	}
}

// slow is the same decision, in other words: a regular expression for each pattern.
func slow(open bool, rules []acl.Rule, w acl.Who, a acl.Action, repository string) bool {
	if w.User == "" && !(open && a == acl.Pull) {
		return false
	}
	for _, r := range rules {
		people := r.Anonymous
		for _, u := range r.Users {
			people = people || w.User != "" && (u == "*" || u == w.User)
		}
		for _, g := range r.Groups {
			people = people || w.User != "" && slices.Contains(w.Groups, g)
		}
		given := map[acl.Action]bool{}
		for _, x := range r.Actions {
			given[x] = true
		}
		action := given[a] || given[acl.Admin] || a == acl.Pull && given[acl.Push]
		for _, pattern := range r.Repositories {
			text := regexp.QuoteMeta(pattern)
			text = strings.ReplaceAll(text, `\*\*`, `[^/]+(/[^/]+){0,}`)
			text = strings.ReplaceAll(text, `\*`, `[^/]*`)
			if people && action && regexp.MustCompile("^"+text+"$").MatchString(repository) {
				return true
			}
		}
	}
	return len(rules) == 0
}

func TestRandomRules(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	patterns := []string{"**", "*", "a", "a/*", "a/**", "a/b", "**/b", "a/**/c", "*/b/**", "b*", "a/b*/c", "*b"}
	names := []string{"a", "b", "c", "bb", "a/b", "a/c", "b/b", "a/b/c", "a/bb/c", "c/b/a", "a/c/c/c", "a/b/c/b"}
	users, groups := []string{"u", "v", "*"}, []string{"g", "h"}
	who := []acl.Who{{}, {User: "u"}, {User: "v", Groups: groups[:1]}, {User: "w", Groups: groups}, {User: "x"}}
	rule := func() acl.Rule {
		return acl.Rule{
			Users: some(random, users), Groups: some(random, groups), Anonymous: random.IntN(5) == 0,
			Repositories: some(random, patterns), Actions: some(random, acl.Actions()),
		}
	}
	for range 300 {
		rules := []acl.Rule{rule(), rule(), rule()}[:1+random.IntN(3)]
		open := random.IntN(2) == 0
		p, err := acl.New(open, rules)
		if err != nil {
			t.Fatal(err)
		}
		first, err := acl.New(open, rules[:1])
		if err != nil {
			t.Fatal(err)
		}
		other := rule()
		alone, err := acl.New(open, []acl.Rule{other})
		if err != nil {
			t.Fatal(err)
		}
		for _, w := range who {
			for _, a := range acl.Actions() {
				for _, n := range names {
					got := p.Decide(w, a, n)
					if got.Allowed != slow(open, rules, w, a, n) {
						t.Fatalf("%+v: %v %s %s: %v", rules, w, a, n, got)
					}
					if first.Decide(w, a, n).Allowed && !got.Allowed {
						t.Fatalf("%+v: a further rule takes away %v %s %s", rules, w, a, n)
					}
					if rules[0].Covers(other) && alone.Decide(w, a, n).Allowed && !first.Decide(w, a, n).Allowed {
						t.Fatalf("%+v does not cover %+v: %v %s %s", rules[0], other, w, a, n)
					}
					if got.Allowed && w.User != "" && !acl.Serves(rules, w) {
						t.Fatalf("%+v serve %v", rules, w)
					}
				}
			}
		}
	}
}

// some is a random part of a list.
func some[T any](random *rand.Rand, list []T) []T {
	var out []T
	for _, item := range list {
		if random.IntN(3) == 0 {
			out = append(out, item)
		}
	}
	return out
}

func TestCovers(t *testing.T) {
	pull := []acl.Action{acl.Pull}
	wide := acl.Rule{Users: []string{"*"}, Repositories: []string{"team/**"}, Actions: []acl.Action{acl.Push}}
	for _, c := range []struct {
		rule acl.Rule
		want bool
	}{
		{acl.Rule{Users: []string{"u"}, Repositories: []string{"team/*", "team/a"}, Actions: pull}, true},
		{acl.Rule{Groups: []string{"g"}, Repositories: []string{"team/**"}, Actions: pull}, true},
		{acl.Rule{Users: []string{"u"}, Repositories: []string{"team/a", "b"}, Actions: pull}, false},
		{acl.Rule{Users: []string{"u"}, Repositories: []string{"team/a"}, Actions: []acl.Action{acl.Delete}}, false},
		{acl.Rule{Anonymous: true, Repositories: []string{"team/a"}, Actions: pull}, false},
		{acl.Rule{Users: []string{"u"}, Repositories: []string{"team*/a"}, Actions: pull}, false},
	} {
		if got := wide.Covers(c.rule); got != c.want {
			t.Errorf("%+v: %v", c.rule, got)
		}
	}
}

func BenchmarkDecide(b *testing.B) {
	p, err := acl.New(true, house)
	if err != nil {
		b.Fatal(err)
	}
	who := people[len(people)-1]
	for b.Loop() {
		p.Decide(who, acl.Pull, "team/app/nothing")
	}
}
