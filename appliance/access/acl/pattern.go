package acl

import (
	"regexp"
	"slices"
	"strings"
)

const (
	deep       = "**" // in a pattern: one part of a name or more
	maxPattern = 255  // letters, as of a name
)

var (
	// namePart is the distribution specification's, "Pulling manifests".
	namePart = regexp.MustCompile(`^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*$`)
	wildPart = regexp.MustCompile(`^[a-z0-9._*-]+$`)
)

// PatternProblem says why no repository can match a pattern, or what it has that none may
// have. It is empty for one that can be used.
func PatternProblem(text string) string {
	switch {
	case text == "":
		return "must be a pattern, such as team/** for all repositories below team"
	case len(text) > maxPattern:
		return "is too long: a repository's name has at most 255 letters"
	}
	for part := range strings.SplitSeq(text, "/") {
		switch {
		case part == deep:
		case part == "":
			return "must not begin or end with / or have two of them side by side: no repository's name does"
		case strings.Contains(part, deep):
			return "has ** beside other letters: ** stands between slashes, for one part of a name or more"
		case strings.ToLower(part) != part:
			return "has capital letters, which no repository's name has"
		case !strings.Contains(part, "*") && !namePart.MatchString(part), !wildPart.MatchString(part):
			return "can match no repository: the parts of a name have a-z, 0-9 and single separators . _ __ - between them; * and ** stand for others"
		}
	}
	return ""
}

// more stands in a compiled pattern for any number of parts, none included.
const more = ""

// pattern is the parts of a pattern; ** has become * and more.
type pattern []string

func compile(text string) pattern {
	var p pattern
	for part := range strings.SplitSeq(text, "/") {
		if part == deep {
			p = append(p, "*", more)
			continue
		}
		p = append(p, part)
	}
	return p
}

// match compares the parts of a name. It goes back to the last more alone, so its time is
// bounded by the product of the lengths.
func (p pattern) match(parts []string) bool {
	at, from, mark := 0, -1, 0 // in p; behind the last more, and where parts were there
	for i := 0; i < len(parts); {
		switch {
		case at < len(p) && p[at] == more:
			at++
			from, mark = at, i
		case at < len(p) && matchPart(p[at], parts[i]):
			at++
			i++
		case from >= 0:
			mark++
			at, i = from, mark
		default:
			return false
		}
	}
	for at < len(p) && p[at] == more {
		at++
	}
	return at == len(p)
}

// matchPart compares one part of a name with one of a pattern, in which * is any text.
func matchPart(p, s string) bool {
	head, rest, wild := strings.Cut(p, "*")
	if !wild {
		return p == s
	}
	s, ok := strings.CutPrefix(s, head)
	for ok {
		var middle string
		if middle, p, wild = strings.Cut(rest, "*"); !wild {
			return strings.HasSuffix(s, middle)
		}
		rest = p
		_, s, ok = strings.Cut(s, middle)
	}
	return false
}

// covers says whether all names that b matches are matched by a, as far as it can tell.
func covers(a, b string) bool {
	head, below := strings.CutSuffix(a, deep)
	return a == b || below && !strings.Contains(head, "*") && strings.HasPrefix(b, head)
}

// Patterns are patterns of repositories' names.
type Patterns []pattern

// Compile makes patterns of texts that PatternProblem finds nothing wrong with.
func Compile(texts []string) Patterns {
	var all Patterns
	for _, text := range texts {
		all = append(all, compile(text))
	}
	return all
}

// Match tells whether one of the patterns matches a repository's name.
func (p Patterns) Match(repository string) bool {
	parts := strings.Split(repository, "/")
	return slices.ContainsFunc(p, func(p pattern) bool { return p.match(parts) })
}

// wildTag is what a pattern of tags may have.
var wildTag = regexp.MustCompile(`^[A-Za-z0-9_*][A-Za-z0-9._*-]{0,127}$`)

// TagPatternProblem says why no tag can match a pattern. It is empty for one that can be
// used.
func TagPatternProblem(text string) string {
	switch {
	case text == "":
		return "must be a pattern of tags, such as v*, or * for all"
	case !wildTag.MatchString(text):
		return "can match no tag: a tag has at most 128 characters of A-Z, a-z, 0-9, . _ and -, and begins with none of . and -; * stands for any text"
	}
	return ""
}

// MatchTag tells whether one of some patterns matches a tag: * is any text.
func MatchTag(patterns []string, tag string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool { return matchPart(p, tag) })
}
