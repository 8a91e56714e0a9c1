//go:build integration

package appliance

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/distribution/distribution/v3/configuration"

	"github.com/redoubt-registry/redoubt/appliance/paths"
	"github.com/redoubt-registry/redoubt/appliance/storage/driver"
	"github.com/redoubt-registry/redoubt/appliance/storage/progress"
	"github.com/redoubt-registry/redoubt/appliance/storage/trash"
	"github.com/redoubt-registry/redoubt/appliance/system/imagestore"
	"github.com/redoubt-registry/redoubt/test/seed"
	"github.com/redoubt-registry/redoubt/test/stores"
)

// The verbs on images, retention and the trash do on a bucket what they do in a directory.
func TestImagesInABucket(t *testing.T) {
	driver.Register()
	store := stores.MinIO(t)
	params := configuration.Parameters{"bucket": store.NewBucket(t), "region": store.Region, "regionendpoint": store.Endpoint,
		"accesskey": store.AccessKey, "secretkey": store.SecretKey, "forcepathstyle": true, "rootdirectory": "/below"}
	registry := seed.Serve(t, configuration.Storage{"s3": params})
	machine := t.TempDir()
	must(t, os.MkdirAll(filepath.Join(machine, paths.AuditInbox), 0o700))
	finder := imagestore.Finder{Registry: filepath.Join(machine, "registry.yml")}
	must(t, os.WriteFile(finder.Registry, fmt.Appendf(nil, "version: 0.1\nstorage:\n  s3: {bucket: %s, region: %s, regionendpoint: %q, accesskey: %s, secretkey: %s, forcepathstyle: true, rootdirectory: /below}\n",
		params["bucket"], store.Region, store.Endpoint, store.AccessKey, store.SecretKey), 0o600))
	rules := filepath.Join(machine, "retention.json")
	must(t, os.WriteFile(rules, []byte(`{"enforce": true, "rules": [{"repositories": ["old"], "tags": ["*"], "keep": 1}], "immutable": [{"Repositories": ["prod"], "Tags": ["*"]}]}`), 0o600))

	one, two := seed.Image(t, 3000, 2), seed.Image(t, 2000, 1)
	registry.Push(t, "team/app:v1", one)
	registry.Push(t, "team/app:v2", two)
	registry.Push(t, "old:1", one)
	time.Sleep(1100 * time.Millisecond) // a bucket tells seconds
	registry.Push(t, "old:2", two)
	var out bytes.Buffer
	o := ImageOptions{Storage: imagestore.Configured, Root: machine, Result: &out}
	put := func(tag, repository string) error {
		return MountImage(t.Context(), finder, MountOptions{ImageOptions: o, From: ImageName{Repository: "team/app", Tag: tag}, Repository: repository, Tags: []string{"v1"}, Rules: rules})
	}
	must(t, put("v1", "prod"))
	if err := put("v2", "prod"); err == nil || !strings.Contains(err.Error(), "and is immutable") {
		t.Errorf("an immutable tag is written again: %v", err)
	}
	must(t, registry.Pull(t, "prod:v1"))
	must(t, ListImages(t.Context(), finder, o))
	must(t, DiskUsage(t.Context(), finder, o))
	for _, want := range []string{"team/app:v2", "prod:v1", "all, each blob once"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("it does not print %q:\n%s", want, &out)
		}
	}
	must(t, DeleteImage(t.Context(), finder, o, "team/app", "v1", ""))
	must(t, CollectStorage(t.Context(), finder, GCOptions{Storage: imagestore.Configured, Grace: trash.Least, Trash: 24 * time.Hour, Parallel: 4, Rules: rules, Root: machine,
		Output: progress.NewOutput(io.Discard, 0), Result: &out}))
	for name, there := range map[string]bool{"old:1": false, "old:2": true, "team/app:v1": false, "prod:v1": true} {
		if err := registry.Pull(t, name); (err == nil) != there {
			t.Errorf("%s is there: %v, %v", name, !there, err)
		}
	}
	must(t, RestoreTrash(t.Context(), finder, TrashOptions{Storage: imagestore.Configured, Result: &out}, trash.Wanted{}))
	must(t, registry.Pull(t, "old:1"))
	must(t, registry.Pull(t, "team/app:v1"))
	var events []string
	for _, e := range notesIn(t, machine) {
		events = append(events, fmt.Sprint(e.Action, " ", e.Result, " ", e.Kind, " ", e.Count, " ", e.Repository))
	}
	slices.Sort(events)
	if want := []string{"delete ok manifest 0 team/app", "delete ok tag 1 ", "gc ok  0 ", "push failed manifest 0 prod", "push ok manifest 0 prod"}; !slices.Equal(events, want) {
		t.Errorf("the audit log has %q, and not %q", events, want)
	}
}
