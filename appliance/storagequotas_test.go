package appliance

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/redoubt-registry/redoubt/appliance/configuration/config"
	"github.com/redoubt-registry/redoubt/appliance/storage/inventory"
	"github.com/redoubt-registry/redoubt/appliance/storage/progress"
	"github.com/redoubt-registry/redoubt/appliance/storage/quota"
	"github.com/redoubt-registry/redoubt/appliance/storage/trash"
	"github.com/redoubt-registry/redoubt/appliance/system/imagestore"
	"github.com/redoubt-registry/redoubt/appliance/system/status"
	"github.com/redoubt-registry/redoubt/test/seed"
)

// After each redoubt gc the usage of a quota is what the inventory finds, each blob once;
// images du and status show it, and what the machine's own verbs put there is counted.
func TestQuotasWithCollection(t *testing.T) {
	dir := t.TempDir()
	root := filepath.Join(dir, "store")
	must(t, os.Mkdir(root, 0o755))
	must(t, os.WriteFile(filepath.Join(dir, "registry.yml"), []byte(fmt.Sprintf(`version: 0.1
storage: {filesystem: {rootdirectory: %q}}
auth: {redoubt: {quotas: [{repositories: ["team/*"], size: 10485760}]}}
`, root)), 0o644))
	registry := seed.Serve(t, seed.Directory(root))
	first, second := seed.Image(t, 300_000, 2), seed.Image(t, 200_000, 1)
	for _, name := range []string{"team/a:v1", "team/b:v1"} {
		registry.Push(t, name, first)
	}
	registry.Push(t, "team/a:v2", second)
	registry.Push(t, "other:v1", second)
	must(t, filepath.WalkDir(root, func(p string, _ fs.DirEntry, err error) error { // none is young
		if err == nil {
			err = os.Chtimes(p, time.Time{}, time.Now().Add(-72*time.Hour))
		}
		return err
	}))
	finder := imagestore.Finder{Registry: filepath.Join(dir, "registry.yml")}
	now := func() quota.Usage {
		t.Helper()
		place, err := finder.Open(t.Context(), imagestore.Configured)
		must(t, err)
		list, err := usage(t.Context(), place)
		must(t, err)
		return list[0]
	}
	gc := func(dry bool) string {
		t.Helper()
		var out bytes.Buffer
		must(t, CollectStorage(t.Context(), finder, GCOptions{Storage: imagestore.Configured, Untagged: true, Grace: trash.Least, Trash: 24 * time.Hour, Parallel: 2,
			DryRun: dry, Output: progress.NewOutput(io.Discard, 0), Result: &out}))
		return out.String()
	}
	sizeOf := func() int64 {
		t.Helper()
		place, err := finder.Open(t.Context(), imagestore.Configured)
		must(t, err)
		_, total, err := inventory.Reader{Storage: place.Driver, Parallel: 2}.Usage(t.Context())
		must(t, err)
		return total.Size
	}
	if gc(true); now().Counted {
		t.Error("a dry run has counted")
	}
	out := gc(false)
	all := sizeOf() // of the images elsewhere too, which are the same
	if u := now(); !u.Counted || u.Used != all || !strings.Contains(out, "quota of team/*: "+progress.Size(all)+" of 10 MiB used\n") {
		t.Errorf("%+v, and not %d bytes: %s", u, all, out)
	}
	// What is deleted goes with the next collection, though another repository has it.
	images := ImageOptions{Storage: imagestore.Configured, Result: io.Discard}
	must(t, DeleteImage(t.Context(), finder, images, "team/a", "v2", ""))
	must(t, DeleteImage(t.Context(), finder, images, "team/a", "v1", ""))
	gc(false)
	rest := now().Used
	if rest < 600_000 || rest > 610_000 || rest >= all {
		t.Errorf("after deletions %d of %d bytes are used", rest, all)
	}
	// A copy counts at once, and within the quota nothing.
	mountImage := func(from, to string) {
		t.Helper()
		must(t, MountImage(t.Context(), finder, MountOptions{ImageOptions: images, From: ImageName{Repository: from, Tag: "v1"}, Repository: to, Tags: []string{"v1"}, Rules: filepath.Join(dir, "none")}))
	}
	mountImage("team/b", "team/c")
	if got := now().Used; got != rest {
		t.Errorf("a copy within the quota makes %d of %d bytes", got, rest)
	}
	mountImage("other", "team/c")
	if got := now().Used; got < rest+200_000 {
		t.Errorf("a copy from elsewhere makes %d of %d bytes", got, rest)
	}
	// What comes back from the trash is counted again.
	must(t, RestoreTrash(t.Context(), finder, TrashOptions{Storage: imagestore.Configured, Result: io.Discard}, trash.Wanted{Repository: "team/a"}))
	if now().Counted {
		t.Error("nobody counts what came back")
	}
	gc(false)
	if got := now(); !got.Counted || got.Used != all {
		t.Errorf("after a restore: %+v, and not %d bytes", got, all)
	}
	quotaIsShown(t, finder, root, progress.Size(all))
}

func quotaIsShown(t *testing.T, finder imagestore.Finder, root, used string) {
	t.Helper()
	var out bytes.Buffer
	must(t, DiskUsage(t.Context(), finder, ImageOptions{Storage: imagestore.Configured, Result: &out}))
	if want := "quota of team/*: " + used + " of 10 MiB used\n"; !strings.HasSuffix(out.String(), want) {
		t.Errorf("images du does not end with %q:\n%s", want, &out)
	}
	out.Reset()
	must(t, DiskUsage(t.Context(), finder, ImageOptions{Storage: imagestore.Configured, Result: &out, JSON: true}))
	var told struct{ Quotas []quota.Usage }
	must(t, json.Unmarshal(out.Bytes(), &told))
	cfg := config.Config{Quotas: []config.Quota{{Repositories: []string{"team/*"}, Size: "10MiB"}}}
	cfg.Storage.Filesystem = &config.Filesystem{Root: "store"}
	var s status.Storage
	(&Machine{Root: filepath.Dir(root), Now: time.Now}).quotaStatus(t.Context(), cfg, &s)
	if len(told.Quotas) != 1 || len(s.Quotas) != 1 || told.Quotas[0].Used != s.Quotas[0].Used || s.QuotasUnknown != "" || told.Quotas[0].Size != 10<<20 {
		t.Errorf("images du tells %+v, status %+v %s", told.Quotas, s.Quotas, s.QuotasUnknown)
	}
}
