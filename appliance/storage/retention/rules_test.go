package retention

import (
	"bytes"
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/redoubt-registry/redoubt/appliance/access/immutable"
)

var update = flag.Bool("update", false, "write what is decided into testdata")

const day = 24 * time.Hour

var now = time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)

// The tags of every case: pushed 1, 3, 9, 27 … days ago, pulled never or lately.
func someTags() []Tag {
	var tags []Tag
	age := day
	for i, name := range []string{"v6", "main-6", "v5", "latest", "v4", "v3-rc1"} {
		t := Tag{Name: name, Digest: digest.FromString(name), Pushed: now.Add(-age)}
		if i%2 == 1 {
			t.Pulled = now.Add(-2 * day)
		}
		tags = append(tags, t)
		age *= 3
	}
	old := digest.FromString("v4")
	return append(tags, Tag{Name: "sha256-" + old.Encoded() + ".sig", Digest: digest.FromString("signature"), Pushed: now.Add(-80 * day)})
}

// someRules are rules with each condition, with two of them, with all, and side by side.
func someRules() map[string]Rules {
	all := []string{"*"}
	one := func(r Rule) Rules { return Rules{Rules: []Rule{r}} }
	out := map[string]Rules{
		"nothing":    {},
		"elsewhere":  one(Rule{Repositories: []string{"other/**"}, Tags: all, Keep: 1}),
		"everything": one(Rule{Repositories: []string{"**"}, Tags: all}),
		"protect":    one(Rule{Repositories: []string{"**"}, Tags: all, Keep: 1, Protect: []string{"v4", "*-rc*"}}),
		"immutable":  {Rules: []Rule{{Repositories: []string{"**"}, Tags: all, Keep: 1}}, Immutable: []immutable.Rule{{Repositories: []string{"team/*"}, Tags: []string{"v*"}, Except: []string{"*-rc*"}}}},
		"two rules":  {Rules: []Rule{{Repositories: []string{"team/*"}, Tags: []string{"v*"}, Keep: 2}, {Repositories: []string{"**"}, Tags: all, PulledWithin: 7 * day}}},
		"only some":  {Rules: []Rule{{Repositories: []string{"team/app"}, Tags: []string{"main-*", "*-rc*"}, PushedWithin: day}, {Repositories: []string{"team/app"}, Tags: []string{"v*"}, Keep: 1}}},
	}
	for _, keep := range []int{0, 1, 3} {
		for _, pushed := range []time.Duration{0, 3 * day, 30 * day} {
			for _, pulled := range []time.Duration{0, 7 * day, 40 * day} {
				for _, tags := range []string{"*", "v*"} {
					out[fmt.Sprintf("keep %d pushed %v pulled %v of %s", keep, days(pushed), days(pulled), tags)] =
						one(Rule{Repositories: []string{"team/**"}, Tags: []string{tags}, Keep: keep, PushedWithin: pushed, PulledWithin: pulled})
				}
			}
		}
	}
	return out
}

// What each of many rules decides on each of some tags is what testdata says.
func TestDecide(t *testing.T) {
	var b bytes.Buffer
	rows := 0
	for _, name := range slices.Sorted(maps.Keys(someRules())) {
		p, err := New(someRules()[name])
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&b, "%s\n", name)
		for _, v := range p.Decide("team/app", someTags(), now.Add(-365*day), now) {
			word := "goes"
			if v.Kept {
				word = "stays"
			}
			fmt.Fprintf(&b, "  %-5s %-12.12s %2d %.40s\n", word, v.Name, v.Rule, v.Why)
			rows++
		}
	}
	if rows < 300 {
		t.Errorf("%d rows", rows)
	}
	if *update {
		if err := os.WriteFile("testdata/decide.txt", b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile("testdata/decide.txt")
	if err != nil || !bytes.Equal(b.Bytes(), want) {
		t.Errorf("testdata/decide.txt is not what is decided (-update writes it): %v", err)
	}
}

// Every condition is judged again here, in other words.
func TestDecideByOtherWords(t *testing.T) {
	for name, rules := range someRules() {
		if !strings.HasPrefix(name, "keep") {
			continue
		}
		r := rules.Rules[0]
		p, _ := New(rules)
		for _, v := range p.Decide("team/app", someTags(), now.Add(-365*day), now) {
			if Names(v.Name) != "" {
				continue
			}
			newer := 0
			for _, other := range someTags() {
				if other.Pushed.After(v.Pushed) && (r.Tags[0] == "*" || other.Name[0] == 'v') {
					newer++
				}
			}
			want := r.Tags[0] == "v*" && v.Name[0] != 'v' ||
				(r.Keep == 0 || newer < r.Keep) &&
					(r.PushedWithin == 0 || !v.Pushed.Before(now.Add(-r.PushedWithin))) &&
					(r.PulledWithin == 0 || !v.Pushed.Before(now.Add(-r.PulledWithin)) || !v.Pulled.Before(now.Add(-r.PulledWithin)))
			if v.Kept != want {
				t.Errorf("%s: %s: %v %s", name, v.Name, v.Kept, v.Why)
			}
		}
	}
}

// A signature's tag stays and goes with its image, and no pull is missed that was before
// pulls were recorded.
func TestDecideSpares(t *testing.T) {
	p, err := New(Rules{Rules: []Rule{{Repositories: []string{"**"}, Tags: []string{"*"}, PulledWithin: 90 * day}}})
	if err != nil {
		t.Fatal(err)
	}
	image := digest.FromString("image")
	tags := []Tag{{Name: "old", Digest: image, Pushed: now.Add(-200 * day)}, {Name: "sha256-" + image.Encoded() + ".sig", Pushed: now}}
	for _, c := range []struct {
		since time.Time
		want  bool
	}{{now.Add(-100 * day), false}, {now.Add(-10 * day), true}, {now, true}} {
		for _, v := range p.Decide("a", tags, c.since, now) {
			if v.Kept != c.want {
				t.Errorf("pulls are known since %v: %s: %v %s", c.since, v.Name, v.Kept, v.Why)
			}
		}
	}
}

func TestNewRefuses(t *testing.T) {
	for _, r := range []Rule{{Repositories: []string{"A"}}, {Repositories: []string{"a"}, Tags: []string{"-"}}, {Repositories: []string{"a"}, Protect: []string{""}}} {
		if _, err := New(Rules{Rules: []Rule{r}}); err == nil || !strings.Contains(err.Error(), "retention.rules[0]") {
			t.Errorf("%v: %v", r, err)
		}
	}
}
