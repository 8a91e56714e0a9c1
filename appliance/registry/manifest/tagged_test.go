package manifest

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
)

func TestTagged(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "link")
	one, two := digest.FromString("one"), digest.FromString("two")
	write := func(path string, d digest.Digest) {
		if err := os.WriteFile(path, []byte(d), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	reads := func(tags *tagged, want digest.Digest) {
		t.Helper()
		if got, ok := tags.read(path); got != want || ok != (want != "") {
			t.Errorf("%s, %v, want %s", got, ok, want)
		}
	}
	tags := newTagged()
	reads(tags, "")
	// Within a tick of the clock, of one size, in place: the stamp may be the same.
	for range 200 {
		write(path, one)
		reads(tags, one)
		write(path, two)
		reads(tags, two)
	}
	if tags.known.Len() != 0 {
		t.Error("a file is trusted that was written just now")
	}

	tags.settled = 0
	reads(tags, two)
	if was, ok := tags.known.Get(path); !ok || was.digest != two {
		t.Error("an old file is not remembered")
	}
	reads(tags, two)
	write(path+".new", one) // as the storage driver writes it: under another name first
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
	reads(tags, one)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	reads(tags, "")
	write(path, "no digest")
	reads(tags, "")
}

// What another process has written is seen, whatever is remembered.
func TestTaggedSeesLaterVersions(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "link")
	tags := newTagged()
	for i := range 3 {
		want := digest.FromString(time.Duration(i).String())
		if err := os.WriteFile(path, []byte(want), 0o600); err != nil {
			t.Fatal(err)
		}
		old := time.Now().Add(-time.Duration(i+1) * time.Hour)
		if err := os.Chtimes(path, old, old); err != nil { // a restored file is old at once
			t.Fatal(err)
		}
		if got, _ := tags.read(path); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}
