package token

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Grant is one thing that a token is for, as in docker's token authentication.
type Grant struct {
	Type    string   `json:"type"` // repository or registry
	Name    string   `json:"name"`
	Actions []string `json:"actions"`
}

// All stands among the actions of a grant for every action.
const All = "*"

// Allows says whether a grant is for an action on what it names.
func (g Grant) Allows(kind, name, action string) bool {
	return g.Type == kind && g.Name == name && (slices.Contains(g.Actions, action) || slices.Contains(g.Actions, All))
}

const (
	// maxScopes bounds what one request may ask for. Clients ask for two repositories, one
	// of which they mount from.
	maxScopes    = 64
	maxScopeSize = 4096 // bytes
)

// ParseScopes reads what a client asks for (docker's "Token Scope Documentation"): scopes
// separated by blanks, each of the form type:name:action,action. A name may have a host and
// a port in it, and so colons. What is of another type is kept, and worth nothing.
func ParseScopes(texts []string) ([]Grant, error) {
	var grants []Grant
	for _, text := range texts {
		if len(text) > maxScopeSize {
			return nil, fmt.Errorf("cannot use the scope: it is longer than %d bytes", maxScopeSize)
		}
		for one := range strings.FieldsSeq(text) {
			g, err := parseScope(one)
			if err != nil {
				return nil, err
			}
			if len(grants) == maxScopes {
				return nil, fmt.Errorf("cannot use the scope: it has more than %d parts", maxScopes)
			}
			grants = append(grants, g)
		}
	}
	return grants, nil
}

func parseScope(text string) (Grant, error) {
	bad := errors.New("cannot use the scope: it must be type:name:actions, such as repository:team/app:pull,push")
	kind, rest, ok := strings.Cut(text, ":")
	last := strings.LastIndexByte(rest, ':')
	if !ok || last < 1 || kind == "" {
		return Grant{}, bad
	}
	kind, _, _ = strings.Cut(kind, "(") // a class, such as repository(plugin)
	g := Grant{Type: kind, Name: rest[:last]}
	for action := range strings.SplitSeq(rest[last+1:], ",") {
		if action != "" && !slices.Contains(g.Actions, action) {
			g.Actions = append(g.Actions, action)
		}
	}
	if g.Type == "" || !plain(g.Type) || !plain(g.Name) || !plain(strings.Join(g.Actions, "")) {
		return Grant{}, bad
	}
	return g, nil
}

// plain says whether text can stand in a header as it is.
func plain(text string) bool {
	return !strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r >= 0x7f || r == '"' || r == '\\' })
}

// String is a grant as a scope.
func (g Grant) String() string { return g.Type + ":" + g.Name + ":" + strings.Join(g.Actions, ",") }
