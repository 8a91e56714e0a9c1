// Package webhook tells others of pushes, pulls and deletions: an event of the audit log
// becomes one in distribution's words, and is posted as distribution's envelope or as a
// CloudEvent 1.0, signed.
package webhook

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/distribution/distribution/v3/notifications"
	"github.com/opencontainers/go-digest"

	"github.com/redoubt-registry/redoubt/appliance/access/acl"
	"github.com/redoubt-registry/redoubt/appliance/access/audit"
	"github.com/redoubt-registry/redoubt/appliance/printable"
)

// Request is what the audit log does not keep of a request.
type Request struct {
	Base      string // of the API: https://registry.example.com/v2
	Host      string // as the client called it
	MediaType string // of the content that was read or stored
	Size      int64  // of it, in bytes; 0 where it is not known
	Source    string // the machine's name, and the port
}

// From is an event of the audit log in distribution's words: one for each tag that a push
// sets. There is none of what is no push, pull or deletion that happened.
func From(e audit.Event, r Request) []notifications.Event {
	if !tells(e) {
		return nil
	}
	n := notifications.Event{ID: e.ID, Timestamp: e.Time.UTC(), Action: string(e.Action)}
	if e.From != "" {
		n.Action = notifications.EventActionMount
	}
	t := &n.Target
	t.MediaType, t.Size, t.Length = printable.Value(r.MediaType), r.Size, r.Size
	t.Digest, t.Repository, t.FromRepository, t.Tag = digest.Digest(e.Digest), e.Repository, e.From, e.Tag
	if e.Action != audit.Delete && e.Digest != "" {
		t.URL = fmt.Sprintf("%s/%s/%ss/%s", r.Base, e.Repository, e.Kind, e.Digest)
	}
	n.Request = notifications.RequestRecord{
		ID: e.ID, Addr: e.Address, Host: printable.Value(r.Host), Method: e.Method, UserAgent: printable.Value(e.Agent),
	}
	n.Actor.Name, n.Source.Addr = e.User, r.Source
	all := []notifications.Event{n}
	for i, tag := range strings.Split(e.Tag, ",")[1:] { // a tag has no comma
		next := n
		next.ID = fmt.Sprintf("%s-%d", e.ID, i+2)
		next.Target.Tag = tag
		all = append(all, next)
	}
	first, _, _ := strings.Cut(e.Tag, ",")
	all[0].Target.Tag = first
	return all
}

// tells says whether an event is a push, a pull or a deletion that happened.
func tells(e audit.Event) bool {
	return e.Result == audit.OK && e.Repository != "" && slices.Contains([]audit.Action{audit.Push, audit.Pull, audit.Delete}, e.Action)
}

// Filter says which events an endpoint gets.
type Filter struct {
	repositories acl.Patterns
	every        bool
	actions      []string
}

// NewFilter makes a filter of patterns of repositories and of actions: push, pull and
// delete. None of either means all. A mount counts as a push.
func NewFilter(repositories, actions []string) Filter {
	return Filter{repositories: acl.Compile(repositories), every: len(repositories) == 0, actions: actions}
}

// Wants says whether the endpoint gets an event of the action to the repository.
func (f Filter) Wants(action audit.Action, repository string) bool {
	return (len(f.actions) == 0 || slices.Contains(f.actions, string(action))) &&
		(f.every || f.repositories.Match(repository))
}

// Format is how events are posted.
type Format string

// The formats.
const (
	Distribution Format = "distribution" // the stock registry's envelope of events
	CloudEvents  Format = "cloudevents"  // CloudEvents 1.0, JSON in structured mode
)

// Most is how many events one request takes.
func (f Format) Most() int {
	if f == CloudEvents {
		return 1
	}
	return 100
}

// cloudEvent is an event by CloudEvents 1.0, 3.1.
type cloudEvent struct {
	SpecVersion string          `json:"specversion"`
	ID          string          `json:"id"`
	Source      string          `json:"source"`
	Type        string          `json:"type"`
	Subject     string          `json:"subject"`
	Time        time.Time       `json:"time"`
	ContentType string          `json:"datacontenttype"`
	Data        json.RawMessage `json:"data"`
}

// body is the body of a request that tells of lines, each of which is distribution's event
// in JSON, and its media type. The lines are as many as Most says.
func (f Format) body(lines [][]byte) (body []byte, mediaType string, err error) {
	if f != CloudEvents {
		all := make([]json.RawMessage, 0, len(lines))
		for _, line := range lines {
			all = append(all, line)
		}
		body, err = json.MarshalIndent(map[string]any{"events": all}, "", "   ")
		return body, notifications.EventsMediaType, err
	}
	var n notifications.Event
	if err := json.Unmarshal(lines[0], &n); err != nil {
		return nil, "", err
	}
	subject := n.Target.Repository
	switch {
	case n.Target.Tag != "":
		subject += ":" + n.Target.Tag
	case n.Target.Digest != "":
		subject += "@" + n.Target.Digest.String()
	}
	body, err = json.Marshal(cloudEvent{
		SpecVersion: "1.0", ID: n.ID, Source: "//" + n.Request.Host, Type: "io.distribution." + n.Action,
		Subject: subject, Time: n.Timestamp, ContentType: "application/json", Data: lines[0],
	})
	return body, "application/cloudevents+json; charset=utf-8", err
}
