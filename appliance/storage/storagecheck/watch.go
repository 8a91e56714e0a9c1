package storagecheck

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/distribution/distribution/v3/configuration"

	"github.com/redoubt-registry/redoubt/appliance/files"
	"github.com/redoubt-registry/redoubt/appliance/paths"
	"github.com/redoubt-registry/redoubt/appliance/registryyml"
	"github.com/redoubt-registry/redoubt/appliance/storage/bucket"
	"github.com/redoubt-registry/redoubt/appliance/storage/health"
	"github.com/redoubt-registry/redoubt/appliance/storage/neighbours"
	"github.com/redoubt-registry/redoubt/appliance/storage/sharedstate"
)

// Watch checks the storage that the registry of this machine uses.
type Watch struct {
	Registry    string // registry.yml, where the storage is named
	Maintenance string // while this file exists there is nothing to check
	State       string // where the state is kept
	Full        string // written when the disk of a directory is full: redoubt gc makes room
	Neighbours  string // where it is kept which other machines use the storage
	Record      string // the record of the file system of a directory
	Root        string // of this machine's own files: /
	User        string // the registry's user: root could do more than it
	Pace        int    // how many times longer than usual a check may take, from 1
	Out         io.Writer
}

// NewWatch is the watch of this machine.
func NewWatch(out io.Writer) Watch {
	return Watch{
		Registry:    paths.RegistryYML,
		Maintenance: paths.Maintenance,
		State:       paths.StorageState,
		Full:        paths.StorageFull,
		Neighbours:  paths.Neighbours,
		Record:      paths.StorageRecord,
		Root:        "/",
		User:        paths.RegistryUser,
		Pace:        pace(age()),
		Out:         out,
	}
}

// Settings are what registry.yml says of the checks.
type Settings struct {
	Place     Place // nil: nothing to check
	Interval  time.Duration
	Threshold int

	me neighbours.Machine
}

// Keep checks once and stores the state. Its error is for people: the grade got worse, or
// was bad for another day, or other machines use the storage that are not meant to. It
// prints nothing unless the grade changes.
func (w Watch) Keep(ctx context.Context) error {
	settings, err := w.Settings()
	if err != nil || settings.Place == nil || w.tooEarly() {
		return err
	}
	return errors.Join(w.grade(ctx, settings), w.lookAround(ctx, settings))
}

// tooEarly tells whether the registry has never started on this machine: it makes the
// directories, and a machine that is slow at its first boot has no fault.
func (w Watch) tooEarly() bool {
	_, record := os.Stat(filepath.Dir(w.Record))
	_, state := os.Stat(w.State)
	return errors.Is(record, fs.ErrNotExist) && errors.Is(state, fs.ErrNotExist)
}

// aroundTimeout is for the heartbeat and the look at others: four requests, once a minute.
const aroundTimeout = 5 * time.Second

// lookAround looks for other machines that use the bucket. Where it fails the storage has
// been found bad by the check, or status says so.
func (w Watch) lookAround(ctx context.Context, settings Settings) error {
	objects, ok := settings.Place.(Objects)
	if !ok || ctx.Err() != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, time.Duration(max(w.Pace, 1))*aroundTimeout)
	defer cancel()
	now := time.Now()
	before := neighbours.Read(w.Neighbours, objects.String())
	state := before.Look(ctx, sharedstate.MachinesIn(objects.Bucket), settings.me, settings.Interval, now)
	if state.Beat.Equal(before.Beat) {
		return nil // none was due
	}
	due := state.Due(now)
	err := state.Write(w.Neighbours)
	if due {
		err = errors.Join(err, errors.New(state.Problem()))
	}
	return err
}

// grade checks the storage and stores the state.
func (w Watch) grade(ctx context.Context, settings Settings) error {
	before, err := health.ReadState(w.State)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		fmt.Fprintf(w.Out, "warning: %v; the grade starts from this check\n", err)
	}
	began, look := time.Now(), health.Look{}
	for time.Since(began) < hung && (look.At.IsZero() || stuck(look)) {
		look = probe(ctx, settings.Place, before.Look(), before.Failures > 0, max(w.Pace, 1))
		if ctx.Err() != nil {
			return nil // it is being stopped: the result says nothing
		}
		state, tell := before.Next(look, settings.Interval, settings.Threshold)
		if err := w.keep(before, state); err != nil {
			return err
		}
		if err := w.askForRoom(settings.Place, before.Look(), look); err != nil {
			return err
		}
		if tell {
			return Trouble(state)
		}
		before = state
	}
	return nil
}

// hung is how long the same process checks a disk again that does not answer: it cannot
// end before the disk answers, so the next check would come too late.
const hung = 12 * time.Second

// stuck tells whether an access to a disk has not returned.
func stuck(look health.Look) bool {
	for _, o := range look.Operations {
		if o.Reason == silent {
			return true
		}
	}
	return false
}

// keep writes the state where others read it, and prints what got better.
func (w Watch) keep(before, state health.State) error {
	data, err := json.MarshalIndent(state, "", "  ")
	if err == nil {
		err = files.Write(w.State, append(data, '\n'), fileMode, -1)
	}
	if err != nil {
		return fmt.Errorf("cannot keep the state of the storage: %w", err)
	}
	if before.Grade.Worse(state.Grade) && before.Storage == state.Storage {
		fmt.Fprintf(w.Out, "the storage is %s; it was %s since %s: %s\n",
			state.Grade, before.Grade, before.Since.UTC().Format(time.RFC3339), state.Storage)
	}
	return nil
}

// Trouble is a bad state as an error; nil for a good one.
func Trouble(s health.State) error {
	if s.Grade == health.OK || s.Grade == "" {
		return nil
	}
	why := s.Error
	if why == "" { // the last check was good, and one is not enough
		why = s.Reason
	}
	if s.Key != "" {
		why += " (" + s.Key + ")"
	}
	return fmt.Errorf("the storage is %s: %s", s.Grade, why)
}

// Settings reads the storage and its checks from registry.yml. There is nothing to check
// before the first apply, in maintenance, with another kind of storage, and where the
// check is turned off (health.storagedriver.enabled).
func (w Watch) Settings() (Settings, error) {
	if _, err := os.Stat(w.Maintenance); err == nil {
		return Settings{}, nil
	}
	data, err := os.ReadFile(w.Registry)
	if errors.Is(err, fs.ErrNotExist) {
		return Settings{}, nil
	}
	if err != nil {
		return Settings{}, fmt.Errorf("cannot read the registry's configuration: %w", err)
	}
	c, err := registryyml.Read(data)
	if err != nil {
		return Settings{}, fmt.Errorf("cannot read the registry's configuration: %s is damaged: run redoubt apply to write it again", w.Registry)
	}
	check := c.Health.StorageDriver
	s := Settings{Interval: check.Interval, Threshold: check.Threshold, me: w.me(c)}
	if s.Interval <= 0 {
		s.Interval = 10 * time.Second
	}
	if s.Threshold <= 0 {
		s.Threshold = 3
	}
	if check.Enabled {
		s.Place = w.place(c.Storage)
	}
	return s, nil
}

// place is the storage that the registry uses; nil for a kind that is not checked.
func (w Watch) place(storage configuration.Storage) Place {
	if params, ok := storage["filesystem"]; ok {
		root, _ := params["rootdirectory"].(string)
		return Directory{Root: root, Record: w.Record, ID: w.id()}
	}
	for _, driver := range []string{"s3", "s3aws"} {
		params, ok := storage[driver]
		if !ok {
			continue
		}
		b, err := bucket.OpenDefault(params)
		if err != nil {
			return unusable{fmt.Sprintf("bucket %v", params["bucket"]), err}
		}
		return Objects{Bucket: b, ID: w.id()}
	}
	return nil
}

// me is what this machine says of itself to others on the same storage.
func (w Watch) me(c *configuration.Configuration) neighbours.Machine {
	m := neighbours.Machine{ID: w.id(), Nodes: 1}
	m.Name, _ = os.Hostname() // better than nothing
	if u, err := url.Parse(c.HTTP.Host); err == nil && u.Host != "" {
		m.Name = u.Host
	}
	if n, ok := c.Auth.Parameters()[nodesOption].(int); ok {
		m.Nodes = n
	}
	return m
}

// nodesOption is the option of the access controller with the number of machines that are
// meant to use the storage. Distribution's own words have none for it.
const nodesOption = "nodes"

// Name is what the place of a storage is called in a State; empty for a kind that is not
// checked, and where it cannot be told.
func Name(storage configuration.Storage) string {
	switch params := storage.Parameters(); storage.Type() {
	case "filesystem":
		root, _ := params["rootdirectory"].(string)
		return root
	case "s3", "s3aws":
		params = maps.Clone(params)
		delete(params, "cabundle") // of which the name says nothing
		if s, err := bucket.FromParameters(params); err == nil {
			return bucketName(s)
		}
	}
	return ""
}

// id is this machine's own, from which machine-id(5) cannot be derived.
func (w Watch) id() string {
	name, err := os.ReadFile(filepath.Join(w.Root, paths.MachineID))
	if err != nil {
		host, _ := os.Hostname() // better than nothing
		name = []byte(host)
	}
	return fmt.Sprintf("%x", sha256.Sum256(append([]byte("redoubt health "), name...)))[:16]
}
