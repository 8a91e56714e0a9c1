// Package health turns the results of checks of a storage into its grade: which requests
// it is good for.
package health

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/redoubt-registry/redoubt/appliance/printable"
)

// Grade says which requests a storage is good for.
type Grade string

// The grades, from good to bad.
const (
	OK       Grade = "ok"
	Degraded Grade = "degraded" // it can be read: pulls work, pushes are refused
	Down     Grade = "down"     // nothing is served from it
)

// Grades lists all of them, from good to bad.
func Grades() []Grade { return []Grade{OK, Degraded, Down} }

// Worse says whether g is worse than other.
func (g Grade) Worse(other Grade) bool {
	return slices.Index(Grades(), g) > slices.Index(Grades(), other)
}

// Operation is the result of one kind of access to a storage.
type Operation struct {
	Name    string    `json:"name"`
	Seconds float64   `json:"seconds"`
	At      time.Time `json:"at"`              // when it was last tried
	Error   string    `json:"error,omitempty"` // for the operator
	Key     string    `json:"key,omitempty"`   // of the configuration, to fix it
	Reason  string    `json:"reason,omitempty"`
	// Without is the grade of the storage while this fails.
	Without Grade `json:"without"`
	// Sure: the failure is permanent, so that one check is enough.
	Sure bool `json:"sure,omitempty"`
}

// Look is one check of a storage, by all its operations.
type Look struct {
	Storage    string // what was checked
	At         time.Time
	Operations []Operation
}

// Grade is the grade by this check alone, and the Operation that it comes from; nil for OK.
func (l Look) Grade() (Grade, *Operation) {
	grade, cause := OK, (*Operation)(nil)
	for i, o := range l.Operations {
		if o.Error != "" && o.Without.Worse(grade) {
			grade, cause = o.Without, &l.Operations[i]
		}
	}
	return grade, cause
}

// Slowest is the operation that took longest; nil without any.
func (l Look) Slowest() *Operation {
	var slowest *Operation
	for i, o := range l.Operations {
		if slowest == nil || o.Seconds > slowest.Seconds {
			slowest = &l.Operations[i]
		}
	}
	return slowest
}

// State is the grade of a storage by its last checks. It is stored in a file, which one
// process writes and others read.
type State struct {
	Grade      Grade         `json:"grade"`
	Since      time.Time     `json:"since"`   // of the grade
	Checked    time.Time     `json:"checked"` // the last check
	Interval   time.Duration `json:"intervalNanoseconds"`
	Storage    string        `json:"storage"`
	Reason     string        `json:"reason,omitempty"` // a few words, for clients
	Error      string        `json:"error,omitempty"`  // what the last check found, for the operator
	Key        string        `json:"key,omitempty"`    // of the configuration
	Failures   int           `json:"failures"`         // checks in a row that failed
	Looks      []Grade       `json:"looks"`            // the last ones, the newest last
	Proven     bool          `json:"proven"`           // a check once found it well
	Told       time.Time     `json:"told,omitzero"`    // when the last alert was sent
	Operations []Operation   `json:"operations"`
}

const (
	// better is how many good checks in a row are enough, at most: clients are
	// refused until then.
	better = 2
	// reminder is the time between two alerts for the same grade.
	reminder = 24 * time.Hour
)

// Next is the state after one more check. The grade gets worse if threshold checks in a
// row were at least as bad, or if one failed permanently on a storage that was well
// before (a new storage may still be set up). It gets better if as many in a row were at
// least as good, or two if that is less. tell is true if an alert is due: the grade got
// worse, or was bad for another day.
func (s State) Next(look Look, interval time.Duration, threshold int) (next State, tell bool) {
	grade, cause := look.Grade()
	if s.Storage != look.Storage || s.Grade == "" {
		s = State{Grade: OK, Since: look.At}
	} else if s.Stale(look.At) {
		s.Looks = nil // too old to count
	}
	next = State{Grade: s.Grade, Since: s.Since, Checked: look.At, Interval: interval, Storage: look.Storage,
		Reason: s.Reason, Told: s.Told, Operations: look.Operations, Proven: s.Proven || grade == OK}
	next.Looks = append(slices.Clone(s.Looks), grade)
	if old := len(next.Looks) - max(threshold, better); old > 0 {
		next.Looks = next.Looks[old:]
	}
	if cause != nil {
		next.Failures, next.Error, next.Key = s.Failures+1, cause.Error, cause.Key
	}
	next.Grade = judge(s.Grade, next.Looks, threshold, s.Proven && cause != nil && cause.Sure)
	if next.Grade != s.Grade {
		next.Since = look.At
	}
	switch {
	case next.Grade == OK:
		next.Reason, next.Told = "", time.Time{}
	case cause != nil:
		next.Reason = cause.Reason
	}
	tell = next.Grade.Worse(s.Grade) || next.Grade != OK && look.At.Sub(next.Told) >= reminder
	if tell {
		next.Told = look.At
	}
	return next, tell
}

// judge is the grade that follows grade after the checks, the newest last.
func judge(grade Grade, looks []Grade, threshold int, sure bool) Grade {
	last := looks[len(looks)-1]
	if sure && last.Worse(grade) {
		return last
	}
	mildest, harshest := last, last
	for _, g := range lastOf(looks, threshold) {
		if mildest.Worse(g) {
			mildest = g
		}
	}
	enough := min(threshold, better)
	for _, g := range lastOf(looks, enough) {
		if g.Worse(harshest) {
			harshest = g
		}
	}
	switch {
	case len(looks) >= threshold && mildest.Worse(grade):
		return mildest
	case len(looks) >= enough && grade.Worse(harshest):
		return harshest
	}
	return grade
}

func lastOf(looks []Grade, n int) []Grade { return looks[max(0, len(looks)-n):] }

// Stale tells whether the last check is so old that the state says nothing.
func (s State) Stale(now time.Time) bool {
	age := now.Sub(s.Checked)
	return age > 5*s.Interval+time.Minute || age < -time.Minute
}

// Look is the last check of the state.
func (s State) Look() Look { return Look{Storage: s.Storage, At: s.Checked, Operations: s.Operations} }

// ReadState reads the state from path. It may be stale. The registry's user writes it,
// and root prints it: what a terminal would act on is taken out of it.
func ReadState(path string) (State, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return State{}, fmt.Errorf("cannot read the state of the storage: %w", err)
	}
	var s State
	if err := json.Unmarshal(data, &s); err != nil || !slices.Contains(Grades(), s.Grade) {
		return State{}, fmt.Errorf("cannot read the state of the storage: %s is damaged", path)
	}
	for _, text := range []*string{&s.Storage, &s.Error, &s.Key, &s.Reason} {
		*text = printable.Line(*text)
	}
	for i := range s.Operations {
		o := &s.Operations[i]
		for _, text := range []*string{&o.Name, &o.Error, &o.Key, &o.Reason} {
			*text = printable.Line(*text)
		}
	}
	return s, nil
}
