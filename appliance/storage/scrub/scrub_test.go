//go:build integration

package scrub

import (
	"context"
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/distribution/distribution/v3/registry/storage/driver"
	"github.com/distribution/distribution/v3/registry/storage/driver/filesystem"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/opencontainers/go-digest"

	"github.com/redoubt-registry/redoubt/appliance/storage/layout"
	"github.com/redoubt-registry/redoubt/appliance/storage/progress"
	"github.com/redoubt-registry/redoubt/test/seed"
)

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func open(root string) driver.StorageDriver {
	return filesystem.New(filesystem.DriverParameters{RootDirectory: root, MaxThreads: 100})
}

func filled(t *testing.T) string {
	t.Helper()
	return seed.Filled(t, 1<<20)
}

// run scrubs, and returns the faults.
func run(t *testing.T, s *Scrub) (Summary, []Fault, error) {
	t.Helper()
	var faults []Fault
	s.Meter = &progress.Meter{}
	s.Parallel = 4
	s.Fault = func(f Fault) { faults = append(faults, f) }
	summary, err := s.Run(context.Background())
	slices.SortFunc(faults, func(a, b Fault) int { return strings.Compare(a.String(), b.String()) })
	return summary, faults, err
}

func lines(faults []Fault) string {
	var b strings.Builder
	for _, f := range faults {
		b.WriteString(f.String() + "\n")
	}
	return b.String()
}

func TestClean(t *testing.T) {
	root := filled(t)
	summary, faults, err := run(t, &Scrub{Storage: open(root)})
	check(t, err)
	if len(faults) > 0 {
		t.Errorf("faults: %s", lines(faults))
	}
	if summary.Blobs < 15 || summary.Bytes < 1<<20 || summary.Repositories != 6 || summary.Manifests < 9 || summary.Tags < 8 {
		t.Errorf("%+v", summary)
	}
	half, faults, err := run(t, &Scrub{Storage: open(root), After: "sha256:8"})
	check(t, err)
	if len(faults) > 0 || half.Blobs == 0 || half.Blobs >= summary.Blobs || half.Manifests != summary.Manifests || half.Position != summary.Position {
		t.Errorf("%s%+v", lines(faults), half)
	}
	if _, _, err := run(t, &Scrub{Storage: open(t.TempDir())}); err == nil || !strings.Contains(err.Error(), "nothing below docker/registry/v2") {
		t.Error(err)
	}
}

// image is a tag's manifest, as digests.
type image struct {
	manifest, config digest.Digest
	layers           []digest.Digest
}

func imageOf(t *testing.T, root, repository, tag string) image {
	t.Helper()
	dgst, _, err := layout.Read(context.Background(), open(root), layout.TagPath(repository, tag))
	check(t, err)
	data, err := os.ReadFile(filepath.Join(root, layout.Path(dgst)))
	check(t, err)
	refs, err := references(data)
	check(t, err)
	i := image{manifest: dgst}
	for _, r := range refs {
		switch r.kind {
		case config:
			i.config = r.digest
		case layer, manifest:
			i.layers = append(i.layers, r.digest)
		}
	}
	return i
}

// TestFaults makes each kind of damage, and finds it with the image's name.
func TestFaults(t *testing.T) {
	for name, test := range map[string]struct {
		damage func(t *testing.T, root string, i image)
		kinds  []Kind
		want   []string
	}{
		"flipped bit": {func(t *testing.T, root string, i image) {
			path := filepath.Join(root, layout.Path(i.layers[0]))
			data, err := os.ReadFile(path)
			check(t, err)
			data[len(data)/2] ^= 1
			check(t, os.WriteFile(path, data, 0o600))
		}, []Kind{Damaged, Damaged}, []string{"blob LAYER is damaged", "large:1@MANIFEST: layer LAYER is damaged; delete docker/registry/v2/blobs/sha256/"}},
		"truncated": {func(t *testing.T, root string, i image) {
			check(t, os.Truncate(filepath.Join(root, layout.Path(i.layers[0])), 1000))
		}, []Kind{Damaged, Damaged}, []string{"blob LAYER is damaged: its 1000 bytes have another digest"}},
		"missing layer": {func(t *testing.T, root string, i image) {
			check(t, os.RemoveAll(filepath.Join(root, filepath.Dir(layout.Path(i.layers[0])))))
		}, []Kind{Missing}, []string{"large:1@MANIFEST: layer LAYER is missing; push the image again"}},
		"missing config": {func(t *testing.T, root string, i image) {
			check(t, os.RemoveAll(filepath.Join(root, filepath.Dir(layout.Path(i.config)))))
		}, []Kind{Missing}, []string{"large:1@MANIFEST: config CONFIG is missing"}},
		"missing manifest": {func(t *testing.T, root string, i image) {
			check(t, os.RemoveAll(filepath.Join(root, filepath.Dir(layout.Path(i.manifest)))))
		}, []Kind{Missing}, []string{"large:1@MANIFEST: the manifest's blob is missing"}},
		"damaged manifest": {func(t *testing.T, root string, i image) {
			check(t, os.WriteFile(filepath.Join(root, layout.Path(i.manifest)), []byte("{}"), 0o600))
		}, []Kind{Damaged, Damaged}, []string{"large:1@MANIFEST: the manifest is damaged"}},
		"unlinked layer": {func(t *testing.T, root string, i image) {
			check(t, os.Remove(filepath.Join(root, layout.LinkPath("large", layout.Layers, i.layers[0]))))
		}, []Kind{Unlinked}, []string{"large:1@MANIFEST: layer LAYER is there, but not in the repository"}},
		"empty link of a layer": {func(t *testing.T, root string, i image) {
			check(t, os.Truncate(filepath.Join(root, layout.LinkPath("large", layout.Layers, i.layers[0])), 0))
		}, []Kind{Link}, []string{"large:1@MANIFEST: link /docker/registry/v2/repositories/large/_layers/", "is damaged: it is empty; push the image again"}},
		"empty tag": {func(t *testing.T, root string, i image) {
			check(t, os.Truncate(filepath.Join(root, layout.TagPath("large", "1")), 0))
		}, []Kind{Link}, []string{"large:1: link "}},
		"tag to nothing": {func(t *testing.T, root string, i image) {
			check(t, os.Remove(filepath.Join(root, layout.LinkPath("large", layout.Revisions, i.manifest))))
		}, []Kind{Unlinked}, []string{"large:1: the tag points to manifest MANIFEST, which the repository does not have"}},
		"wrong revision": {func(t *testing.T, root string, i image) {
			check(t, os.WriteFile(filepath.Join(root, layout.LinkPath("large", layout.Revisions, i.manifest)), []byte(i.config), 0o600))
		}, []Kind{Link}, []string{"large:1@MANIFEST: link /docker/registry/v2/repositories/large/_manifests/revisions/"}},
		"child of an index": {func(t *testing.T, root string, i image) {
			index := imageOf(t, root, "multi", "1")
			check(t, os.RemoveAll(filepath.Join(root, filepath.Dir(layout.Path(index.layers[1])))))
		}, []Kind{Missing, Missing}, []string{"multi:1@", "manifest CHILD is missing", "multi:1@CHILD: the manifest's blob is missing"}},
		"layer of a child": {func(t *testing.T, root string, i image) {
			index := imageOf(t, root, "multi", "1")
			data, err := os.ReadFile(filepath.Join(root, layout.Path(index.layers[1])))
			check(t, err)
			refs, err := references(data)
			check(t, err)
			check(t, os.RemoveAll(filepath.Join(root, filepath.Dir(layout.Path(refs[1].digest)))))
		}, []Kind{Missing}, []string{"multi:1@CHILD: layer sha256:"}},
		"signature of nothing": {func(t *testing.T, root string, i image) {
			signed := imageOf(t, root, "team/app", "1")
			for _, tag := range []string{"1", "v1.0-rc_1"} {
				check(t, os.RemoveAll(filepath.Join(root, filepath.Dir(filepath.Dir(layout.TagPath("team/app", tag))))))
			}
			check(t, os.Remove(filepath.Join(root, layout.LinkPath("team/app", layout.Revisions, signed.manifest))))
		}, []Kind{Subject}, []string{"warning: team/app:sha256-", ".sig@sha256:", "its subject sha256:", "is gone; delete it"}},
		"no repository uses it": {func(t *testing.T, root string, i image) {
			dgst := digest.FromString("right")
			path := filepath.Join(root, layout.Path(dgst))
			check(t, os.MkdirAll(filepath.Dir(path), 0o700))
			check(t, os.WriteFile(path, []byte("wrong"), 0o600))
		}, []Kind{Damaged}, []string{"blob " + digest.FromString("right").String() + " is damaged: its 5 bytes"}},
	} {
		t.Run(name, func(t *testing.T) {
			root := filled(t)
			large := imageOf(t, root, "large", "1")
			child := imageOf(t, root, "multi", "1").layers[1]
			test.damage(t, root, large)
			summary, faults, err := run(t, &Scrub{Storage: open(root)})
			check(t, err)
			var kinds []Kind
			for _, f := range faults {
				kinds = append(kinds, f.Kind)
			}
			if slices.Sort(kinds); !slices.Equal(kinds, test.kinds) {
				t.Errorf("kinds %v, not %v:\n%s", kinds, test.kinds, lines(faults))
			}
			if summary.Faults+summary.Warnings != int64(len(test.kinds)) || (summary.Warnings > 0) != (test.kinds[0] == Subject) {
				t.Errorf("%+v", summary)
			}
			names := strings.NewReplacer("LAYER", large.layers[0].String(), "MANIFEST", large.manifest.String(), "CONFIG", large.config.String(), "CHILD", child.String())
			for _, want := range test.want {
				if want = names.Replace(want); !strings.Contains(lines(faults), want) {
					t.Errorf("no %q in:\n%s", want, lines(faults))
				}
			}
		})
	}
}

// What a fault says to do fixes it.
func TestMending(t *testing.T) {
	root := t.TempDir()
	registry := seed.Serve(t, seed.Directory(root))
	img := seed.Image(t, 100_000, 2)
	registry.Push(t, "app:1", img)
	damaged := filepath.Join(root, layout.Path(imageOf(t, root, "app", "1").layers[0]))
	check(t, os.Truncate(damaged, 10))
	if _, faults, err := run(t, &Scrub{Storage: open(root)}); err != nil || len(faults) != 2 {
		t.Fatalf("%v %s", err, lines(faults))
	}
	check(t, os.Remove(damaged))
	// Under another tag: unlike docker, this client asks for the manifest first.
	seed.Serve(t, seed.Directory(root)).Push(t, "app:again", img)
	if _, faults, err := run(t, &Scrub{Storage: open(root)}); err != nil || len(faults) != 0 {
		t.Errorf("%v %s", err, lines(faults))
	}
}

// A registry that is written to, and deleted from, has no faults.
func TestWhileServing(t *testing.T) {
	root := filled(t)
	registry := seed.Serve(t, seed.Directory(root))
	done := make(chan struct{})
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-done:
				return
			default:
			}
			img := seed.Image(t, 2_000, 2)
			registry.Push(t, "busy:1", img)
			dgst, err := img.Digest()
			check(t, err)
			check(t, remote.Delete(registry.Reference(t, "busy@"+dgst.String())))
		}
	}()
	for range 20 {
		if _, faults, err := run(t, &Scrub{Storage: open(root)}); err != nil || len(faults) > 0 {
			t.Errorf("%v %s", err, lines(faults))
		}
	}
	close(done)
	<-stopped
}

func TestRate(t *testing.T) {
	root := filled(t)
	began := time.Now()
	summary, _, err := run(t, &Scrub{Storage: open(root), Rate: 1_000_000})
	check(t, err)
	least := time.Duration(float64(summary.Bytes)/1_000_000*float64(time.Second)) - 300*time.Millisecond
	if took := time.Since(began); took < least {
		t.Errorf("%d bytes took %v", summary.Bytes, took)
	}
}

// A stop says where to resume.
func TestStop(t *testing.T) {
	root := filled(t)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	s := &Scrub{Storage: open(root), Parallel: 1, Meter: &progress.Meter{}, Fault: func(Fault) {}, Rate: 1_000_000}
	go func() {
		for s.Meter.Phase() != "reading blobs" || s.Meter.Objects.Load() < 5 {
			time.Sleep(time.Millisecond)
		}
		cancel()
	}()
	summary, err := s.Run(ctx)
	if err == nil || summary.Position == "" || summary.Blobs == 0 {
		t.Fatalf("%v %+v", err, summary)
	}
	rest, faults, err := run(t, &Scrub{Storage: open(root), After: summary.Position})
	if err != nil || len(faults) > 0 || rest.Blobs == 0 {
		t.Errorf("%v %s %+v", err, lines(faults), rest)
	}
}

// A storage that cannot be read is no storage of missing blobs.
func TestUnreadable(t *testing.T) {
	root := filled(t)
	large := imageOf(t, root, "large", "1")
	path := filepath.Join(root, layout.Path(large.layers[0]))
	check(t, os.Remove(path))
	check(t, os.Symlink("data", path)) // a loop
	_, faults, err := run(t, &Scrub{Storage: open(root)})
	if err == nil && len(faults) == 0 {
		t.Error("nothing was said")
	}
	for _, f := range faults {
		if f.Kind == Missing || f.Kind == Damaged {
			t.Error(f)
		}
	}
	if err != nil && !strings.Contains(err.Error(), "too many levels") {
		t.Error(err)
	}
}

func TestJSON(t *testing.T) {
	data, err := json.Marshal(Fault{Kind: Missing, Repository: "a", Tags: []string{"1"}, Manifest: "sha256:1", Digest: "sha256:2", Message: "m", Do: "d"})
	if want := `{"kind":"missing","repository":"a","tags":["1"],"manifest":"sha256:1","digest":"sha256:2","message":"m","do":"d"}`; err != nil || string(data) != want {
		t.Errorf("%v\n%s", err, data)
	}
}

func FuzzReferences(f *testing.F) {
	root := f.TempDir()
	seed.Serve(f, seed.Directory(root)).Fill(f, 1000)
	check(f, filepath.Walk(filepath.Join(root, "docker/registry/v2/blobs"), func(path string, info fs.FileInfo, err error) error {
		if err != nil || info.IsDir() || info.Size() > 10_000 {
			return err
		}
		data, err := os.ReadFile(path)
		if err == nil && json.Valid(data) {
			f.Add(data)
		}
		return err
	}))
	f.Add([]byte(`{"schemaVersion":1,"fsLayers":[]}`))
	f.Add([]byte(`{"layers":[{"digest":"sha256:../../../etc/passwd","size":-1}],"config":null}`))
	f.Add([]byte(`{"layers":[{"digest":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","urls":["https://x"]}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		refs, err := references(data)
		if err != nil && refs != nil {
			t.Error("both an error and references")
		}
		seen := map[digest.Digest]bool{}
		for _, r := range refs {
			if r.digest.Validate() != nil || seen[r.digest] {
				t.Errorf("%q is not valid, or comes twice", r.digest)
			}
			seen[r.digest] = true
			if path := layout.Path(r.digest); filepath.Clean(path) != path || !strings.HasPrefix(path, layout.Blobs) {
				t.Errorf("%q is at %s", r.digest, path)
			}
		}
	})
}
