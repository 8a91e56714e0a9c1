package cert

import (
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"strings"
)

// Pattern matches the subjects of certificates.
type Pattern []attribute

type attribute struct{ name, glob string }

// ParsePattern reads a pattern such as "CN=ci-*,O=Example": attributes of the
// subject, CN, O or OU, that must all be there. A * stands for any text.
func ParsePattern(text string) (Pattern, error) {
	var p Pattern
	if text == "" {
		return nil, errors.New("required: a pattern such as CN=ci-*")
	}
	for part := range strings.SplitSeq(text, ",") {
		name, glob, ok := strings.Cut(strings.TrimSpace(part), "=")
		name = strings.ToUpper(name)
		switch {
		case !ok || glob == "":
			return nil, errors.New("must be attributes of the subject, such as CN=ci-* or CN=ci-*,O=Example")
		case name != "CN" && name != "O" && name != "OU":
			return nil, errors.New("only the attributes CN, O and OU are matched")
		}
		for _, a := range p {
			if a.name == name {
				return nil, fmt.Errorf("%s was given before", name)
			}
		}
		p = append(p, attribute{name, glob})
	}
	return p, nil
}

// Match says whether subject has each attribute of the pattern. A subject with
// more than one common name matches no pattern: readers differ in which counts.
func (p Pattern) Match(subject pkix.Name) bool {
	var names []string
	for _, n := range subject.Names {
		if n.Type.Equal([]int{2, 5, 4, 3}) {
			text, _ := n.Value.(string) // anything else matches nothing
			names = append(names, text)
		}
	}
	if len(p) == 0 || len(names) > 1 {
		return false
	}
	values := map[string][]string{"CN": names, "O": subject.Organization, "OU": subject.OrganizationalUnit}
	for _, a := range p {
		found := false
		for _, v := range values[a.name] {
			found = found || glob(a.glob, v)
		}
		if !found {
			return false
		}
	}
	return true
}

// glob matches text with a pattern in which * stands for any text.
func glob(pattern, text string) bool {
	head, rest, star := strings.Cut(pattern, "*")
	if !star {
		return pattern == text
	}
	text, ok := strings.CutPrefix(text, head)
	if !ok {
		return false
	}
	for {
		part, more, star := strings.Cut(rest, "*")
		if !star {
			return strings.HasSuffix(text, rest)
		}
		i := strings.Index(text, part)
		if i < 0 {
			return false
		}
		text, rest = text[i+len(part):], more
	}
}
