package cert

import (
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"strings"
)

// Pattern matches the subjects of certificates. The zero Pattern matches none.
type Pattern struct {
	any        bool // it matches all
	attributes []attribute
}

// commonNameType is the attribute CN of a subject.
var commonNameType = asn1.ObjectIdentifier{2, 5, 4, 3}

type attribute struct{ name, glob string }

// ParsePattern reads a pattern such as "CN=ci-*,O=Example": attributes of the
// subject, CN, O or OU, that must all be there. A * stands for any text. The word any
// matches every subject, one without attributes too.
func ParsePattern(text string) (Pattern, error) {
	var p Pattern
	switch text {
	case "":
		return Pattern{}, errors.New("required: a pattern such as CN=ci-*, or any")
	case "any":
		return Pattern{any: true}, nil
	case "*":
		return Pattern{}, errors.New("write any for every certificate that counts")
	}
	for part := range strings.SplitSeq(text, ",") {
		name, glob, ok := strings.Cut(strings.TrimSpace(part), "=")
		name = strings.ToUpper(name)
		switch {
		case !ok || glob == "":
			return Pattern{}, errors.New("must be attributes of the subject, such as CN=ci-* or CN=ci-*,O=Example, or any")
		case name != "CN" && name != "O" && name != "OU":
			return Pattern{}, errors.New("only the attributes CN, O and OU are matched")
		}
		for _, a := range p.attributes {
			if a.name == name {
				return Pattern{}, fmt.Errorf("%s was given before", name)
			}
		}
		p.attributes = append(p.attributes, attribute{name, glob})
	}
	return p, nil
}

// Match says whether subject has each attribute of the pattern. A subject with
// more than one common name matches none but any: readers differ in which counts.
func (p Pattern) Match(subject pkix.Name) bool {
	if p.any {
		return true
	}
	var names []string
	for _, n := range subject.Names {
		if n.Type.Equal(commonNameType) {
			text, _ := n.Value.(string) // anything else matches nothing
			names = append(names, text)
		}
	}
	if len(p.attributes) == 0 || len(names) > 1 {
		return false
	}
	values := map[string][]string{"CN": names, "O": subject.Organization, "OU": subject.OrganizationalUnit}
	for _, a := range p.attributes {
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
