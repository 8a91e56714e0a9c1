package collect_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/redoubt-registry/redoubt/appliance/storage/collect"
	"github.com/redoubt-registry/redoubt/appliance/storage/layout"
	"github.com/redoubt-registry/redoubt/appliance/storage/trash"
)

// What makes room takes the oldest first, leaves what a run has taken that did not end, and
// killed at any change it leaves nothing that the next run does not put right.
func TestRelieve(t *testing.T) {
	t.Parallel()
	for at, killed := 0, true; killed; at++ {
		s := newStore(t)
		wanted, wantedLayer := s.image("a", "wanted", "")
		s.tag("a", "v1", wanted)
		_, first := s.image("a", "first", "")
		c := s.collector()
		c.Trash = 24 * time.Hour
		s.run(c)
		_, second := s.image("a", "second", "")
		s.run(c)
		never := func() (bool, error) { return false, nil }
		beat := func(context.Context) error { return nil }
		once := false
		if blobs, _, err := collect.Relieve(t.Context(), s.StorageDriver, beat, func() (bool, error) {
			was := once
			once = true
			return was, nil
		}); err != nil || blobs > 1 {
			t.Fatalf("%d blobs, %v", blobs, err)
		}
		// As a run leaves it that is killed before it has looked again.
		if gone, err := trash.Take(t.Context(), s.StorageDriver, layout.Path(wantedLayer), 3); gone || err != nil {
			t.Fatal(gone, err)
		}
		left := at
		_, _, err := collect.Relieve(t.Context(), mortal{s.StorageDriver, &left}, beat, never)
		if killed = errors.Is(err, errKilled); !killed {
			check(t, err)
			check(t, trash.Each(t.Context(), s.StorageDriver, func(e trash.Entry) error {
				if e.Run != 3 {
					t.Errorf("%s is left", e.Path)
				}
				return nil
			}))
		}
		s.run(c)
		s.want(true, layout.Path(wanted), layout.Path(wantedLayer), layout.LinkPath("a", layout.Revisions, wanted))
		s.want(false, layout.Path(first), layout.Path(second))
	}
}

// The oldest go first.
func TestRelieveTakesTheOldest(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	s.image("a", "old", "")
	c := s.collector()
	c.Trash = 24 * time.Hour
	s.run(c)
	s.image("a", "new", "")
	s.run(c)
	blobs, bytes, err := collect.Relieve(t.Context(), s.StorageDriver, func(context.Context) error { return nil }, func() (bool, error) {
		old := false
		err := trash.Each(t.Context(), s.StorageDriver, func(e trash.Entry) error {
			old = old || e.Run == 1
			return nil
		})
		return !old, err
	})
	if err != nil || blobs != 3 || bytes == 0 {
		t.Errorf("%d blobs, %d bytes, %v", blobs, bytes, err)
	}
	n := 0
	check(t, trash.Each(t.Context(), s.StorageDriver, func(e trash.Entry) error {
		if n++; e.Run != 2 {
			t.Errorf("of run %d is left %s", e.Run, e.Path)
		}
		return nil
	}))
	if n != 4 {
		t.Errorf("%d entries are left", n)
	}
}
