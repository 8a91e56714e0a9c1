// Package robot is the logins of machines by a token of their own: what such a token looks
// like, what it is for, and the list of them that machines share. It reads and writes
// nothing.
package robot

import (
	"cmp"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/redoubt-registry/redoubt/appliance/access/acl"
)

// Robot is the login of one token.
type Robot struct {
	Name   string   `json:"name"`
	Hash   string   `json:"hash"` // of the token; see Hash
	Groups []string `json:"groups,omitempty"`
	// Repositories and Actions are what the token is for, where that is less than the rules
	// allow: patterns as in auth.acl. Empty is no limit.
	Repositories []string     `json:"repositories,omitempty"`
	Actions      []acl.Action `json:"actions,omitempty"`
	Expires      time.Time    `json:"expires,omitzero"` // zero: it does not by itself
	Created      time.Time    `json:"created,omitzero"` // zero: it is in the configuration
	By           string       `json:"by,omitempty"`     // who made it
}

// UserPrefix begins the users that robots are, for rules and the audit log. No password's
// user can have a colon in the name (RFC 7617, 2), so that none is taken for a robot.
const UserPrefix = "robot:"

// User is the robot's name in rules and in the audit log.
func (r Robot) User() string { return UserPrefix + r.Name }

// Ended says whether the token does not count any more.
func (r Robot) Ended(now time.Time) bool { return !r.Expires.IsZero() && !now.Before(r.Expires) }

// Stamp stands for the token in others that are made for it: it is another one as soon as
// the token is.
func (r Robot) Stamp() string {
	sum := sha256.Sum256([]byte(r.Hash))
	return base64.RawURLEncoding.EncodeToString(sum[:16])
}

// Within is what the token is for, as a policy beside the rules; nil: all that they allow.
func (r Robot) Within() (*acl.Policy, error) {
	if len(r.Repositories)+len(r.Actions) == 0 {
		return nil, nil
	}
	rule := acl.Rule{Users: []string{acl.Everyone}, Repositories: r.Repositories, Actions: r.Actions}
	if len(rule.Repositories) == 0 {
		rule.Repositories = []string{"**"}
	}
	if len(rule.Actions) == 0 {
		rule.Actions = []acl.Action{acl.Admin}
	}
	return acl.New(false, []acl.Rule{rule})
}

var nameForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$`)

// NameProblem says what is wrong with a robot's name; empty: nothing.
func NameProblem(name string) string {
	switch {
	case name == "":
		return "required: the robot's name"
	case strings.HasPrefix(name, Prefix):
		return "must not begin like a token, which does not belong here"
	case !nameForm.MatchString(name):
		return "must be at most 100 letters, digits, dots, dashes and underscores, and begin with a letter or a digit"
	}
	return ""
}

// ParseExpires reads when a token ends: a day, which it does not count on any more, in UTC,
// or a time of RFC 3339.
func ParseExpires(text string) (time.Time, error) {
	for _, layout := range []string{time.DateOnly, time.RFC3339} {
		if t, err := time.Parse(layout, text); err == nil {
			return t.UTC(), nil
		}
	}
	return time.Time{}, errors.New("must be a day such as \"2027-01-01\", with whose beginning in UTC the token ends, or a time such as \"2027-01-01T08:00:00Z\"")
}

// check says what is wrong with a robot.
func (r Robot) check() error {
	if problem := cmp.Or(NameProblem(r.Name), HashProblem(r.Hash)); problem != "" {
		return fmt.Errorf("the robot %q: its name or hash %s", r.Name, problem)
	}
	if _, err := r.Within(); err != nil {
		return fmt.Errorf("the robot %q: %w", r.Name, err)
	}
	return nil
}

// Named is the number of the robot of a name, or -1.
func Named(list []Robot, name string) int {
	return slices.IndexFunc(list, func(r Robot) bool { return r.Name == name })
}
