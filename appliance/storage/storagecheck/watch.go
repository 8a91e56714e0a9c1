package storagecheck

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/redoubt-registry/redoubt/appliance/storage/bucket"
	"github.com/redoubt-registry/redoubt/appliance/storage/health"
)

// Watch looks at the storage that the registry of this machine has.
type Watch struct {
	Registry    string // registry.yml, where the storage is named
	Maintenance string // while this file exists there is nothing to look at
	State       string // where the state is kept
	Record      string // what remembers the file system of a directory
	Root        string // of this machine's own files: /
	User        string // who the registry is: what root may do says nothing of it
	Out         io.Writer
}

// NewWatch is the watch of this machine.
func NewWatch(out io.Writer) Watch {
	return Watch{
		Registry:    "/run/redoubt/registry.yml",
		Maintenance: "/run/redoubt/maintenance.json",
		State:       health.StatePath,
		Record:      RecordPath,
		Root:        "/",
		User:        "redoubt-registry",
		Out:         out,
	}
}

// Settings are what registry.yml says of the looks.
type Settings struct {
	Place     Place // nil: nothing to look at
	Interval  time.Duration
	Threshold int
}

// Keep looks once and keeps what the looks have come to. Its error is for people: the
// storage has got worse, or has been bad for another day. It prints nothing unless the
// grade changes.
func (w Watch) Keep(ctx context.Context) error {
	settings, err := w.Settings()
	if err != nil || settings.Place == nil {
		return err
	}
	before, err := health.ReadState(w.State)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		fmt.Fprintf(w.Out, "warning: %v; it begins anew\n", err)
	}
	began, look := time.Now(), health.Look{}
	for time.Since(began) < hung && (look.At.IsZero() || stuck(look)) {
		look = Probe(ctx, settings.Place, before.Look(), before.Failures > 0)
		if ctx.Err() != nil {
			return nil // somebody stops it: what was found says nothing
		}
		state, tell := before.Next(look, settings.Interval, settings.Threshold)
		if err := w.keep(before, state); err != nil {
			return err
		}
		if tell {
			return Trouble(state)
		}
		before = state
	}
	return nil
}

// hung is how long a disk that does not answer is asked again by the same look: the process
// cannot end before the disk answers, and the next look would come too late.
const hung = 12 * time.Second

// stuck says whether an access to a disk has not come back.
func stuck(look health.Look) bool {
	for _, o := range look.Operations {
		if o.Reason == silent {
			return true
		}
	}
	return false
}

// keep writes the state where others read it, and says what has got better.
func (w Watch) keep(before, state health.State) error {
	data, err := json.MarshalIndent(state, "", "  ")
	if err == nil {
		err = writeFile(w.State, append(data, '\n'))
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
	if why == "" { // the last look was good, and is not believed yet
		why = s.Reason
	}
	if s.Key != "" {
		why += " (" + s.Key + ")"
	}
	return fmt.Errorf("the storage is %s: %s", s.Grade, why)
}

// Settings reads what registry.yml says of the storage and the looks at it. There is
// nothing to look at before the first apply, in maintenance, with a storage of another
// kind, and where the check is turned off (health.storagedriver.enabled).
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
	var document struct {
		Storage map[string]map[string]any `yaml:"storage"`
		Health  struct {
			StorageDriver struct {
				Enabled   bool          `yaml:"enabled"`
				Interval  time.Duration `yaml:"interval"`
				Threshold int           `yaml:"threshold"`
			} `yaml:"storagedriver"`
		} `yaml:"health"`
	}
	if err := yaml.Unmarshal(data, &document); err != nil {
		return Settings{}, fmt.Errorf("cannot read the registry's configuration: %s is damaged: redoubt apply makes it anew", w.Registry)
	}
	check := document.Health.StorageDriver
	s := Settings{Interval: check.Interval, Threshold: check.Threshold}
	if s.Interval <= 0 {
		s.Interval = 10 * time.Second
	}
	if s.Threshold <= 0 {
		s.Threshold = 3
	}
	if check.Enabled {
		s.Place = w.place(document.Storage)
	}
	return s, nil
}

// place is the storage that the registry uses; nil for one of a kind that is not
// looked at.
func (w Watch) place(storage map[string]map[string]any) Place {
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

// id is this machine's own, which says nothing of machine-id(5).
func (w Watch) id() string {
	name, err := os.ReadFile(filepath.Join(w.Root, "etc/machine-id"))
	if err != nil {
		host, _ := os.Hostname() // better than nothing
		name = []byte(host)
	}
	return fmt.Sprintf("%x", sha256.Sum256(append([]byte("redoubt health "), name...)))[:16]
}
