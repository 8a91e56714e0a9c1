// Package neighbours finds other machines that use the same bucket. Each machine keeps an
// object of its own there and replaces it every minute, by compare-and-swap. A machine
// lives whose object changes while we look on, so that no clock need be right: that of a
// dead one, or of one that was replaced, stays as it is and counts for nothing.
package neighbours

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/redoubt-registry/redoubt/appliance/printable"
	"github.com/redoubt-registry/redoubt/appliance/storage/sharedstate"
)

const (
	// pause is between two heartbeats of a machine, at least.
	pause = time.Minute
	// missed heartbeats are those after which a machine counts as dead.
	missed = 4
	// buried is how long the object of a dead machine stays.
	buried = 24 * time.Hour
	// most are the machines that are looked at.
	most = 100
	// reminder is the time between two alerts.
	reminder = 24 * time.Hour
)

// Store is where the machines keep their objects: sharedstate.MachinesIn.
type Store interface {
	Get(ctx context.Context, key string) (data []byte, version string, err error)
	Put(ctx context.Context, key string, data []byte, ifVersion string) (version string, err error)
	// Overwrite replaces an object whatever is there, for services that know no conditions.
	Overwrite(ctx context.Context, key string, data []byte) (version string, err error)
	Delete(ctx context.Context, key string) error
	Versions(ctx context.Context, limit int) (map[string]string, error)
}

// Machine is what a machine says of itself.
type Machine struct {
	ID    string        `json:"id"`
	Run   string        `json:"run"` // random, of one boot: a copy of the machine has another
	Name  string        `json:"name"`
	Nodes int           `json:"nodes"` // how many it expects
	Every time.Duration `json:"everyNanoseconds"`
	Beat  time.Time     `json:"beat"` // by its own clock, for people
}

// State is what this machine has seen, from one heartbeat to the next.
type State struct {
	Storage string           `json:"storage"` // of which this is
	Run     string           `json:"run"`
	Nodes   int              `json:"nodes"`
	Beat    time.Time        `json:"beat"`    // our last one
	Version string           `json:"version"` // of our object
	Others  map[string]Other `json:"others,omitempty"`
	Told    time.Time        `json:"told,omitzero"` // when people were told of ToldOf
	ToldOf  string           `json:"toldOf,omitempty"`
	Error   string           `json:"error,omitempty"` // why it is not known who else is there
}

// Other is another machine.
type Other struct {
	Name    string        `json:"name"`
	Every   time.Duration `json:"everyNanoseconds"`
	Version string        `json:"version"`
	Since   time.Time     `json:"since"`            // when we saw this version first
	Alive   bool          `json:"alive,omitempty"`  // it has changed since we look on
	Copy    bool          `json:"copied,omitempty"` // it has our own identity
}

// Look sends a heartbeat if one is due, and looks for others. interval is the time between
// two calls. What fails is in the State.
func (s State) Look(ctx context.Context, store Store, me Machine, interval time.Duration, now time.Time) State {
	if age := now.Sub(s.Beat); age >= 0 && age < pause {
		return s
	}
	s.Others = maps.Clone(s.Others)
	if s.Others == nil {
		s.Others = map[string]Other{}
	}
	me.Run, me.Every, me.Beat = s.Run, max(pause, interval), now.UTC()
	s.Nodes, s.Beat, s.Error = me.Nodes, now, ""
	err := s.beat(ctx, store, me)
	if err == nil {
		err = s.see(ctx, store, me.ID, now)
	}
	if err != nil {
		s.Error = err.Error()
	}
	return s
}

// copied is the key under which another machine with our identity is remembered. No
// object has it.
const copied = ""

// beat replaces our object. Nobody else does that but a copy of this machine.
func (s *State) beat(ctx context.Context, store Store, me Machine) error {
	data, err := json.Marshal(me)
	if err != nil {
		return err
	}
	had := s.Version
	if had == "" {
		_, had, err = store.Get(ctx, me.ID)
		if err != nil && !errors.Is(err, sharedstate.ErrNotFound) {
			return err
		}
	}
	version, err := store.Put(ctx, me.ID, data, had)
	if errors.Is(err, sharedstate.ErrConflict) {
		s.suspect(ctx, store, me)
		version, err = store.Overwrite(ctx, me.ID, data)
	} else if err != nil && ctx.Err() == nil {
		version, err = store.Overwrite(ctx, me.ID, data)
	}
	if err == nil {
		s.Version = version
	}
	return err
}

// suspect finds out who has replaced our object.
func (s *State) suspect(ctx context.Context, store Store, me Machine) {
	other, _, err := read(ctx, store, me.ID)
	if err == nil && other.Run != s.Run {
		s.Others[copied] = Other{Name: other.Name, Every: other.Every, Since: me.Beat, Alive: true, Copy: true}
	}
}

func read(ctx context.Context, store Store, id string) (Machine, string, error) {
	var m Machine
	data, version, err := store.Get(ctx, id)
	if err == nil {
		err = json.Unmarshal(data, &m)
	}
	m.Name = printable.Line(m.Name)
	return m, version, err
}

// see takes down which objects have changed.
func (s *State) see(ctx context.Context, store Store, own string, now time.Time) error {
	versions, err := store.Versions(ctx, most)
	if err != nil {
		return err
	}
	for id, version := range versions {
		before, known := s.Others[id]
		if id == own || known && before.Version == version {
			continue
		}
		m, version, err := read(ctx, store, id)
		if err != nil {
			continue // it is gone, or it is no machine's: the next look tells
		}
		s.Others[id] = Other{Name: m.Name, Every: m.Every, Version: version, Since: now, Alive: known}
	}
	for id, o := range s.Others {
		age := now.Sub(o.Since)
		_, there := versions[id]
		switch {
		case o.Copy:
			if age > o.patience() {
				delete(s.Others, id)
			}
		case !there:
			delete(s.Others, id)
		case age > buried:
			delete(s.Others, id)
			if err := store.Delete(ctx, id); err != nil {
				return err
			}
		case age > o.patience():
			o.Alive = false
			s.Others[id] = o
		}
	}
	return nil
}

// patience is how long a machine is silent before it counts as dead.
func (o Other) patience() time.Duration { return missed * max(pause, min(o.Every, 6*time.Hour)) }

// Problem says that more machines use the storage than are meant to; empty if not.
func (s State) Problem() string {
	var names []string
	for _, o := range s.Others {
		switch {
		case o.Copy:
			names = append(names, o.Name+" (a copy of this machine)")
		case o.Alive:
			names = append(names, o.Name)
		}
	}
	slices.Sort(names)
	if len(names) == 0 || len(names)+1 <= s.Nodes {
		return ""
	}
	verb := "uses"
	if len(names) > 1 {
		verb = "use"
	}
	return fmt.Sprintf("%s %s the same storage (%s) and nodes is %d: each machine would go on serving what another one has deleted. "+
		"Set nodes on all of them, or give each a bucket or a root of its own", strings.Join(names, ", "), verb, s.Storage, s.Nodes)
}

// Due says whether people are to be told of the problem now: it is new, or a day old.
func (s *State) Due(now time.Time) bool {
	problem := s.Problem()
	if age := now.Sub(s.Told); problem == "" || problem == s.ToldOf && age >= 0 && age < reminder {
		return false
	}
	s.Told, s.ToldOf = now, problem
	return true
}
