// Package conformance holds what the conformance suite of the OCI distribution
// specification says of the registry, on a directory and on a bucket: each of its
// cases passes, or is in failing.txt with the reason.
package conformance

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// tally is how many cases of one suite's run bear a name, and how they ended. The
// suite gives a name to more than one case.
type tally struct {
	cases  int
	passed int
	why    string // what the suite says of the first that did not pass
}

// results are those of one run, by the name of the case.
type results map[string]tally

// total is over all names.
func (r results) total() (cases, passed int) {
	for _, t := range r {
		cases, passed = cases+t.cases, passed+t.passed
	}
	return cases, passed
}

// place is a name of cases, on one store.
type place struct{ store, name string }

// entry says how many cases of a place do not pass, and the reason.
type entry struct {
	count  int
	reason string
}

// count is how many of a store's cases there are, and how many pass.
type count struct{ cases, passed int }

// list is failing.txt.
type list struct {
	head    string // its comment
	counts  map[string]count
	entries map[place]entry
	reasons []string // in their order
}

// noReason stands over cases that nobody has looked into yet: not for long.
const noReason = "no reason is given yet"

var (
	countLine = regexp.MustCompile(`^(\S+): (\d+) of (\d+) cases pass$`)
	caseLine  = regexp.MustCompile(`^  (\S.*?)(?: ×(\d+))?(?: \[(\w+)\])?$`)
)

// parse reads a list. A reason stands over its cases, which are indented; one that
// is not for all of the stores says its store.
func parse(text string, stores []string) (list, error) {
	l := list{counts: map[string]count{}, entries: map[place]entry{}}
	reason := ""
	for i, line := range strings.Split(strings.TrimSuffix(text, "\n"), "\n") {
		switch {
		case strings.HasPrefix(line, "#"):
			l.head += line + "\n"
		case line == "":
		case countLine.MatchString(line):
			m := countLine.FindStringSubmatch(line)
			l.counts[m[1]] = count{passed: number(m[2]), cases: number(m[3])}
		case strings.TrimLeft(line, " \t") == line:
			reason = line
			l.reasons = append(l.reasons, line)
		case caseLine.MatchString(line) && reason != "":
			if err := l.add(line, reason, stores); err != nil {
				return list{}, fmt.Errorf("line %d: %w", i+1, err)
			}
		default:
			return list{}, fmt.Errorf("line %d: must be a reason, or a case below one, indented by two spaces", i+1)
		}
	}
	return l, nil
}

// add takes a case's line.
func (l *list) add(line, reason string, stores []string) error {
	m := caseLine.FindStringSubmatch(line)
	on := stores
	if m[3] != "" {
		if on = []string{m[3]}; !slices.Contains(stores, m[3]) {
			return fmt.Errorf("there is no store %q: they are %s", m[3], strings.Join(stores, " and "))
		}
	}
	for _, store := range on {
		at := place{store, m[1]}
		if _, twice := l.entries[at]; twice {
			return fmt.Errorf("%q is listed twice", m[1])
		}
		l.entries[at] = entry{max(1, number(m[2])), reason}
	}
	return nil
}

func number(text string) int {
	n, _ := strconv.Atoi(text) // digits, or nothing: 0
	return n
}

// update is the list that is exact for what was found: cases that fail already keep
// their reason.
func (l list) update(found map[string]results) list {
	next := list{head: l.head, counts: map[string]count{}, entries: map[place]entry{}, reasons: l.reasons}
	for store, r := range found {
		cases, passed := r.total()
		next.counts[store] = count{cases, passed}
		for name, t := range r {
			if t.passed == t.cases {
				continue
			}
			at := place{store, name}
			next.entries[at] = entry{t.cases - t.passed, l.reason(at)}
		}
	}
	if !slices.Contains(next.reasons, noReason) {
		next.reasons = append(slices.Clip(next.reasons), noReason)
	}
	return next
}

// reason is why the cases of a place do not pass, by the list: on its store, or else
// on another one.
func (l list) reason(at place) string {
	if e, ok := l.entries[at]; ok {
		return e.reason
	}
	for _, other := range slices.SortedFunc(maps.Keys(l.entries), compare) {
		if other.name == at.name {
			return l.entries[other].reason
		}
	}
	return noReason
}

// problems say which lines to add to the list and which to remove, until it is exact.
func (l list) problems(found map[string]results) (problems []string) {
	exact := l.update(found)
	have, want := strings.Split(l.String(), "\n"), strings.Split(exact.String(), "\n")
	for _, line := range have {
		if !slices.Contains(want, line) {
			problems = append(problems, fmt.Sprintf("remove %q", line))
		}
	}
	for _, line := range want {
		switch {
		case line == noReason:
		case !slices.Contains(have, line):
			problems = append(problems, fmt.Sprintf("add %q%s", line, why(line, found)))
		case exact.unexplained(line):
			problems = append(problems, fmt.Sprintf("say the reason of %q%s", line, why(line, found)))
		}
	}
	return problems
}

// unexplained says whether a line is of cases without a reason.
func (l list) unexplained(line string) bool {
	m := caseLine.FindStringSubmatch(line)
	for at, e := range l.entries {
		if m != nil && at.name == m[1] && (m[3] == "" || m[3] == at.store) && e.reason == noReason {
			return true
		}
	}
	return false
}

// why is what the suite says of the cases of a line.
func why(line string, found map[string]results) string {
	m := caseLine.FindStringSubmatch(line)
	for _, store := range slices.Sorted(maps.Keys(found)) {
		if m != nil && (m[3] == "" || m[3] == store) && found[store][m[1]].why != "" {
			return ": " + found[store][m[1]].why
		}
	}
	return ""
}

func (c count) line(store string) string {
	return fmt.Sprintf("%s: %d of %d cases pass", store, c.passed, c.cases)
}

// line is the entry's in a list, for its store alone.
func (e entry) line(at place) string { return e.text(at.name) + " [" + at.store + "]" }

func (e entry) text(name string) string {
	if e.count > 1 {
		return fmt.Sprintf("  %s ×%d", name, e.count)
	}
	return "  " + name
}

func compare(a, b place) int {
	if c := strings.Compare(a.name, b.name); c != 0 {
		return c
	}
	return strings.Compare(a.store, b.store)
}

// String is the list as it is kept: a case that is the same on all stores is one line.
func (l list) String() string {
	b := strings.Builder{}
	b.WriteString(l.head)
	stores := slices.Sorted(maps.Keys(l.counts))
	for _, store := range stores {
		b.WriteString(l.counts[store].line(store) + "\n")
	}
	for _, reason := range l.reasons {
		lines := []string{}
		for _, at := range slices.SortedFunc(maps.Keys(l.entries), compare) {
			e := l.entries[at]
			same := !slices.ContainsFunc(stores, func(s string) bool { return l.entries[place{s, at.name}] != e })
			switch {
			case e.reason != reason:
			case !same:
				lines = append(lines, e.line(at))
			case at.store == stores[0]:
				lines = append(lines, e.text(at.name))
			}
		}
		if len(lines) > 0 {
			b.WriteString("\n" + reason + "\n" + strings.Join(lines, "\n") + "\n")
		}
	}
	return b.String()
}
