package collect_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/distribution/distribution/v3/registry/storage/driver"
	"github.com/distribution/distribution/v3/registry/storage/driver/filesystem"
	"github.com/opencontainers/go-digest"

	"github.com/redoubt-registry/redoubt/appliance/storage/collect"
	"github.com/redoubt-registry/redoubt/appliance/storage/layout"
	"github.com/redoubt-registry/redoubt/appliance/storage/trash"
)

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// store is a registry that a test writes.
type store struct {
	t *testing.T
	driver.StorageDriver
	now time.Time
}

func newStore(t *testing.T) *store {
	return &store{t, filesystem.New(filesystem.DriverParameters{RootDirectory: t.TempDir(), MaxThreads: 100}), time.Now().Add(time.Minute)}
}

func (s *store) put(p, text string) {
	s.t.Helper()
	check(s.t, s.PutContent(s.t.Context(), p, []byte(text)))
}

func (s *store) blob(data string) digest.Digest {
	dgst := digest.FromString(data)
	s.put(layout.Path(dgst), data)
	return dgst
}

// image puts an image without a tag, and returns it and its layer.
func (s *store) image(repo, name string, subject digest.Digest) (image, layer digest.Digest) {
	layer = s.blob("layer of " + name)
	m := map[string]any{"schemaVersion": 2, "config": map[string]any{"digest": s.blob("config of " + name)},
		"layers": []any{map[string]any{"digest": layer}}}
	if subject != "" {
		m["subject"] = map[string]any{"digest": subject}
	}
	return s.manifest(repo, m), layer
}

func (s *store) manifest(repo string, m any) digest.Digest {
	data, err := json.Marshal(m)
	check(s.t, err)
	dgst := s.blob(string(data))
	s.put(layout.LinkPath(repo, layout.Revisions, dgst), dgst.String())
	return dgst
}

func (s *store) index(repo string, children ...digest.Digest) digest.Digest {
	var list []any
	for _, c := range children {
		list = append(list, map[string]any{"digest": c})
	}
	return s.manifest(repo, map[string]any{"schemaVersion": 2, "manifests": list})
}

func (s *store) tag(repo, tag string, dgst digest.Digest) {
	s.put(layout.TagPath(repo, tag), dgst.String())
}

func (s *store) has(p string) bool {
	_, err := s.Stat(s.t.Context(), p)
	if err != nil && !layout.Missing(err) {
		s.t.Fatal(err)
	}
	return err == nil
}

func (s *store) want(there bool, paths ...string) {
	s.t.Helper()
	for _, p := range paths {
		if s.has(p) != there {
			s.t.Errorf("%s is there: %v", p, !there)
		}
	}
}

func (s *store) collector() collect.Collector {
	return collect.Collector{Storage: s.StorageDriver, Parallel: 2, Untagged: true, Now: func() time.Time { return s.now },
		Beat: func(context.Context) error { return nil }}
}

func (s *store) run(c collect.Collector) collect.Summary {
	s.t.Helper()
	sum, err := c.Run(s.t.Context())
	check(s.t, err)
	s.now = s.now.Add(time.Minute)
	return sum
}

// What a tag, an index or a subject holds stays, and so does what a manifest needs that
// nothing holds, unless such manifests are to go.
func TestWhatIsHeld(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	tagged, taggedLayer := s.image("a/b", "tagged", "")
	s.tag("a/b", "v1", tagged)
	child, childLayer := s.image("a/b", "child", "")
	s.tag("a/b", "list", s.index("a/b", child))
	signature, signatureLayer := s.image("a/b", "signature", tagged)
	second, secondLayer := s.image("a/b", "signature of the signature", signature)
	loose, looseLayer := s.image("a/b", "loose", "")
	goes, goesLayer := s.image("a/b", "signature of the loose", loose)
	garbage := s.blob("garbage")

	c := s.collector()
	c.Untagged, c.DryRun = false, true
	if sum := s.run(c); sum.TakenBlobs != 1 || sum.TakenManifests != 0 || sum.TakenBytes != int64(len("garbage")) {
		t.Errorf("a dry run: %+v", sum)
	}
	s.want(true, layout.Path(garbage))
	c.DryRun = false
	s.run(c)
	s.want(false, layout.Path(garbage))
	s.want(true, layout.Path(looseLayer), layout.Path(goesLayer))

	c.Untagged = true
	if sum := s.run(c); sum.TakenManifests != 2 || sum.TakenBlobs != 6 {
		t.Errorf("with manifests that nothing holds: %+v", sum)
	}
	s.want(true, layout.Path(taggedLayer), layout.Path(childLayer), layout.Path(signatureLayer), layout.Path(secondLayer))
	for _, m := range []digest.Digest{tagged, child, signature, second} {
		s.want(true, layout.Path(m), layout.LinkPath("a/b", layout.Revisions, m))
	}
	for _, m := range []digest.Digest{loose, goes} {
		s.want(false, layout.Path(m), layout.LinkPath("a/b", layout.Revisions, m))
	}
}

// What is asked for comes back from the trash, and what an index holds again does by
// itself.
func TestTrashGivesBack(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	image, layer := s.image("a", "image", "")
	link := layout.LinkPath("a", layout.Revisions, image)
	c := s.collector()
	c.Trash = time.Hour
	s.run(c)
	s.want(false, layout.Path(layer), layout.Path(image), link)
	d := trash.Driver(s.StorageDriver)
	if _, err := d.Stat(t.Context(), layout.Path(layer)); err != nil {
		t.Error(err)
	}
	s.want(true, layout.Path(layer))
	s.tag("a", "list", s.index("a", image))
	s.run(c)
	s.want(true, layout.Path(layer), layout.Path(image), link)

	// A manifest that a client deletes does not come back.
	other, _ := s.image("a", "other", "")
	link = layout.LinkPath("a", layout.Revisions, other)
	s.run(c)
	s.want(false, link)
	if _, err := d.Stat(t.Context(), link); err != nil {
		t.Error(err)
	}
	s.run(c)
	check(t, unlessMissing(d.Delete(t.Context(), link)))
	if _, err := d.Stat(t.Context(), link); !layout.Missing(err) {
		t.Errorf("a manifest that was deleted is back: %v", err)
	}
}

func unlessMissing(err error) error {
	if layout.Missing(err) {
		return nil
	}
	return err
}

// The trash is emptied after its days, and no jump of the clock empties it at once.
func TestTrashIsPurged(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	s.image("a", "image", "")
	c := s.collector()
	c.Trash = 7 * 24 * time.Hour
	if sum := s.run(c); sum.TrashBlobs != 3 || sum.TakenBlobs != 3 {
		t.Errorf("%+v", sum)
	}
	for range 6 {
		s.now = s.now.Add(24 * time.Hour)
		if sum := s.run(c); sum.TrashBlobs != 3 || sum.PurgedBlobs != 0 {
			t.Errorf("%+v", sum)
		}
	}
	s.now = s.now.Add(24 * time.Hour)
	if sum := s.run(c); sum.TrashBlobs != 0 || sum.PurgedBlobs != 3 {
		t.Errorf("%+v", sum)
	}

	s.image("a", "another", "")
	s.run(c)
	s.now = s.now.Add(30 * 24 * time.Hour)
	if sum := s.run(c); sum.PurgedBlobs != 0 {
		t.Errorf("after a jump of 30 days: %+v", sum)
	}
	s.now = s.now.Add(-60 * 24 * time.Hour)
	if sum := s.run(c); sum.PurgedBlobs != 0 {
		t.Errorf("after a jump back: %+v", sum)
	}
	s.now = s.now.Add(60 * 24 * time.Hour)
	if sum := s.run(c); sum.PurgedBlobs != 3 {
		t.Errorf("after another run: %+v", sum)
	}
}

// What is young, and what a push has named, stays.
func TestGrace(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	named, young := s.blob("named"), s.blob("young")
	s.tag("a", "v1", func() digest.Digest { d, _ := s.image("a", "image", ""); return d }())
	c := s.collector()
	c.Grace = time.Hour
	if sum := s.run(c); sum.TakenBlobs != 0 {
		t.Errorf("%+v", sum)
	}
	s.want(true, layout.Path(young))
	c.Grace = 0
	s.now = time.Now().Add(-time.Second) // the mark is younger
	s.put(trash.ProtectedPath(named), "")
	s.run(c)
	s.want(true, layout.Path(named))
}

var errKilled = errors.New("killed")

// mortal is a driver of a process that is killed at its nth change.
type mortal struct {
	driver.StorageDriver
	left *int
}

func (m mortal) change() error {
	if *m.left--; *m.left < 0 {
		return errKilled
	}
	return nil
}

func (m mortal) Move(ctx context.Context, from, to string) error {
	if err := m.change(); err != nil {
		return err
	}
	return m.StorageDriver.Move(ctx, from, to)
}

func (m mortal) PutContent(ctx context.Context, p string, data []byte) error {
	if err := m.change(); err != nil {
		return err
	}
	return m.StorageDriver.PutContent(ctx, p, data)
}

func (m mortal) Delete(ctx context.Context, p string) error {
	if err := m.change(); err != nil {
		return err
	}
	return m.StorageDriver.Delete(ctx, p)
}

func (m mortal) Writer(ctx context.Context, p string, appending bool) (driver.FileWriter, error) {
	if err := m.change(); err != nil {
		return nil, err
	}
	return m.StorageDriver.Writer(ctx, p, appending)
}

// copies is a store that cannot rename, as a bucket is.
type copies struct{ driver.StorageDriver }

func (copies) Name() string { return "a bucket" }

// A run that is killed at any change, and the next one, come to what one run comes to.
func TestKilledAtEachChange(t *testing.T) {
	t.Parallel()
	for name, as := range map[string]func(driver.StorageDriver) driver.StorageDriver{
		"renames": func(d driver.StorageDriver) driver.StorageDriver { return d },
		"copies":  func(d driver.StorageDriver) driver.StorageDriver { return copies{d} },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for at := 0; ; at++ {
				if !killedAt(t, as, at) {
					if at < 8 {
						t.Errorf("there were only %d changes", at)
					}
					return
				}
			}
		})
	}
}

// killedAt tells whether a run was killed.
func killedAt(t *testing.T, as func(driver.StorageDriver) driver.StorageDriver, at int) (killed bool) {
	s := newStore(t)
	s.StorageDriver = as(s.StorageDriver)
	image, layer := s.image("a", "tagged", "")
	s.tag("a", "v1", image)
	s.image("a", "loose", "")
	back, backLayer := s.image("a", "tagged later", "")
	s.run(s.collector()) // takes both
	s.tag("a", "v2", back)
	s.image("a", "loose again", "")

	left := at
	c := s.collector()
	c.Storage = mortal{s.StorageDriver, &left}
	_, err := c.Run(t.Context())
	killed = err != nil
	if killed && left >= 0 {
		t.Fatal(err)
	}
	d := trash.Driver(s.StorageDriver)
	check(t, errors.Join(stat(d, layout.Path(image)), stat(d, layout.Path(layer)), stat(d, layout.Path(backLayer)),
		stat(d, layout.LinkPath("a", layout.Revisions, back))))
	for range 3 {
		s.now = s.now.Add(time.Minute)
		s.run(s.collector())
	}
	for _, p := range []string{layout.Path(image), layout.Path(layer), layout.Path(back), layout.Path(backLayer),
		layout.LinkPath("a", layout.Revisions, image), layout.LinkPath("a", layout.Revisions, back)} {
		if !s.has(p) {
			t.Errorf("killed at change %d: %s is gone", at, p)
		}
	}
	left = 0
	check(t, trash.Each(t.Context(), s.StorageDriver, func(trash.Entry) error { left++; return nil }))
	if left > 0 || s.has(layout.Path(digest.FromString("layer of loose"))) || s.has(layout.Path(digest.FromString("layer of loose again"))) {
		t.Errorf("killed at change %d: something is left, %d entries in the trash", at, left)
	}
	return killed
}

func stat(d driver.StorageDriver, p string) error {
	if _, err := d.Stat(context.Background(), p); err != nil {
		return fmt.Errorf("%s: %w", p, err)
	}
	return nil
}
