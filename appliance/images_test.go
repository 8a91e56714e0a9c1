package appliance

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/opencontainers/go-digest"

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
