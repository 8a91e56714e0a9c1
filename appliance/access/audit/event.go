// Package audit writes down who did what to what, and with what result: one JSON line
// for each event, to sinks that make nobody wait. docs/audit.md says what the fields mean.
package audit

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"time"

	"github.com/redoubt-registry/redoubt/appliance/printable"
)

// Action is what was done.
type Action string

// The actions. A test holds that docs/audit.md has each of them.
const (
	Login         Action = "login"               // credentials were checked
	Pull          Action = "pull"                // a manifest was read
	Push          Action = "push"                // a manifest or a blob was stored or mounted
	Delete        Action = "delete"              // a tag, a manifest or a blob was removed
	TokenCreate   Action = "token.create"        // a robot's token was made
	TokenRevoke   Action = "token.revoke"        // it was revoked
	Configuration Action = "configuration.apply" // another configuration is in force
	UserAdd       Action = "user.add"            // a login is new
	UserRemove    Action = "user.remove"         // a login is gone
	GC            Action = "gc"                  // space was freed
	TrashRestore  Action = "trash.restore"       // a deletion was taken back
	TrashEmpty    Action = "trash.empty"         // what was deleted is gone for good
	Lost          Action = "audit.lost"          // events were lost; count says how many
)

// Actions lists the actions.
func Actions() []Action {
	return []Action{Login, Pull, Push, Delete, TokenCreate, TokenRevoke, Configuration, UserAdd, UserRemove, GC, TrashRestore, TrashEmpty, Lost}
}

// Result is what came of it.
type Result string

// The results.
const (
	OK     Result = "ok"
	Denied Result = "denied" // it was not allowed
	Failed Result = "failed" // it was allowed and did not happen
)

// Local is the proof of who did something on the machine itself: a person at a shell, or
// systemd.
const Local = "local"

// Event is one line. The names of the fields do not change; fields may be added. Fields
// without a value are left out. Values of others are cut to 256 bytes and made printable
// when the line is made.
type Event struct {
	Time       time.Time `json:"time"`                 // when it was over; Write sets it where it is zero
	ID         string    `json:"id"`                   // random; a line that is sent twice has the same. Write sets it
	Action     Action    `json:"action"`               // what was done
	Result     Result    `json:"result"`               // what came of it
	User       string    `json:"user,omitempty"`       // who was proven to do it, or whose login was refused
	Proof      string    `json:"proof,omitempty"`      // how: identity.Proof, or Local
	Address    string    `json:"address,omitempty"`    // the client's, behind a trusted proxy too
	Proxy      string    `json:"proxy,omitempty"`      // the proxy's, where there was one
	Repository string    `json:"repository,omitempty"` // to what
	Tag        string    `json:"tag,omitempty"`
	Digest     string    `json:"digest,omitempty"`
	Kind       string    `json:"kind,omitempty"`   // manifest or blob
	From       string    `json:"from,omitempty"`   // the repository that it was mounted from
	Method     string    `json:"method,omitempty"` // of HTTP
	Status     int       `json:"status,omitempty"` // of HTTP
	Agent      string    `json:"agent,omitempty"`  // the client's User-Agent
	Count      int       `json:"count,omitempty"`  // how many events this line stands for; none: one
	Detail     string    `json:"detail,omitempty"` // more, for people
}

// fill sets what every event has.
func (e Event) fill(now time.Time) Event {
	if e.Time.IsZero() {
		e.Time = now
	}
	e.Time = e.Time.UTC()
	if e.ID == "" {
		e.ID = rand.Text()
	}
	return e
}

// line is the event in JSON, with the end of a line.
func (e Event) line() []byte {
	for _, text := range []*string{&e.User, &e.Address, &e.Proxy, &e.Repository, &e.Tag, &e.Digest, &e.From, &e.Method, &e.Agent, &e.Detail} {
		*text = printable.Value(*text)
	}
	var b bytes.Buffer
	out := json.NewEncoder(&b)
	out.SetEscapeHTML(false)
	if err := out.Encode(e); err != nil {
		panic(err) // of strings, numbers and a time after year 9999
	}
	return b.Bytes()
}
