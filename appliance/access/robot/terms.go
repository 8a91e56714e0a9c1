package robot

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/redoubt-registry/redoubt/appliance/access/acl"
)

// Never is the word for a token that does not end by itself.
const Never = "never"

const (
	day     = 24 * time.Hour
	longest = 3650 * day
)

var inDays = regexp.MustCompile(`^([0-9]{1,4})d$`)

// ParseLifetime reads when a token that is made now ends: after a time such as 90d or 12h,
// or as ParseExpires has it, or Never.
func ParseLifetime(text string, now time.Time) (time.Time, error) {
	if text == Never {
		return time.Time{}, nil
	}
	at, err := ParseExpires(text)
	if err != nil {
		lasts, err := lifetime(text)
		if err != nil {
			return time.Time{}, errors.New("it must be a time such as 90d or 12h, a day such as 2027-01-01, or never")
		}
		at = now.Add(lasts).UTC().Truncate(time.Second)
	}
	switch {
	case !at.After(now):
		return time.Time{}, errors.New("the token would have ended already")
	case at.Sub(now) > longest:
		return time.Time{}, fmt.Errorf("it must be at most %d days, or never", longest/day)
	}
	return at, nil
}

func lifetime(text string) (time.Duration, error) {
	if m := inDays.FindStringSubmatch(text); m != nil {
		n, err := strconv.Atoi(m[1])
		return time.Duration(n) * day, err
	}
	return time.ParseDuration(text)
}

// ParseActions reads actions.
func ParseActions(words []string) ([]acl.Action, error) {
	var actions []acl.Action
	for _, w := range words {
		a := acl.Action(w)
		if err := (Robot{Name: "x", Hash: Hash(""), Actions: []acl.Action{a}}).check(); err != nil {
			return nil, fmt.Errorf("cannot use the action %q: it must be pull, push, delete or admin", w)
		}
		actions = append(actions, a)
	}
	return actions, nil
}

// Terms is what a token is for and until when, in words.
func (r Robot) Terms() string {
	return r.Where() + ", " + r.What() + ", " + r.Until()
}

// Where is which repositories the token is for, in words.
func (r Robot) Where() string {
	if len(r.Repositories) == 0 {
		return "all repositories"
	}
	return strings.Join(r.Repositories, " ")
}

// What is which actions the token is for, in words.
func (r Robot) What() string {
	if len(r.Actions) == 0 {
		return "all actions"
	}
	var words []string
	for _, a := range r.Actions {
		words = append(words, string(a))
	}
	return strings.Join(words, " ")
}

// Until is when the token ends, in words.
func (r Robot) Until() string {
	if r.Expires.IsZero() {
		return Never
	}
	return r.Expires.UTC().Format(time.RFC3339)
}
