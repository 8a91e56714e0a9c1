//go:build integration

package appliance

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redoubt-registry/redoubt/appliance/access/audit"
	"github.com/redoubt-registry/redoubt/appliance/paths"
	"github.com/redoubt-registry/redoubt/appliance/storage/collect"
	"github.com/redoubt-registry/redoubt/appliance/storage/progress"
	"github.com/redoubt-registry/redoubt/appliance/storage/storagecheck"
	"github.com/redoubt-registry/redoubt/appliance/storage/trash"
	"github.com/redoubt-registry/redoubt/appliance/system/imagestore"
	"github.com/redoubt-registry/redoubt/test/seed"
)

// small is a machine whose images are on a disk of 12 MB.
type small struct {
	t             *testing.T
	root, machine string
	registry      *seed.Registry
}

func newSmall(t *testing.T) small {
	s := small{t: t, root: t.TempDir(), machine: t.TempDir()}
	must(t, syscall.Mount("tmpfs", s.root, "tmpfs", 0, "size=12m"))
	t.Cleanup(func() { must(t, syscall.Unmount(s.root, syscall.MNT_DETACH)) })
	must(t, os.WriteFile(filepath.Join(s.machine, "registry.yml"), fmt.Appendf(nil, "version: 0.1\nstorage: {filesystem: {rootdirectory: %q}}\n", s.root), 0o600))
	must(t, os.MkdirAll(filepath.Join(s.machine, paths.AuditInbox), 0o700))
	s.registry = seed.Serve(t, seed.Directory(s.root))
	return s
}

func (s small) finder() imagestore.Finder {
	return imagestore.Finder{Registry: filepath.Join(s.machine, "registry.yml")}
}

// push pushes an image of four layers of 300 KB that is hours old.
func (s small) push(name string) {
	s.t.Helper()
	s.registry.Push(s.t, name+":v1", seed.Image(s.t, 300_000, 4))
	old := time.Now().Add(-2 * time.Hour)
	must(s.t, filepath.WalkDir(filepath.Join(s.root, "docker"), func(p string, _ fs.DirEntry, err error) error {
		return errors.Join(err, os.Chtimes(p, old, old))
	}))
}

func (s small) remove(name string) {
	s.t.Helper()
	must(s.t, DeleteImage(s.t.Context(), s.finder(), ImageOptions{Storage: imagestore.Configured, Root: s.machine, Result: io.Discard}, name, "v1", ""))
}

func (s small) restore(name string) error {
	return RestoreTrash(s.t.Context(), s.finder(), TrashOptions{Storage: imagestore.Configured, Result: io.Discard}, trash.Wanted{Repository: name})
}

func (s small) collect(change func(*GCOptions)) (string, error) {
	var out bytes.Buffer
	o := GCOptions{Storage: imagestore.Configured, Grace: trash.Least, Trash: 24 * time.Hour, Parallel: 2, Untagged: true, Output: progress.NewOutput(io.Discard, 0), Result: &out,
		Root: s.machine, Record: filepath.Join(s.machine, "last.json"), Rules: filepath.Join(s.machine, "none")}
	change(&o)
	return out.String(), CollectStorage(s.t.Context(), s.finder(), o)
}

// fill leaves not a byte.
func (s small) fill() {
	s.t.Helper()
	f, err := os.OpenFile(filepath.Join(s.root, "filler"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	must(s.t, err)
	for _, size := range []int{64 << 10, 4 << 10} {
		for piece := make([]byte, size); err == nil; {
			_, err = f.Write(piece)
		}
		if !errors.Is(err, syscall.ENOSPC) {
			s.t.Fatal(err)
		}
		err = nil
	}
	must(s.t, f.Close())
	if full, err := storagecheck.Full(s.root); err != nil || !full {
		s.t.Fatalf("the disk is not full: %v", err)
	}
}

// On a disk without a free byte deletions go on, the trash is emptied, the oldest first, as
// far as there must be room, and everybody is told; the rest can be had back.
func TestFullDiskEmptiesTheTrash(t *testing.T) {
	s := newSmall(t)
	for _, name := range []string{"first", "second", "third"} {
		s.push(name)
	}
	for _, name := range []string{"first", "second"} {
		s.remove(name)
		_, err := s.collect(func(*GCOptions) {})
		must(t, err)
	}
	s.fill()
	s.remove("third")
	_, err := s.collect(func(o *GCOptions) { o.Scheduled = true })
	if err == nil || err.Error() != collect.Early {
		t.Fatalf("it ends with %v", err)
	}
	if full, err := storagecheck.Full(s.root); err != nil || full {
		t.Errorf("there is no room: %v", err)
	}
	last := collect.ReadLast(filepath.Join(s.machine, "last.json"))
	if last.EarlyBlobs == 0 || last.EarlyBytes < 600_000 || last.Error != "" {
		t.Errorf("status has %+v", last)
	}
	if !slices.ContainsFunc(notesIn(t, s.machine), func(e audit.Event) bool {
		return e.Action == audit.TrashEmpty && e.Result == audit.OK && strings.Contains(e.Detail, collect.Early)
	}) {
		t.Error("the audit log does not have it")
	}
	if err := s.restore("first"); err == nil || !strings.Contains(err.Error(), "were purged") {
		t.Errorf("the oldest comes back: %v", err)
	}
	for _, name := range []string{"second", "third"} {
		must(t, s.restore(name))
		must(t, s.registry.Pull(t, name+":v1"))
	}
	if out, err := s.collect(func(o *GCOptions) { o.Scheduled = true }); err != nil || strings.Contains(out, "full") {
		t.Errorf("with room: %s, %v", out, err)
	}
	if now := collect.ReadLast(filepath.Join(s.machine, "last.json")); now.EarlyBytes != last.EarlyBytes || !now.Early.Equal(last.At) || now.After(collect.Summary{At: now.At.AddDate(0, 0, 8)}, nil).EarlyBytes != 0 {
		t.Errorf("status has then %+v", now)
	}
}

// redoubt gc --now frees a disk without a free byte at once.
func TestNowOnAFullDisk(t *testing.T) {
	s := newSmall(t)
	s.push("one")
	s.push("two")
	_, err := s.collect(func(*GCOptions) {}) // which keeps the ballast
	must(t, err)
	s.fill()
	s.remove("one")
	_, err = s.collect(func(o *GCOptions) { o.Now = true })
	must(t, err)
	if full, err := storagecheck.Full(s.root); err != nil || full {
		t.Errorf("there is no room: %v", err)
	}
	must(t, s.registry.Pull(t, "two:v1"))
	if _, err := os.Stat(filepath.Join(s.root, ballast)); err != nil {
		t.Error(err)
	}
}
