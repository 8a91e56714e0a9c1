package collect_test

import (
	"slices"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/redoubt-registry/redoubt/appliance/storage/layout"
	"github.com/redoubt-registry/redoubt/appliance/storage/trash"
)

func (s *store) takeBack(w trash.Wanted) trash.Brought {
	s.t.Helper()
	b, err := trash.TakeBack(s.t.Context(), s.StorageDriver, w)
	check(s.t, err)
	return b
}

func (s *store) deletions() (list []trash.Deletion) {
	s.t.Helper()
	check(s.t, trash.EachRecord(s.t.Context(), s.StorageDriver, func(r trash.Record) error {
		list = append(list, r.Deletions...)
		return nil
	}))
	return list
}

// wantImage says that a tag leads to an image which is whole.
func (s *store) wantTag(repo, tag string, image digest.Digest, blobs ...digest.Digest) {
	s.t.Helper()
	if got, gone, err := layout.Read(s.t.Context(), s.StorageDriver, layout.TagPath(repo, tag)); got != image || gone || err != nil {
		s.t.Errorf("%s:%s is %s: %v, %v", repo, tag, got, gone, err)
	}
	s.want(true, layout.Path(image), layout.LinkPath(repo, layout.Revisions, image))
	for _, b := range blobs {
		s.want(true, layout.Path(b), layout.LinkPath(repo, layout.Layers, b))
	}
}

// A tag or a manifest that was deleted comes back with all that it led to, also when a
// collection has taken that, until it has been in the trash for long enough.
func TestDeletionIsTakenBack(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"by the tag", "by the digest", "as a bucket"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			s := newStore(t)
			if how == "as a bucket" {
				s.StorageDriver = copies{s.StorageDriver}
			}
			child, layer := s.image("a/b", "child", "")
			index := s.index("a/b", child)
			s.tag("a/b", "v1", index)
			signature, signed := s.image("a/b", "signature", index)
			s.put(layout.ReferrerPath("a/b", index, signature), "{}")
			c := s.collector()
			c.Trash = 7 * 24 * time.Hour
			s.run(c)
			lost := func() {
				ctx := t.Context()
				if how == "by the digest" {
					check(t, trash.Remove(ctx, s.StorageDriver, "a/b", index))
				}
				check(t, trash.Untag(ctx, s.StorageDriver, "a/b", "v1"))
				s.want(false, layout.TagPath("a/b", "v1"))
				if d := trash.Driver(s.StorageDriver); how == "by the digest" {
					if _, err := d.Stat(ctx, layout.LinkPath("a/b", layout.Revisions, index)); !layout.Missing(err) {
						t.Errorf("what was deleted comes back by itself: %v", err)
					}
				}
			}
			for range 3 { // and again after it was taken back
				lost()
				for range 3 {
					s.now = s.now.Add(24 * time.Hour)
					s.run(c)
				}
				s.want(false, layout.Path(layer), layout.Path(child), layout.Path(signed))
				b := s.takeBack(trash.Wanted{Repository: "a/b", Digest: index})
				if len(b.Gone) > 0 || !slices.ContainsFunc(b.Deletions, func(x trash.Deletion) bool { return x.Digest == index }) {
					t.Errorf("%+v", b)
				}
				s.wantTag("a/b", "v1", index)
				s.wantTag("a/b", "v1", index, layer)
				s.want(true, layout.LinkPath("a/b", layout.Revisions, child), layout.Path(child), layout.Path(signed), layout.LinkPath("a/b", layout.Revisions, signature))
				if left := s.deletions(); len(left) > 0 {
					t.Errorf("still there: %v", left)
				}
				s.run(c)
				s.wantTag("a/b", "v1", index, layer)
			}
			lost()
			for range 9 {
				s.now = s.now.Add(24 * time.Hour)
				s.run(c)
			}
			if left := s.deletions(); len(left) > 0 {
				t.Errorf("still there after nine days: %v", left)
			}
			if b := s.takeBack(trash.Wanted{Repository: "a/b"}); len(b.Deletions) > 0 {
				t.Errorf("it came back after nine days: %+v", b)
			}
		})
	}
}

// A tag that points to something else by now is left, unless it is the one that is
// wanted. One that was overwritten gets what it had before.
func TestTagsThatStand(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	old, _ := s.image("a", "old", "")
	other, _ := s.image("a", "other", "")
	write := func(tag string, dgst digest.Digest) {
		s.tag("a", tag, dgst)
		s.put(layout.TaggedPath("a", tag, dgst), dgst.String())
	}
	write("v1", old)
	write("gone", old)
	began := time.Now().Add(-time.Second)
	check(t, trash.Untag(t.Context(), s.StorageDriver, "a", "v1"))
	check(t, trash.Untag(t.Context(), s.StorageDriver, "a", "gone"))
	write("v1", other)
	b := s.takeBack(trash.Wanted{Since: began})
	if len(b.Deletions) != 1 || len(b.Standing) != 1 {
		t.Errorf("%+v", b)
	}
	s.wantTag("a", "v1", other)
	s.wantTag("a", "gone", old)
	if b := s.takeBack(trash.Wanted{Since: time.Now().Add(time.Hour)}); len(b.Deletions)+len(b.Standing) > 0 {
		t.Errorf("%+v", b)
	}
	s.takeBack(trash.Wanted{Repository: "a", Tag: "v1"})
	s.wantTag("a", "v1", old)
	s.takeBack(trash.Wanted{Repository: "a", Tag: "v1"}) // it was overwritten
	s.wantTag("a", "v1", other)
}

// What was purged in spite of all is named.
func TestTakenBackInPart(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	image, layer := s.image("a", "image", "")
	s.tag("a", "v1", image)
	check(t, trash.Untag(t.Context(), s.StorageDriver, "a", "v1"))
	check(t, s.Delete(t.Context(), layout.Path(layer)))
	if b := s.takeBack(trash.Wanted{Repository: "a", Tag: "v1"}); !slices.Equal(b.Gone, []digest.Digest{layer}) {
		t.Errorf("%+v", b)
	}
}
