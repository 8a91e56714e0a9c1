// Package claims says whose login the claims of a token are: patterns that claims must
// match, and names that are made of claims. It is pure.
package claims

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// Claims are what an issuer says in a token, as encoding/json decodes an object.
type Claims map[string]any

// Values are the values of a claim as text, or nothing where it is missing. A name with
// dots is a claim of that name, or else one inside another: kubernetes.io.namespace.
func (c Claims) Values(name string) []string {
	if v, ok := c[name]; ok {
		return values(v)
	}
	for i := range len(name) {
		if name[i] != '.' {
			continue
		}
		if below, ok := c[name[:i]].(map[string]any); ok {
			if found := Claims(below).Values(name[i+1:]); found != nil {
				return found
			}
		}
	}
	return nil
}

func values(v any) []string {
	switch v := v.(type) {
	case string:
		return []string{v}
	case bool:
		return []string{strconv.FormatBool(v)}
	case json.Number:
		return []string{v.String()}
	case float64:
		return []string{strconv.FormatFloat(v, 'f', -1, 64)}
	case []any:
		var out []string
		for _, item := range v {
			if _, nested := item.([]any); !nested {
				out = append(out, values(item)...)
			}
		}
		return out
	}
	return nil
}

// Pattern is what a claim must be like: * is any text without a slash, ** any text.
type Pattern struct{ re *regexp.Regexp }

const maxPattern = 1000 // bytes

// ParsePattern reads a pattern.
func ParsePattern(text string) (Pattern, error) {
	switch {
	case text == "":
		return Pattern{}, errors.New("must not be empty: * is any text without a slash, ** any text")
	case len(text) > maxPattern:
		return Pattern{}, fmt.Errorf("too long: at most %d bytes", maxPattern)
	case strings.Contains(text, "***"):
		return Pattern{}, errors.New("must not have more than two * in a row")
	}
	quoted := regexp.QuoteMeta(text)
	quoted = strings.ReplaceAll(quoted, `\*\*`, `(?s:.*)`)
	quoted = strings.ReplaceAll(quoted, `\*`, `[^/]*`)
	re, err := regexp.Compile(`\A(?:` + quoted + `)\z`)
	if err != nil {
		return Pattern{}, errors.New("not a pattern: it must be UTF-8")
	}
	return Pattern{re}, nil
}

// Match says whether one of the values of a claim is like p.
func (p Pattern) Match(values []string) bool { return slices.ContainsFunc(values, p.re.MatchString) }

// Name is the name of a user or a group: text of one's own, and perhaps a claim in it, as
// in github-{repository_owner}.
type Name struct{ before, claim, after string }

// ParseName reads a name. The text before a claim must be one that no other name begins
// with by accident: who writes the claim must not choose whose name it is.
func ParseName(text string) (Name, error) {
	before, rest, has := strings.Cut(text, "{")
	if !has {
		if strings.Contains(text, "}") {
			return Name{}, errors.New("has a } without a {")
		}
		return Name{before: text}, problem(text)
	}
	claim, after, closed := strings.Cut(rest, "}")
	switch {
	case !closed || claim == "":
		return Name{}, errors.New("a claim is written {name}, such as {repository_owner}")
	case strings.ContainsAny(after, "{}"):
		return Name{}, errors.New("must have one claim at most")
	case before == "" || isWord(before[len(before)-1]):
		return Name{}, fmt.Errorf("must begin with text of your own that ends in a mark such as - or /, as in github-{%s}: else a token could name any user or group", claim)
	}
	return Name{before, claim, after}, problem(before + "x" + after)
}

func isWord(b byte) bool {
	return b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z' || b >= '0' && b <= '9' || b >= 0x80
}

// Fixed is the text that all names made of n begin with; whole says that it is the name.
func (n Name) Fixed() (text string, whole bool) { return n.before, n.claim == "" }

// Makes says whether some claims make this name.
func (n Name) Makes(name string) bool {
	if n.claim == "" {
		return name == n.before
	}
	return len(name) > len(n.before)+len(n.after) && strings.HasPrefix(name, n.before) && strings.HasSuffix(name, n.after)
}

// Expand is the names that n makes of claims: one for each value of its claim.
func (n Name) Expand(c Claims) ([]string, error) {
	if n.claim == "" {
		return []string{n.before}, nil
	}
	var out []string
	for _, v := range c.Values(n.claim) {
		name := n.before + v + n.after
		if err := problem(name); v == "" || err != nil {
			return nil, fmt.Errorf("its claim %s is no part of a name", n.claim)
		}
		out = append(out, name)
	}
	return out, nil
}

// maxName is the longest name of a user or a group, in bytes.
const maxName = 255

func problem(name string) error {
	switch {
	case name == "":
		return errors.New("required: a name")
	case len(name) > maxName:
		return fmt.Errorf("too long: at most %d bytes", maxName)
	case name == "*" || strings.HasPrefix(name, "#") || strings.TrimSpace(name) != name || strings.ContainsFunc(name, unicode.IsControl):
		return errors.New("must not be *, begin with #, have a space at either end or a line break")
	}
	return nil
}
