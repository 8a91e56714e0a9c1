package appliance

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/opencontainers/go-digest"

	"github.com/redoubt-registry/redoubt/appliance/access/audit"
	"github.com/redoubt-registry/redoubt/appliance/paths"
	"github.com/redoubt-registry/redoubt/appliance/storage/inventory"
	"github.com/redoubt-registry/redoubt/appliance/storage/trash"
	"github.com/redoubt-registry/redoubt/appliance/system/imagestore"
	"github.com/redoubt-registry/redoubt/test/seed"
)

// Images are listed with what they share, deleted, and taken back.
func TestImages(t *testing.T) {
	root := t.TempDir()
	registry := seed.Serve(t, seed.Directory(root))
	base := seed.Image(t, 3000, 2)
	config, err := base.ConfigFile()
	must(t, err)
	config = config.DeepCopy()
	config.OS, config.Architecture = "linux", "arm64"
	base, err = mutate.ConfigFile(base, config)
	must(t, err)
	layers, err := seed.Image(t, 7000, 1).Layers()
	must(t, err)
	above, err := mutate.AppendLayers(base, layers...)
	must(t, err)
	alone := mutate.MediaType(empty.Image, "application/vnd.oci.image.manifest.v1+json")
	registry.Push(t, "team/app:v1", base)
	registry.Push(t, "team/app:latest", base)
	registry.Push(t, "team/app:v2", above)
	registry.Push(t, "other:v1", alone)

	o := ImageOptions{Storage: root, JSON: true}
	finder := imagestore.Finder{}
	list := func(patterns ...string) map[string]pulled {
		t.Helper()
		var out bytes.Buffer
		o := o
		o.Repositories, o.Result = patterns, &out
		must(t, ListImages(t.Context(), finder, o))
		images := map[string]pulled{}
		for decoder := json.NewDecoder(&out); decoder.More(); {
			var p pulled
			must(t, decoder.Decode(&p))
			images[p.Repository+":"+p.Tag] = p
		}
		return images
	}
	all := list()
	if len(all) != 4 || len(list("team/*")) != 3 || len(list("none/**")) != 0 {
		t.Fatalf("there are %v", all)
	}
	v1, v2 := all["team/app:v1"], all["team/app:v2"]
	if v1.Digest != all["team/app:latest"].Digest || strings.Join(v1.Platforms, " ") != "linux/arm64" || time.Since(v1.Pushed) > time.Hour || !v1.Pulled.IsZero() {
		t.Errorf("v1 is %+v", v1)
	}
	// They share two layers: each has its manifest and its configuration alone, and v2 one layer.
	if v1.Size < 6000 || v1.Own > 2000 || v2.Size < v1.Size+7000 || v2.Own < 7000 || v2.Own > 9000 {
		t.Errorf("v1 has %d and alone %d bytes, v2 %d and %d", v1.Size, v1.Own, v2.Size, v2.Own)
	}
	var out bytes.Buffer
	o.Result = &out
	must(t, DiskUsage(t.Context(), finder, o))
	var usage struct {
		Repositories []inventory.Usage
		Size         int64
	}
	must(t, json.Unmarshal(out.Bytes(), &usage))
	if len(usage.Repositories) != 2 || usage.Repositories[1].Repository != "team/app" || usage.Repositories[1].Tags != 3 ||
		usage.Size != usage.Repositories[0].Size+usage.Repositories[1].Own {
		t.Errorf("%+v", usage)
	}
	must(t, DeleteImage(t.Context(), finder, o, "team/app", "v2", ""))
	must(t, DeleteImage(t.Context(), finder, o, "team/app", "", v1.Digest))
	if left := list("team/*"); len(left) != 1 || left["team/app:"].Digest != v2.Digest { // without a tag
		t.Errorf("after the deletions there is %v", left)
	}
	for _, wrong := range []struct {
		tag    string
		digest digest.Digest
	}{{"v2", ""}, {"", v1.Digest}} {
		if err := DeleteImage(t.Context(), finder, o, "team/app", wrong.tag, wrong.digest); err == nil || !strings.Contains(err.Error(), "there is no such image") {
			t.Errorf("%v: %v", wrong, err)
		}
	}
	must(t, RestoreTrash(t.Context(), finder, TrashOptions{Storage: root, Result: &out}, trash.Wanted{Repository: "team/app"}))
	if left := list("team/*"); len(left) != 3 {
		t.Errorf("after the restore there is %v", left)
	}
	must(t, registry.Pull(t, "team/app:v1"))
	o.JSON = false
	out.Reset()
	must(t, ListImages(t.Context(), finder, o))
	must(t, DiskUsage(t.Context(), finder, o))
	for _, want := range []string{"IMAGE", "team/app:latest", "linux/arm64", "REPOSITORY", "all, each blob once"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("it does not print %q:\n%s", want, &out)
		}
	}
}

// Images are copied, tagged and promoted without their bytes, and immutable tags stay.
func TestMountImage(t *testing.T) {
	root, machine := t.TempDir(), t.TempDir()
	rules, config := filepath.Join(machine, "retention.json"), filepath.Join(machine, "registry.yml")
	must(t, os.WriteFile(config, fmt.Appendf(nil, "version: 0.1\nstorage: {filesystem: {rootdirectory: %q}}\n", root), 0o600))
	must(t, os.MkdirAll(filepath.Join(machine, paths.AuditInbox), 0o700))
	must(t, os.WriteFile(rules, []byte(`{"Immutable": [{"Repositories": ["prod/*"], "Tags": ["v*"]}]}`), 0o600))
	registry := seed.Serve(t, seed.Directory(root))
	one, two := seed.Image(t, 3000, 2), seed.Image(t, 2000, 1)
	registry.Push(t, "team/app:v1", one)
	registry.Push(t, "team/app:v2", two)
	signature, ok := mutate.Subject(seed.Image(t, 100, 1), descriptor(t, one)).(v1.Image)
	if !ok {
		t.Fatal("no image")
	}
	registry.Push(t, "team/app:signature", signature)
	blobs := func() (n int) {
		must(t, filepath.WalkDir(filepath.Join(root, "docker/registry/v2/blobs"), func(_ string, e fs.DirEntry, err error) error {
			n++
			return err
		}))
		return n
	}
	before := blobs()
	var out bytes.Buffer
	do := func(from ImageName, o MountOptions) error {
		o.From, o.Rules = from, rules
		o.Storage, o.Root, o.Result = imagestore.Configured, machine, &out
		return MountImage(t.Context(), imagestore.Finder{Registry: config}, o)
	}
	v1, v2 := ImageName{Repository: "team/app", Tag: "v1"}, ImageName{Repository: "team/app", Tag: "v2"}
	must(t, do(v1, MountOptions{Repository: "team/app", Tags: []string{"stable", "latest"}}))
	must(t, do(v2, MountOptions{Repository: "team/app", Tags: []string{"latest"}}))
	must(t, do(v1, MountOptions{Repository: "prod/app", Tags: []string{"v1"}, Referrers: true, New: true}))
	must(t, do(v1, MountOptions{Repository: "prod/app", Tags: []string{"v1"}}))
	must(t, do(v2, MountOptions{Repository: "prod/app", Tags: []string{"next"}}))
	must(t, do(v2, MountOptions{Repository: "bare"}))
	for _, pull := range []string{"team/app:stable", "team/app:latest", "prod/app:v1", "prod/app:next", "bare@" + descriptor(t, two).Digest.String(),
		"prod/app@" + descriptor(t, signature).Digest.String()} {
		must(t, registry.Pull(t, pull))
	}
	if after := blobs(); after != before {
		t.Errorf("there were %d files and directories of blobs, and now there are %d", before, after)
	}
	good := notesIn(t, machine)
	slices.SortFunc(good, func(a, b audit.Event) int { return a.Time.Compare(b.Time) })
	if e := good[2]; len(good) != 6 || e.Action != audit.Push || e.Result != audit.OK || e.Proof != audit.Local || e.Repository != "prod/app" || e.From != "team/app" ||
		e.Tag != "v1" || e.Digest != descriptor(t, one).Digest.String() {
		t.Errorf("the audit log has %+v", good)
	}
	for want, err := range map[string]error{
		"the tag v1 is " + descriptor(t, one).Digest.String() + " already, and is immutable": do(v2, MountOptions{Repository: "prod/app", Tags: []string{"v1"}}),
		"the tag next is " + descriptor(t, two).Digest.String() + " already: choose":         do(v1, MountOptions{Repository: "prod/app", Tags: []string{"next"}, New: true}),
		"there is no such image": do(ImageName{Repository: "team/app", Tag: "none"}, MountOptions{Repository: "x"}),
		"team/app has no image":  do(ImageName{Repository: "team/app", Digest: digest.FromString("none")}, MountOptions{Repository: "x"}),
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, and not %q", err, want)
		}
	}
	for _, o := range []MountOptions{{Repository: "Upper"}, {Repository: "a/../b"}, {Repository: "a", Tags: []string{".x"}}} {
		if o.Valid() == nil {
			t.Errorf("%+v is valid", o)
		}
	}
	if !strings.Contains(out.String(), "prod/app:v1 is "+descriptor(t, one).Digest.String()+": 2 manifests, 5 blobs, none of them copied") {
		t.Errorf("it prints %s", &out)
	}
}

func descriptor(t *testing.T, image v1.Image) v1.Descriptor {
	t.Helper()
	d, err := partial.Descriptor(image)
	must(t, err)
	return *d
}
