package cert

import (
	"bytes"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// site is where a machine keeps what it has.
type site struct {
	*testing.T
	dirs Dirs
}

func newSite(t *testing.T) *site {
	t.Helper()
	dir := t.TempDir()
	return &site{t, Dirs{Authorities: filepath.Join(dir, "ca"), Certificates: filepath.Join(dir, "certificates"), GID: os.Getgid()}}
}

const validity = 2160 * time.Hour

func (s *site) decide(want Want, now time.Time) (Decision, error) {
	s.Helper()
	have := Have{}
	var err error
	if have.Authorities, err = Authorities(s.dirs.Authorities); err != nil {
		s.Fatal(err)
	}
	if have.Pairs, err = CurrentPairs(s.dirs.Certificates); err != nil && !errors.Is(err, fs.ErrNotExist) {
		have.Problem = err.Error()
	}
	if want.Validity == 0 {
		want.Validity = validity
	}
	return Decide(want, have, now)
}

// ensure decides, carries out, and holds that there is nothing to do then.
func (s *site) ensure(want Want, now time.Time) Decision {
	s.Helper()
	d, err := s.decide(want, now)
	if err != nil {
		s.Fatal(err)
	}
	v := want.Validity
	if v == 0 {
		v = validity
	}
	if err := d.CarryOut(s.dirs, now, v, rand.Reader); err != nil {
		s.Fatal(err)
	}
	if again, err := s.decide(want, now); err != nil || again.Lines() != "" || again.Publish() {
		s.Errorf("again: %v\n%s", err, again.Lines())
	}
	return d
}

func (s *site) names(now time.Time, names ...string) Decision {
	s.Helper()
	return s.ensure(Want{Names: names}, now)
}

func (s *site) ca(file string) string { return filepath.Join(s.dirs.Authorities, file) }

func (s *site) pairs() []*tls.Certificate {
	s.Helper()
	pairs, err := CurrentPairs(s.dirs.Certificates)
	if err != nil {
		s.Fatal(err)
	}
	return pairs
}

// publish publishes a pair of ca under dir.
func publish(t *testing.T, dir string, ca *CA, validity time.Duration, names ...string) {
	t.Helper()
	pair, err := ca.IssuePair(names, start, validity, rand.Reader)
	if err == nil {
		err = Publish(dir, os.Getgid(), pair)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func put(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

func wantMode(t *testing.T, path string, want fs.FileMode) {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != want {
		t.Errorf("%s has mode %o, want %o", path, info.Mode().Perm(), want)
	}
}

// What lies on the disk has the modes that its readers need.
func TestModes(t *testing.T) {
	s := newSite(t)
	s.names(start, "a.example", "192.0.2.1")
	wantMode(t, s.ca("ca.key"), 0o600)
	wantMode(t, s.ca("ca.crt"), 0o644)
	dir := s.dirs.Certificates
	wantMode(t, dir+"/current", 0o750)
	wantMode(t, dir+"/current/tls.key", 0o640)
	wantMode(t, dir+"/current/tls.crt", 0o644)
	put(t, dir+"/current/tls.key", read(t, dir+"/current/tls.key"))
	if err := os.Chmod(dir+"/current/tls.key", 0o600); err != nil {
		t.Fatal(err)
	}
	s.names(start, "a.example", "192.0.2.1")
	wantMode(t, dir+"/current/tls.key", 0o640)
}

func TestPublishKeepsThePreviousGeneration(t *testing.T) {
	dir := t.TempDir()
	ca := newCA(t, "a.example")
	for i := range 5 {
		publish(t, dir, ca, time.Duration(1000+i*100)*time.Hour, "a.example")
	}
	got, err := listGenerations(dir)
	if err != nil || len(got) != 2 || got[0] != 4 || got[1] != 5 {
		t.Errorf("generations %v, %v", got, err)
	}
	if target, err := os.Readlink(dir + "/current"); err != nil || target != "5" {
		t.Errorf("current is %q, %v", target, err)
	}
	if _, err := ParsePair(read(t, dir+"/4/tls.crt"), read(t, dir+"/4/tls.key")); err != nil {
		t.Error(err)
	}
}

// What a crash leaves behind is neither used nor in the way.
func TestPublishAfterACrash(t *testing.T) {
	dir := t.TempDir()
	ca := newCA(t, "a.example")
	publish(t, dir, ca, 1000*time.Hour, "a.example")
	if err := os.Mkdir(dir+"/2", 0o750); err != nil {
		t.Fatal(err)
	}
	put(t, dir+"/2/tls.crt", nil)
	if err := os.Symlink("2", dir+"/.current.new"); err != nil {
		t.Fatal(err)
	}
	if _, err := Current(dir); err != nil {
		t.Errorf("the whole pair is not used: %v", err)
	}
	publish(t, dir, ca, 2000*time.Hour, "a.example")
	if _, err := Current(dir); err != nil {
		t.Error(err)
	}
}

func TestPublishRefusesWhatCannotBeServed(t *testing.T) {
	dir := t.TempDir()
	ca := newCA(t, "a.example")
	publish(t, dir, ca, 1000*time.Hour, "a.example")
	before := read(t, dir+"/current/tls.crt")
	if err := Publish(dir, -1, Pair{ca.PEM(), read(t, dir+"/current/tls.key")}); err == nil {
		t.Error("a key that is not the certificate's was published")
	}
	if !bytes.Equal(before, read(t, dir+"/current/tls.crt")) {
		t.Error("the old pair is gone")
	}
}

func TestKeyPairReload(t *testing.T) {
	dir := t.TempDir()
	ca := newCA(t, "a.example")
	publish(t, dir, ca, 1000*time.Hour, "a.example")
	now := start
	pair, err := OpenKeyPair(dir+"/current/tls.crt", dir+"/current/tls.key", func() time.Time { return now })
	if err != nil {
		t.Fatal(err)
	}
	first := pair.Leaf()
	publish(t, dir, ca, 2000*time.Hour, "a.example")
	if err := pair.Reload(); err != nil || pair.Leaf().Equal(first) {
		t.Errorf("Reload = %v, and the pair is new: %v", err, !pair.Leaf().Equal(first))
	}
	second := pair.Leaf()
	for name, tc := range map[string]struct {
		harm func(path string)
		want string
	}{
		"empty":     {func(p string) { put(t, p, nil) }, "tls.crt"},
		"directory": {func(p string) { os.Remove(p); os.Mkdir(p, 0o755) }, "not a regular file"},
		"missing":   {func(p string) { os.Remove(p) }, "tls.crt"},
		"FIFO":      {func(p string) { os.Remove(p); _ = syscall.Mkfifo(p, 0o600) }, "not a regular file"},
		"huge":      {func(p string) { put(t, p, make([]byte, maxPEM+1)) }, "larger"},
		"other's":   {func(p string) { put(t, p, ca.PEM()) }, "does not belong"},
	} {
		path := dir + "/current/tls.crt"
		good := read(t, path)
		tc.harm(path)
		err := pair.Reload()
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: Reload = %v, want %q", name, err, tc.want)
		}
		if !pair.Leaf().Equal(second) {
			t.Errorf("%s: the old pair is gone", name)
		}
		if err := os.RemoveAll(path); err != nil {
			t.Fatal(err)
		}
		put(t, path, good)
	}
	// An expired pair does not replace one that is not, but does start.
	publish(t, dir, ca, time.Hour, "a.example")
	now = start.Add(48 * time.Hour)
	if err := pair.Reload(); err == nil || !strings.Contains(err.Error(), "expired") || !pair.Leaf().Equal(second) {
		t.Errorf("Reload of an expired pair = %v", err)
	}
	if _, err := OpenKeyPair(dir+"/current/tls.crt", dir+"/current/tls.key", func() time.Time { return now }); err != nil {
		t.Errorf("an expired pair at the start: %v", err)
	}
}

// Reload while generations are published never sees half of each.
func TestReloadDuringPublish(t *testing.T) {
	dir := t.TempDir()
	ca := newCA(t, "a.example")
	publish(t, dir, ca, 1000*time.Hour, "a.example")
	pair, err := OpenKeyPair(dir+"/current/tls.crt", dir+"/current/tls.key", time.Now)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range 50 {
			pair, err := ca.IssuePair([]string{"a.example"}, start, time.Duration(2000+i)*time.Hour, rand.Reader)
			if err == nil {
				err = Publish(dir, -1, pair, pair)
			}
			if err != nil {
				t.Error(err)
			}
		}
	}()
	for {
		select {
		case <-done:
			return
		default:
		}
		if err := pair.Reload(); err != nil {
			t.Error(err)
			<-done
			return
		}
	}
}

func TestUnwritable(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "file")
	put(t, dir, nil)
	if _, err := MakeAuthority(dir, 1, []string{"a.example"}, start, rand.Reader); err == nil || !strings.Contains(err.Error(), dir) {
		t.Errorf("an authority in a file: %v", err)
	}
	pair, err := newCA(t, "a.example").IssuePair([]string{"a.example"}, start, time.Hour, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if err := Publish(dir, -1, pair); err == nil || !strings.Contains(err.Error(), dir) {
		t.Errorf("a certificate in a file: %v", err)
	}
}
