package mount_test

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"testing"

	"github.com/distribution/distribution/v3/registry/storage/driver"
	"github.com/distribution/distribution/v3/registry/storage/driver/inmemory"
	"github.com/opencontainers/go-digest"

	"github.com/redoubt-registry/redoubt/appliance/storage/layout"
	"github.com/redoubt-registry/redoubt/appliance/storage/mount"
	"github.com/redoubt-registry/redoubt/appliance/storage/trash"
)

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// store is a storage that is filled by hand.
type store struct {
	t *testing.T
	driver.StorageDriver
}

func newStore(t *testing.T) *store {
	return &store{t, inmemory.New()}
}

func (s *store) put(p, text string) {
	s.t.Helper()
	check(s.t, s.PutContent(s.t.Context(), p, []byte(text)))
}

// blob puts a blob into a repository; an empty name: into none.
func (s *store) blob(repository, part, data string) digest.Digest {
	dgst := digest.FromString(data)
	s.put(layout.Path(dgst), data)
	if repository != "" {
		s.put(layout.LinkPath(repository, part, dgst), dgst.String())
	}
	return dgst
}

func (s *store) manifest(repository string, m map[string]any) digest.Digest {
	m["schemaVersion"] = 2
	data, err := json.Marshal(m)
	check(s.t, err)
	return s.blob(repository, layout.Revisions, string(data))
}

func described(dgst digest.Digest) map[string]any { return map[string]any{"digest": dgst} }

// image puts an image with a layer, which may refer to another one.
func (s *store) image(repository, name string, subject digest.Digest) digest.Digest {
	m := map[string]any{"config": described(s.blob(repository, layout.Layers, "config of "+name)),
		"layers": []any{described(s.blob(repository, layout.Layers, "layer of "+name))}}
	if subject != "" {
		m["subject"] = described(subject)
	}
	return s.manifest(repository, m)
}

// world is an index of two images, with layers of a build's cache and what is not there,
// a signature, a signature of that, and one under a tag.
type world struct {
	*store
	index, child, signature, second, tagged digest.Digest
}

func newWorld(t *testing.T) *world {
	w := &world{store: newStore(t)}
	w.child = w.image("a", "child", "")
	cached := w.blob("a", layout.Layers, "cached")
	w.index = w.manifest("a", map[string]any{"manifests": []any{described(w.child), described(w.image("a", "other", "")),
		described(cached), described(digest.FromString("elsewhere"))}})
	w.put(layout.TagPath("a", "v1"), w.index.String())
	w.signature = w.image("a", "signature", w.index)
	w.second = w.image("a", "second", w.signature)
	w.tagged = w.image("a", "tagged", "")
	w.put(layout.TagPath("a", layout.FallbackTag(w.child)+".sig"), w.tagged.String())
	w.put(layout.TagPath("a", layout.FallbackTag(w.index)), w.signature.String())
	w.image("a", "unrelated", "")
	return w
}

func (w *world) source(with bool) mount.Source {
	s := mount.Source{Storage: trash.Driver(w.StorageDriver), Repository: "a"}
	if with {
		s.Referrers = func(_ context.Context, subject digest.Digest) ([]digest.Digest, error) {
			return map[digest.Digest][]digest.Digest{w.index: {w.signature}, w.signature: {w.second}}[subject], nil
		}
	}
	return s
}

// mount does all of it.
func (w *world) mount(d driver.StorageDriver, with bool) error {
	ctx := w.t.Context()
	list, err := w.source(with).Find(ctx, w.index)
	if err != nil {
		return err
	}
	to := mount.Target{Storage: trash.Driver(d), Repository: "b", Ensure: trash.Guarding(d, trash.Least).Ensure}
	if err := to.Blobs(ctx, "a", list); err != nil {
		return err
	}
	if err := to.Manifests(ctx, "a", list); err != nil {
		return err
	}
	for _, m := range list {
		if m.Tag != "" {
			if err := to.Tag(ctx, m.Tag, m.Digest, true); err != nil {
				return err
			}
		}
	}
	return to.Tag(ctx, "v1", w.index, false)
}

// links are the files of the repository b.
func (w *world) links() (list []string) {
	check(w.t, layout.Walk(w.t.Context(), w.StorageDriver, layout.Repositories+"/b", func(info driver.FileInfo) error {
		list = append(list, info.Path())
		return nil
	}))
	slices.Sort(list)
	return list
}

func TestMount(t *testing.T) {
	t.Parallel()
	for _, with := range []bool{false, true} {
		w := newWorld(t)
		check(t, w.mount(w.StorageDriver, with))
		var want []string
		link := func(part string, texts ...string) {
			for _, text := range texts {
				want = append(want, layout.LinkPath("b", part, digest.FromString(text)))
			}
		}
		link(layout.Layers, "config of child", "layer of child", "config of other", "layer of other", "cached")
		for _, dgst := range []digest.Digest{w.index, w.child, w.image("", "other", "")} {
			want = append(want, layout.LinkPath("b", layout.Revisions, dgst))
		}
		want = append(want, layout.TagPath("b", "v1"), layout.TaggedPath("b", "v1", w.index))
		if with {
			sig := layout.FallbackTag(w.child) + ".sig"
			link(layout.Layers, "config of signature", "layer of signature", "config of second", "layer of second", "config of tagged", "layer of tagged")
			for _, dgst := range []digest.Digest{w.signature, w.second, w.tagged} {
				want = append(want, layout.LinkPath("b", layout.Revisions, dgst))
			}
			want = append(want, layout.ReferrerPath("b", w.index, w.signature), layout.ReferrerPath("b", w.signature, w.second),
				layout.TagPath("b", sig), layout.TaggedPath("b", sig, w.tagged))
		}
		slices.Sort(want)
		if got := w.links(); !slices.Equal(got, want) {
			t.Errorf("with referrers: %v: there is\n%q\nand not\n%q", with, got, want)
		}
	}
}

func TestMountOfWhatIsNotWhole(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	layer := digest.FromString("layer of child")
	check(t, w.Delete(t.Context(), layout.Path(layer)))
	if m, ok := errors.AsType[*mount.Missing](w.mount(w.StorageDriver, false)); !ok || m.Digest != layer || !m.Blob {
		t.Errorf("got %+v", m)
	}
	if _, err := w.Stat(t.Context(), layout.TagPath("b", "v1")); !layout.Missing(err) {
		t.Errorf("there is a tag: %v", err)
	}
	if _, err := w.source(false).Find(t.Context(), layer); !errors.As(err, new(*mount.Missing)) {
		t.Errorf("what is no manifest of the repository: %v", err)
	}
}

func TestTagIsLeft(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	to := mount.Target{Storage: w.StorageDriver, Repository: "a"}
	check(t, to.Tag(t.Context(), "v1", w.index, true))
	if taken, ok := errors.AsType[*mount.Taken](to.Tag(t.Context(), "v1", w.child, true)); !ok || taken.Have != w.index {
		t.Errorf("got %+v", taken)
	}
	check(t, to.Tag(t.Context(), "v1", w.child, false))
	if have, err := to.Have(t.Context(), "v1"); have != w.child || err != nil {
		t.Errorf("the tag is %s, %v", have, err)
	}
}

var errKilled = errors.New("killed")

// mortal fails each change from one on.
type mortal struct {
	driver.StorageDriver
	left *int
}

func (m mortal) PutContent(ctx context.Context, p string, data []byte) error {
	if *m.left--; *m.left < 0 {
		return errKilled
	}
	return m.StorageDriver.PutContent(ctx, p, data)
}

// Killed at any change, no tag and no index leads to what is not there, and the same
// again makes it whole.
func TestKilledAtEachChange(t *testing.T) {
	t.Parallel()
	whole := newWorld(t)
	check(t, whole.mount(whole.StorageDriver, true))
	want := whole.links()
	w := newWorld(t)
	for at, killed := 0, true; killed; at++ {
		left := at
		err := w.mount(serial{mortal{w.StorageDriver, &left}}, true)
		if killed = errors.Is(err, errKilled); !killed {
			check(t, err)
		}
		there := w.links()
		for _, l := range []struct{ needs, path string }{
			{layout.LinkPath("b", layout.Revisions, w.index), layout.TagPath("b", "v1")},
			{layout.LinkPath("b", layout.Revisions, w.child), layout.LinkPath("b", layout.Revisions, w.index)},
			{layout.LinkPath("b", layout.Layers, digest.FromString("layer of child")), layout.LinkPath("b", layout.Revisions, w.child)},
			{layout.LinkPath("b", layout.Layers, digest.FromString("layer of second")), layout.LinkPath("b", layout.Revisions, w.second)},
		} {
			if slices.Contains(there, l.path) && !slices.Contains(there, l.needs) {
				t.Errorf("killed at change %d: there is %s without %s", at, l.path, l.needs)
			}
		}
		if killed {
			check(t, w.mount(w.StorageDriver, true))
		}
		if got := w.links(); !slices.Equal(got, want) {
			t.Errorf("killed at change %d: there is %q", at, got)
		}
		check(t, w.Delete(t.Context(), layout.Repositories+"/b"))
	}
}

// serial lets one change happen at a time.
type serial struct{ mortal }

var one = make(chan struct{}, 1)

func (s serial) PutContent(ctx context.Context, p string, data []byte) error {
	one <- struct{}{}
	defer func() { <-one }()
	return s.mortal.PutContent(ctx, p, data)
}
