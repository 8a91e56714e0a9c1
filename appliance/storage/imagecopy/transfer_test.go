//go:build integration

package imagecopy_test

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/distribution/distribution/v3/registry/storage/driver"
	"github.com/distribution/distribution/v3/registry/storage/driver/filesystem"

	"github.com/redoubt-registry/redoubt/appliance/storage/imagecopy"
	"github.com/redoubt-registry/redoubt/appliance/storage/progress"
	"github.com/redoubt-registry/redoubt/test/seed"
)

const large = 9 << 20 // more than goes in one piece

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func open(root string) driver.StorageDriver {
	return filesystem.New(filesystem.DriverParameters{RootDirectory: root, MaxThreads: 100})
}

// filled is a directory with a registry in it.
func filled(t *testing.T) string {
	t.Helper()
	return seed.Filled(t, large)
}

// directory makes a target of root.
func directory(t *testing.T, root string) *imagecopy.Directory {
	t.Helper()
	target, err := imagecopy.OpenDirectory(open(root), root)
	check(t, err)
	t.Cleanup(func() { target.Close() })
	return target
}

// run copies, and returns the faults as text.
func run(t *testing.T, c *imagecopy.Copy) (imagecopy.Summary, []string, error) {
	t.Helper()
	var faults []string
	c.Meter = &progress.Meter{}
	c.Fault = func(f imagecopy.Fault) { faults = append(faults, f.String()) }
	if c.Parallel == 0 {
		c.Parallel = 4
	}
	summary, err := c.Run(context.Background())
	return summary, faults, err
}

// copied copies without a fault.
func copied(t *testing.T, from, to string) imagecopy.Summary {
	t.Helper()
	target := directory(t, to)
	summary, faults, err := run(t, &imagecopy.Copy{From: open(from), To: target})
	check(t, err)
	check(t, target.Close())
	if len(faults) > 0 {
		t.Fatalf("faults: %s", faults)
	}
	return summary
}

// tree is the files below root with their contents' digests, but for uploads.
func tree(t *testing.T, root string) map[string]string {
	t.Helper()
	files := map[string]string{}
	check(t, filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() && d.Name() == "_uploads" {
			return err2(err, fs.SkipDir)
		}
		if d.Type().IsRegular() {
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			name, err := filepath.Rel(root, path)
			files[name] = fmt.Sprintf("%x", sha256.Sum256(data))
			return err
		}
		return nil
	}))
	return files
}

func err2(err, other error) error {
	if err != nil {
		return err
	}
	return other
}

func same(t *testing.T, a, b string) {
	t.Helper()
	x, y := tree(t, a), tree(t, b)
	if len(x) < 20 {
		t.Fatalf("only %d files", len(x))
	}
	if maps.Equal(x, y) {
		return
	}
	for _, name := range slices.Sorted(maps.Keys(x)) {
		if x[name] != y[name] {
			t.Errorf("%s: %q, copied %q", name, x[name], y[name])
		}
	}
	for name := range y {
		if x[name] == "" {
			t.Errorf("%s was made", name)
		}
	}
}

func TestCopy(t *testing.T) {
	from, to := filled(t), t.TempDir()
	upload := "docker/registry/v2/repositories/large/_uploads/01a1fc40-21f2-71ba-861e-687081044d10"
	check(t, os.MkdirAll(filepath.Join(from, upload), 0o700))
	check(t, os.WriteFile(filepath.Join(from, upload, "data"), []byte("on its way"), 0o600))
	before := tree(t, from)
	first := copied(t, from, to)
	same(t, from, to)
	if _, err := os.Stat(filepath.Join(to, filepath.Dir(upload))); err == nil {
		t.Error("an upload in progress was copied")
	}
	if !maps.Equal(before, tree(t, from)) {
		t.Error("the source was changed")
	}
	if first.Blobs < 15 || first.Bytes < large || first.Links < 20 || first.Present != 0 {
		t.Errorf("%+v", first)
	}
	registry := seed.Serve(t, seed.Directory(to))
	for _, tag := range seed.Tags {
		check(t, registry.Pull(t, tag))
	}
	second := copied(t, from, to)
	if second.Blobs != 0 || second.Links != 0 || second.Present != first.Blobs {
		t.Errorf("a second run: %+v", second)
	}
}

// What was pushed, moved and deleted since the last run is caught up with.
func TestCatchUp(t *testing.T) {
	from, to := filled(t), t.TempDir()
	copied(t, from, to)
	source := seed.Serve(t, seed.Directory(from))
	source.Push(t, "team/app:2", seed.Image(t, 3_000, 2))
	source.Push(t, "team/app:1", seed.Image(t, 3_000, 2))
	s := copied(t, from, to)
	same(t, from, to)
	if s.Blobs != 8 {
		t.Errorf("%+v", s)
	}
	check(t, os.RemoveAll(filepath.Join(from, "docker/registry/v2/repositories/team/app/_manifests/tags/2")))
	s = copied(t, from, to)
	if tree(t, to)["docker/registry/v2/repositories/team/app/_manifests/tags/2/current/link"] == "" || s.Removed != 0 {
		t.Error("a tag was taken away without being asked to")
	}
	target := directory(t, to)
	s, faults, err := run(t, &imagecopy.Copy{From: open(from), To: target, Delete: true, Verify: true})
	if err != nil || len(faults) > 0 || s.Removed != 2 || s.ComparedBlobs < 20 {
		t.Errorf("%v %q %+v", err, faults, s)
	}
	check(t, target.Close())
	same(t, from, to)
}

// blob is the path of the largest blob below root.
func blob(t *testing.T, root string) string {
	t.Helper()
	var found string
	var size int64
	check(t, filepath.Walk(filepath.Join(root, "docker/registry/v2/blobs"), func(path string, info fs.FileInfo, err error) error {
		if err == nil && info.Size() > size {
			found, size = path, info.Size()
		}
		return err
	}))
	return found
}

// The target's registry looks again for what refers to an image: the copy may have
// brought something.
func TestReferrersAreLookedForAgain(t *testing.T) {
	t.Parallel()
	from, to := filled(t), t.TempDir()
	copied(t, from, to)
	found, err := filepath.Glob(to + "/docker/registry/v2/repositories/*/_manifests")
	check(t, err)
	if len(found) == 0 {
		t.Fatal("no repository is copied")
	}
	whole := found[0] + "/referrers/whole"
	check(t, os.MkdirAll(filepath.Dir(whole), 0o755))
	check(t, os.WriteFile(whole, nil, 0o644))
	copied(t, from, to)
	if _, err := os.Stat(whole); err == nil {
		t.Errorf("%s is still there", whole)
	}
}

// A damaged source: the rest is copied, and what is not is named.
func TestDamagedSource(t *testing.T) {
	for name, test := range map[string]struct {
		damage func(t *testing.T, root string)
		faults []string
		missed int // files
	}{
		"a flipped bit": {func(t *testing.T, root string) {
			data, err := os.ReadFile(blob(t, root))
			check(t, err)
			data[len(data)/2] ^= 1
			check(t, os.WriteFile(blob(t, root), data, 0o600))
		}, []string{"it is damaged at the source and not copied"}, 2},
		"truncated": {func(t *testing.T, root string) {
			check(t, os.Truncate(blob(t, root), 5<<20))
		}, []string{"it is damaged at the source and not copied: its 5242880 bytes"}, 2},
		"empty": {func(t *testing.T, root string) {
			check(t, os.Truncate(blob(t, root), 0))
		}, []string{"it is damaged at the source and not copied: its 0 bytes"}, 2},
		"a manifest": {func(t *testing.T, root string) {
			d := link(t, root, "large/_manifests/tags/1/current/link")
			check(t, os.Truncate(filepath.Join(root, "docker/registry/v2/blobs/sha256", d[:2], d, "data"), 7))
		}, []string{"it is damaged at the source and not copied", "large: sha256:", "the manifest is left out", "large:1: sha256:", "the tag is left out"}, 4},
		"a manifest that is gone": {func(t *testing.T, root string) {
			d := link(t, root, "large/_manifests/tags/1/current/link")
			check(t, os.RemoveAll(filepath.Join(root, "docker/registry/v2/blobs/sha256", d[:2], d)))
		}, []string{"the manifest is left out: there is no such blob", "large:1: sha256:"}, 3},
		"a link that is empty": {func(t *testing.T, root string) {
			check(t, os.Truncate(filepath.Join(root, "docker/registry/v2/repositories/large/_manifests/tags/1/current/link"), 0))
		}, []string{"large:1: a link is left out", "tags/1/current/link is damaged: it is empty"}, 1},
		"a link that is no digest": {func(t *testing.T, root string) {
			check(t, os.WriteFile(filepath.Join(root, "docker/registry/v2/repositories/large/_manifests/tags/1/current/link"), []byte("sha256:../../x"), 0o600))
		}, []string{"it holds no digest"}, 1},
		"other files": {func(t *testing.T, root string) {
			for _, name := range []string{"blobs/sha256/ab/notes.txt", "repositories/notes", "repositories/large/_manifests/tags/1/notes",
				"repositories/large/_layers/sha256/zz/link", "blobs/sha256/00/11/data", "repositories/large/_uploads/x/data"} {
				path := filepath.Join(root, "docker/registry/v2", name)
				check(t, os.MkdirAll(filepath.Dir(path), 0o700))
				check(t, os.WriteFile(path, []byte("x"), 0o600))
			}
		}, nil, 5},
		"a layer that is gone": {func(t *testing.T, root string) {
			check(t, os.RemoveAll(filepath.Dir(blob(t, root))))
		}, nil, 1},
	} {
		t.Run(name, func(t *testing.T) {
			from, to := filled(t), t.TempDir()
			test.damage(t, from)
			_, faults, err := run(t, &imagecopy.Copy{From: open(from), To: directory(t, to), Verify: true})
			check(t, err)
			all := strings.Join(faults, "\n")
			for _, want := range test.faults {
				if !strings.Contains(all, want) {
					t.Errorf("no %q in:\n%s", want, all)
				}
			}
			if len(test.faults) == 0 && len(faults) > 0 {
				t.Errorf("faults: %s", all)
			}
			x, y := tree(t, from), tree(t, to)
			if len(x)-len(y) != test.missed {
				t.Errorf("%d files of %d were copied", len(y), len(x))
			}
			registry := seed.Serve(t, seed.Directory(to))
			for _, tag := range seed.Tags {
				if err := registry.Pull(t, tag); err != nil && tag != "large:1" {
					t.Error(err)
				}
			}
		})
	}
}

// link is the hex digest that a link holds.
func link(t *testing.T, root, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(root, "docker/registry/v2/repositories", name))
	check(t, err)
	return strings.TrimPrefix(string(data), "sha256:")
}

// What is at the target already counts only if it is right.
func TestDamagedTarget(t *testing.T) {
	from, to := filled(t), t.TempDir()
	copied(t, from, to)
	check(t, os.Truncate(blob(t, to), 100)) // half written by somebody
	tag := filepath.Join(to, "docker/registry/v2/repositories/large/_manifests/tags/1/current/link")
	check(t, os.Truncate(tag, 0))
	if s := copied(t, from, to); s.Blobs != 1 || s.Links != 1 {
		t.Errorf("%+v", s)
	}
	same(t, from, to)
	data, err := os.ReadFile(blob(t, to))
	check(t, err)
	clear(data) // the right size
	check(t, os.WriteFile(blob(t, to), data, 0o600))
	target := directory(t, to)
	s, faults, err := run(t, &imagecopy.Copy{From: open(from), To: target, Verify: true})
	if err != nil || len(faults) > 0 || s.Blobs != 1 {
		t.Errorf("%v %q %+v", err, faults, s)
	}
	check(t, target.Close())
	same(t, from, to)
}

func TestNothingToCopy(t *testing.T) {
	_, _, err := run(t, &imagecopy.Copy{From: open(t.TempDir()), To: directory(t, t.TempDir())})
	if err == nil || !strings.Contains(err.Error(), "nothing below docker/registry/v2") {
		t.Error(err)
	}
}

// All that is made belongs to the root's owner, with its permissions.
func TestOwner(t *testing.T) {
	from, to := filled(t), t.TempDir()
	check(t, os.Chown(to, 1234, 2345))
	check(t, os.Chmod(to, 0o750))
	old := syscall.Umask(0o077)
	target := directory(t, to)
	check(t, os.Mkdir(filepath.Join(to, "redoubt/health"), 0o750)) // the registry's own keeps the directory
	check(t, os.Chown(filepath.Join(to, "redoubt/health"), 1234, 2345))
	check(t, os.Chmod(filepath.Join(to, "redoubt/health"), 0o750))
	_, faults, err := run(t, &imagecopy.Copy{From: open(from), To: target})
	syscall.Umask(old)
	if err != nil || len(faults) > 0 {
		t.Fatalf("%v %q", err, faults)
	}
	check(t, target.Close())
	check(t, filepath.Walk(to, func(path string, info fs.FileInfo, err error) error {
		check(t, err)
		stat := info.Sys().(*syscall.Stat_t)
		mode := fs.FileMode(0o640)
		if info.IsDir() {
			mode = 0o750
		}
		if stat.Uid != 1234 || stat.Gid != 2345 || info.Mode().Perm() != mode {
			t.Errorf("%s: %d:%d %v", path, stat.Uid, stat.Gid, info.Mode())
		}
		return nil
	}))
}

func TestOneCopyAtATime(t *testing.T) {
	root := t.TempDir()
	directory(t, root)
	if _, err := imagecopy.OpenDirectory(open(root), root); err == nil || !strings.Contains(err.Error(), "another copy writes there") {
		t.Error(err)
	}
	file := filepath.Join(root, "file")
	check(t, os.WriteFile(file, nil, 0o600))
	for _, path := range []string{file, filepath.Join(root, "none")} {
		if _, err := imagecopy.OpenDirectory(open(path), path); err == nil || !strings.Contains(err.Error(), "cannot copy to "+path+": ") {
			t.Error(err)
		}
	}
}
