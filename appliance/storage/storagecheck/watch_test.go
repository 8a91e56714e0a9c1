//go:build integration

package storagecheck

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/redoubt-registry/redoubt/appliance/storage/health"
	"github.com/redoubt-registry/redoubt/test/stores"
)

// station is a machine's watch, with its files.
type station struct {
	Watch
	t   *testing.T
	out bytes.Buffer
}

func newStation(t *testing.T, storage string) *station {
	t.Helper()
	dir := t.TempDir()
	s := &station{t: t}
	s.Watch = Watch{
		Registry: filepath.Join(dir, "registry.yml"), Maintenance: filepath.Join(dir, "maintenance.json"),
		State: filepath.Join(dir, "state.json"), Neighbours: filepath.Join(dir, "machines.json"), Record: filepath.Join(dir, "record.json"), Root: dir, Out: &s.out,
	}
	s.configure(storage, "{enabled: true, interval: 5s, threshold: 2}")
	return s
}

func (s *station) configure(storage, looks string) {
	s.t.Helper()
	text := fmt.Sprintf("version: 0.1\nstorage:\n  delete: {enabled: true}\n%shealth: {storagedriver: %s}\n", storage, looks)
	check(s.t, os.WriteFile(s.Registry, []byte(text), 0o600))
}

// A slow machine checks before its registry has made the directories, at its first boot
// alone: what goes missing later is told.
func TestBeforeTheFirstStart(t *testing.T) {
	t.Parallel()
	root := filepath.Join(t.TempDir(), "registry")
	s := newStation(t, fmt.Sprintf("  filesystem: {rootdirectory: %q}\n", root))
	s.Record = filepath.Join(s.Root, "health", "record.json")
	if err := s.Keep(t.Context()); err != nil || s.out.Len() > 0 {
		t.Errorf("before the registry's first start: %v %s", err, &s.out)
	}
	if _, err := os.Stat(s.State); err == nil {
		t.Error("it graded what is not there yet")
	}
	check(t, os.MkdirAll(root, 0o750))
	check(t, os.Mkdir(filepath.Dir(s.Record), 0o750))
	check(t, s.Keep(t.Context()))
	check(t, os.RemoveAll(filepath.Dir(s.Record))) // as when the mount is gone
	check(t, os.RemoveAll(root))
	var err error
	for range 2 {
		err = errors.Join(err, s.Keep(t.Context()))
	}
	if err == nil || !strings.Contains(err.Error(), "is not there") {
		t.Errorf("gone: %v", err)
	}
}

// keep looks once; what it prints and returns must hold the words, or be nothing.
func (s *station) keep(grade health.Grade, printed, told string) health.State {
	s.t.Helper()
	s.out.Reset()
	err := s.Keep(s.t.Context())
	if (err != nil) != (told != "") || err != nil && !strings.Contains(err.Error(), told) {
		s.t.Errorf("people are told %v, want %q", err, told)
	}
	if out := s.out.String(); (out != "") != (printed != "") || !strings.Contains(out, printed) {
		s.t.Errorf("it prints %q, want %q", out, printed)
	}
	state, err := health.ReadState(s.State)
	check(s.t, err)
	if state.Grade != grade {
		s.t.Errorf("the grade is %s, want %s: %+v", state.Grade, grade, state)
	}
	return state
}

func TestKeepDirectory(t *testing.T) {
	t.Parallel()
	root := filepath.Join(t.TempDir(), "data")
	disk(t, root, "size=8m")
	s := newStation(t, fmt.Sprintf("  filesystem: {rootdirectory: %q}\n", root))
	state := s.keep(health.OK, "", "")
	if state.Interval != 5*time.Second || state.Storage != root || len(state.Operations) != 6 {
		t.Errorf("%+v", state)
	}
	if info, err := os.Stat(s.State); err != nil || info.Mode() != 0o644 {
		t.Errorf("the registry and root read it: %v %v", info.Mode(), err)
	}
	check(t, unix.Mount("", root, "", unix.MS_REMOUNT|unix.MS_RDONLY, "size=8m"))
	s.keep(health.Degraded, "", "the storage is degraded: "+root+" is mounted read-only")
	s.keep(health.Degraded, "", "") // told once
	check(t, unix.Mount("", root, "", unix.MS_REMOUNT, "size=8m"))
	s.keep(health.Degraded, "", "")
	s.keep(health.OK, "the storage is ok; it was degraded since ", "")
	s.keep(health.OK, "", "")
	if left, err := filepath.Glob(s.State + "*"); err != nil || len(left) != 1 {
		t.Errorf("%q are left", left)
	}
	check(t, os.WriteFile(s.State, []byte("{"), 0o600))
	s.keep(health.OK, "is damaged; the grade starts from this check", "")
}

// When a disk becomes full a file says so, and again now and then, for who makes room.
func TestFullIsToldToGC(t *testing.T) {
	t.Parallel()
	root := filepath.Join(t.TempDir(), "data")
	disk(t, root, "size=8m")
	s := newStation(t, fmt.Sprintf("  filesystem: {rootdirectory: %q}\n", root))
	s.Full = filepath.Join(t.TempDir(), "full")
	stamp := func() (at time.Time) {
		t.Helper()
		if info, err := os.Stat(s.Full); err == nil {
			at = info.ModTime()
		} else if !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
		return at
	}
	s.keep(health.OK, "", "")
	if !stamp().IsZero() {
		t.Error("it is said of a disk with room")
	}
	check(t, os.WriteFile(filepath.Join(root, "filler"), make([]byte, 8<<20-200<<10), 0o600))
	s.keep(health.Degraded, "", "the disk is full")
	first := stamp()
	s.keep(health.Degraded, "", "")
	if first.IsZero() || !stamp().Equal(first) {
		t.Errorf("it is said at %v, and again at %v", first, stamp())
	}
	old := first.Add(-fullAgain)
	check(t, os.Chtimes(s.Full, old, old))
	s.keep(health.Degraded, "", "")
	if stamp().Equal(old) {
		t.Error("it is not said again")
	}
	check(t, os.Remove(filepath.Join(root, "filler")))
	s.keep(health.Degraded, "", "")
	if now := stamp(); now.IsZero() || now.Equal(old) {
		t.Error("the file has changed when there is room")
	}
	check(t, os.WriteFile(filepath.Join(root, "filler"), make([]byte, 8<<20-200<<10), 0o600))
	check(t, os.Chtimes(s.Full, first, first))
	s.keep(health.Degraded, "", "")
	if stamp().Equal(first) {
		t.Error("it is not said of the next time")
	}
}

// A dead bucket is believed after the threshold, its return after two looks.
func TestKeepBucket(t *testing.T) {
	store := stores.Versity(t)
	name := store.NewBucket(t)
	s := newStation(t, fmt.Sprintf("  s3: {bucket: %s, region: %s, regionendpoint: %q, accesskey: %s, secretkey: %s}\n",
		name, store.Region, store.Endpoint, store.AccessKey, store.SecretKey))
	first := s.keep(health.OK, "", "")
	second := s.keep(health.OK, "", "")
	if !first.Operations[4].At.Equal(second.Operations[4].At) || first.Operations[0].At.Equal(second.Operations[0].At) {
		t.Error("what costs more is tried each time, or the rest is not")
	}
	store.Kill()
	s.keep(health.OK, "", "")
	down := s.keep(health.Down, "", "the storage is down: "+strings.TrimPrefix(store.Endpoint, "http://")+" refuses the connection")
	if down.Key != "storage.s3.endpoint" || down.Reason != "it does not answer" || down.Failures != 2 {
		t.Errorf("%+v", down)
	}
	store.Start()
	s.keep(health.Down, "", "")
	s.keep(health.OK, "the storage is ok; it was down since", "")
	// Another bucket starts with a grade of its own.
	s.configure(fmt.Sprintf("  s3: {bucket: another, region: %s, regionendpoint: %q, accesskey: %s, secretkey: %s}\n",
		store.Region, store.Endpoint, store.AccessKey, store.SecretKey), "{enabled: true, threshold: 1}")
	s.keep(health.Down, "", "there is no such bucket")
	// One that cannot even be opened: its credentials are not there.
	s.configure("  s3: {bucket: third, region: r}\n", "{enabled: true, threshold: 1}")
	t.Setenv("CREDENTIALS_DIRECTORY", t.TempDir())
	s.keep(health.Down, "", "redoubt.s3")
	secret := store.SecretKey
	if data, err := os.ReadFile(s.State); err != nil || bytes.Contains(data, []byte(secret)) {
		t.Errorf("the state shows the secret key, or: %v", err)
	}
}

func TestNothingToLookAt(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	storage := fmt.Sprintf("  filesystem: {rootdirectory: %q}\n", root)
	for name, arrange := range map[string]func(s *station){
		"before the first apply": func(s *station) { check(t, os.Remove(s.Registry)) },
		"in maintenance":         func(s *station) { check(t, os.WriteFile(s.Maintenance, nil, 0o600)) },
		"turned off":             func(s *station) { s.configure(storage, "{enabled: false}") },
		"another kind":           func(s *station) { s.configure("  inmemory:\n", "{enabled: true}") },
	} {
		t.Run(name, func(t *testing.T) {
			s := newStation(t, storage)
			arrange(s)
			if err := s.Keep(t.Context()); err != nil {
				t.Error(err)
			}
			if _, err := os.Stat(s.State); err == nil || s.out.Len() > 0 || len(below(t, root)) > 0 {
				t.Errorf("it looked all the same: %s", &s.out)
			}
			if _, err := s.Look(t.Context(), false); err == nil || !strings.Contains(err.Error(), "there is no storage to look at") {
				t.Errorf("by hand: %v", err)
			}
		})
	}
	s := newStation(t, storage)
	check(t, os.WriteFile(s.Registry, []byte("storage: [\x00"), 0o600))
	if err := s.Keep(t.Context()); err == nil || !strings.Contains(err.Error(), "run redoubt apply to write it again") {
		t.Errorf("a damaged configuration: %v", err)
	}
}

func TestLookByHand(t *testing.T) {
	t.Parallel()
	root := filepath.Join(t.TempDir(), "data")
	disk(t, root, "size=8m")
	s := newStation(t, fmt.Sprintf("  filesystem: {rootdirectory: %q}\n", root))
	r, err := s.Look(t.Context(), false)
	check(t, err)
	text := r.String()
	if r.Err() != nil || !strings.HasPrefix(text, "ok: "+root+"\n\n  root    ") || !strings.Contains(text, "the last check is old") {
		t.Errorf("%v\n%s", r.Err(), text)
	}
	if _, err := os.Stat(s.State); err == nil {
		t.Error("it keeps a state")
	}
	s.keep(health.OK, "", "")
	check(t, unix.Mount("", root, "", unix.MS_REMOUNT|unix.MS_RDONLY, "size=8m"))
	r, err = s.Look(t.Context(), false)
	check(t, err)
	text = r.String()
	if r.Err() == nil || !strings.HasPrefix(text, "degraded: "+root) || !strings.Contains(text, "The grade in force is ok, since ") ||
		!strings.Contains(text, root+" is mounted read-only: look for the disk's errors") {
		t.Errorf("%v\n%s", r.Err(), text)
	}
	if names := failing(health.Look{Operations: r.Operations}); !slices.Equal(names, []string{"put"}) {
		t.Errorf("%q fail", names)
	}
	s.configure("  s3: {bucket: b, region: r, accesskey: a, secretkey: b}\n", "{enabled: true}")
	if _, err := s.Look(t.Context(), true); err == nil || !strings.Contains(err.Error(), "cannot use --adopt") {
		t.Errorf("--adopt of a bucket: %v", err)
	}
}
