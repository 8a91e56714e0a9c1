package cert

import (
	"bytes"
	"crypto/rand"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func ensureCA(t *testing.T, dir string, now time.Time, names ...string) (*CA, Outcome) {
	t.Helper()
	ca, out, err := EnsureCA(dir, names, now, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return ca, out
}

func ensureServer(t *testing.T, dir string, ca *CA, validity time.Duration, now time.Time, names ...string) Outcome {
	t.Helper()
	out, err := EnsureServer(dir, ca, names, validity, now, rand.Reader, os.Getgid())
	if err != nil {
		t.Fatal(err)
	}
	return out
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

func TestEnsureCAKeeps(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "ca")
	first, out := ensureCA(t, dir, start, "a.example", "b.example")
	if !out.New || len(out.Kept) != 0 {
		t.Errorf("the first: %+v", out)
	}
	wantMode(t, filepath.Join(dir, "ca.key"), 0o600)
	wantMode(t, filepath.Join(dir, "ca.crt"), 0o644)
	for name, tc := range map[string]struct {
		now   time.Time
		names []string
	}{
		"again":           {start, []string{"a.example", "b.example"}},
		"fewer names":     {start, []string{"b.example"}},
		"years on":        {start.AddDate(9, 10, 0), []string{"a.example"}},
		"the clock is 0":  {time.Unix(0, 0), []string{"a.example"}},
		"in capitals":     {start, []string{"A.EXAMPLE"}},
		"a name below it": {start, []string{"x.a.example"}},
	} {
		ca, out := ensureCA(t, dir, tc.now, tc.names...)
		if out.New || !bytes.Equal(ca.Certificate.Raw, first.Certificate.Raw) {
			t.Errorf("%s: a new authority: %+v", name, out)
		}
	}
}

func TestEnsureCAReplaces(t *testing.T) {
	for name, tc := range map[string]struct {
		harm  func(t *testing.T, dir string)
		now   time.Time
		names []string
		kept  int
	}{
		"another name": {func(*testing.T, string) {}, start, []string{"b.example"}, 2},
		"an address":   {func(*testing.T, string) {}, start, []string{"a.example", "192.0.2.1"}, 2},
		"at its end":   {func(*testing.T, string) {}, start.AddDate(9, 11, 20), []string{"a.example"}, 2},
		"empty":        {func(t *testing.T, dir string) { put(t, dir+"/ca.crt", nil) }, start, []string{"a.example"}, 2},
		"NULs":         {func(t *testing.T, dir string) { put(t, dir+"/ca.key", make([]byte, 300)) }, start, []string{"a.example"}, 2},
		"no key": {func(t *testing.T, dir string) {
			if err := os.Remove(dir + "/ca.key"); err != nil {
				t.Fatal(err)
			}
		}, start, []string{"a.example"}, 1},
		"another key": {func(t *testing.T, dir string) {
			key, err := newCA(t, "a.example").KeyPEM()
			if err != nil {
				t.Fatal(err)
			}
			put(t, dir+"/ca.key", key)
		}, start, []string{"a.example"}, 2},
		"a server's certificate": {func(t *testing.T, dir string) {
			c, key, err := SelfSigned([]string{"a.example"}, start, rand.Reader)
			if err != nil {
				t.Fatal(err)
			}
			put(t, dir+"/ca.crt", c)
			put(t, dir+"/ca.key", key)
		}, start, []string{"a.example"}, 2},
		"a FIFO": {func(t *testing.T, dir string) {
			if err := os.Remove(dir + "/ca.crt"); err != nil {
				t.Fatal(err)
			}
			if err := syscall.Mkfifo(dir+"/ca.crt", 0o600); err != nil {
				t.Fatal(err)
			}
		}, start, []string{"a.example"}, 2},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			first, _ := ensureCA(t, dir, start, "a.example")
			tc.harm(t, dir)
			ca, out := ensureCA(t, dir, tc.now, tc.names...)
			if !out.New || out.Reason == "" || bytes.Equal(ca.Certificate.Raw, first.Certificate.Raw) {
				t.Fatalf("the old one stands: %+v", out)
			}
			if len(out.Kept) != tc.kept {
				t.Errorf("kept %v, want %d files", out.Kept, tc.kept)
			}
			for _, path := range out.Kept {
				if _, err := os.Lstat(path); err != nil {
					t.Error(err)
				}
			}
			again, out := ensureCA(t, dir, tc.now, tc.names...)
			if out.New || !bytes.Equal(again.Certificate.Raw, ca.Certificate.Raw) {
				t.Errorf("the new one does not stand: %+v", out)
			}
		})
	}
}

func TestEnsureServer(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "certificates")
	ca := newCA(t, "a.example", "b.example", "192.0.2.1")
	const validity = 2160 * time.Hour
	if out := ensureServer(t, dir, ca, validity, start, "a.example", "192.0.2.1"); !out.New {
		t.Fatal("nothing was made")
	}
	wantMode(t, filepath.Join(dir, "current"), 0o750)
	wantMode(t, filepath.Join(dir, "current/tls.key"), 0o640)
	wantMode(t, filepath.Join(dir, "current/tls.crt"), 0o644)
	for name, tc := range map[string]struct {
		ca       *CA
		names    []string
		validity time.Duration
		now      time.Time
		fresh    bool
	}{
		"1 same":            {ca, []string{"192.0.2.1", "A.example"}, validity, start, false},
		"2 before its time": {ca, []string{"a.example", "192.0.2.1"}, validity, time.Unix(0, 0), false},
		"3 two thirds on":   {ca, []string{"a.example", "192.0.2.1"}, validity, start.Add(1430 * time.Hour), false},
		"4 due":             {ca, []string{"a.example", "192.0.2.1"}, validity, start.Add(1450 * time.Hour), true},
		"5 more names":      {ca, []string{"a.example", "b.example", "192.0.2.1"}, validity, start, true},
		"6 fewer names":     {ca, []string{"a.example"}, validity, start, true},
		"7 shorter":         {ca, []string{"a.example", "192.0.2.1"}, time.Hour * 24, start, true},
		"8 another CA":      {newCA(t, "a.example", "192.0.2.1"), []string{"a.example", "192.0.2.1"}, validity, start, true},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "certificates")
			ensureServer(t, dir, ca, validity, start, "a.example", "192.0.2.1")
			before := read(t, dir+"/current/tls.crt")
			out := ensureServer(t, dir, tc.ca, tc.validity, tc.now, tc.names...)
			if out.New != tc.fresh || (out.Reason != "") != tc.fresh {
				t.Errorf("%+v, want new %v", out, tc.fresh)
			}
			if changed := !bytes.Equal(before, read(t, dir+"/current/tls.crt")); changed != tc.fresh {
				t.Errorf("the file changed: %v", changed)
			}
			if out := ensureServer(t, dir, tc.ca, tc.validity, tc.now, tc.names...); out.New {
				t.Errorf("again: %+v", out)
			}
		})
	}
}

func TestPublishKeepsThePreviousGeneration(t *testing.T) {
	dir := t.TempDir()
	ca := newCA(t, "a.example")
	for i := range 5 {
		ensureServer(t, dir, ca, time.Duration(1000+i*100)*time.Hour, start, "a.example")
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
	ensureServer(t, dir, ca, 1000*time.Hour, start, "a.example")
	if err := os.Mkdir(dir+"/2", 0o750); err != nil {
		t.Fatal(err)
	}
	put(t, dir+"/2/tls.crt", nil)
	if err := os.Symlink("2", dir+"/.current.new"); err != nil {
		t.Fatal(err)
	}
	if out := ensureServer(t, dir, ca, 1000*time.Hour, start, "a.example"); out.New {
		t.Errorf("the whole pair was not used: %+v", out)
	}
	ensureServer(t, dir, ca, 2000*time.Hour, start, "a.example")
	if _, err := Current(dir); err != nil {
		t.Error(err)
	}
}

func TestEnsureServerMendsADamagedPair(t *testing.T) {
	for _, file := range []string{"tls.crt", "tls.key"} {
		dir := t.TempDir()
		ca := newCA(t, "a.example")
		ensureServer(t, dir, ca, 1000*time.Hour, start, "a.example")
		put(t, dir+"/current/"+file, make([]byte, 500))
		if out := ensureServer(t, dir, ca, 1000*time.Hour, start, "a.example"); !out.New {
			t.Errorf("%s: %+v", file, out)
		}
		if _, err := Current(dir); err != nil {
			t.Error(err)
		}
	}
}

func TestPublishRefusesWhatCannotBeServed(t *testing.T) {
	dir := t.TempDir()
	ca := newCA(t, "a.example")
	ensureServer(t, dir, ca, 1000*time.Hour, start, "a.example")
	before := read(t, dir+"/current/tls.crt")
	if err := Publish(dir, ca.PEM(), read(t, dir+"/current/tls.key"), -1); err == nil {
		t.Error("a key that is not the certificate's was published")
	}
	if !bytes.Equal(before, read(t, dir+"/current/tls.crt")) {
		t.Error("the old pair is gone")
	}
}

func TestKeyPairReload(t *testing.T) {
	dir := t.TempDir()
	ca := newCA(t, "a.example")
	ensureServer(t, dir, ca, 1000*time.Hour, start, "a.example")
	now := start
	pair, err := OpenKeyPair(dir+"/current/tls.crt", dir+"/current/tls.key", func() time.Time { return now })
	if err != nil {
		t.Fatal(err)
	}
	first := pair.Leaf()
	ensureServer(t, dir, ca, 2000*time.Hour, start, "a.example")
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
	ensureServer(t, dir, ca, time.Hour, start, "a.example")
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
	ensureServer(t, dir, ca, 1000*time.Hour, start, "a.example")
	pair, err := OpenKeyPair(dir+"/current/tls.crt", dir+"/current/tls.key", time.Now)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range 50 {
			_, _ = EnsureServer(dir, ca, []string{"a.example"}, time.Duration(2000+i)*time.Hour, start, rand.Reader, -1)
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
	if _, _, err := EnsureCA(dir, []string{"a.example"}, start, rand.Reader); err == nil || !strings.Contains(err.Error(), dir) {
		t.Errorf("EnsureCA in a file: %v", err)
	}
	if _, err := EnsureServer(dir, newCA(t, "a.example"), []string{"a.example"}, time.Hour, start, rand.Reader, -1); err == nil || !strings.Contains(err.Error(), dir) {
		t.Errorf("EnsureServer in a file: %v", err)
	}
}
