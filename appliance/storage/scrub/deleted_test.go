//go:build integration

package scrub

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/redoubt-registry/redoubt/appliance/storage/layout"
)

// write makes a file of a store.
func write(t *testing.T, root, path string, data []byte) {
	t.Helper()
	file := filepath.Join(root, path)
	check(t, os.MkdirAll(filepath.Dir(file), 0o755))
	check(t, os.WriteFile(file, data, 0o644))
}

// push makes a manifest as a registry has it, with a tag or without.
func push(t *testing.T, root, tag string, manifest any) v1.Descriptor {
	t.Helper()
	data, err := json.Marshal(manifest)
	check(t, err)
	d := digest.FromBytes(data)
	write(t, root, layout.Path(d), data)
	write(t, root, layout.LinkPath("app", layout.Revisions, d), []byte(d))
	if tag != "" {
		write(t, root, layout.TagPath("app", tag), []byte(d))
	}
	return v1.Descriptor{MediaType: v1.MediaTypeImageManifest, Digest: d, Size: int64(len(data))}
}

// remove deletes a manifest as a registry does.
func remove(t *testing.T, root string, d digest.Digest) {
	t.Helper()
	check(t, os.Remove(filepath.Join(root, layout.LinkPath("app", layout.Revisions, d))))
}

// What ordinary deletions leave, and nobody refers to any more, is no fault. What a
// tag needs is one all the same.
func TestDeletions(t *testing.T) {
	index := func(children ...v1.Descriptor) v1.Index {
		return v1.Index{MediaType: v1.MediaTypeImageIndex, Manifests: children}
	}
	for name, c := range map[string]struct {
		prepare  func(t *testing.T, root string, image, signature v1.Descriptor)
		faults   int
		warnings int
	}{
		"a signature, whose fallback tag still names it": {func(t *testing.T, root string, image, signature v1.Descriptor) {
			push(t, root, strings.Replace(image.Digest.String(), ":", "-", 1), index(signature))
			remove(t, root, signature.Digest)
		}, 0, 0},
		"an index without a tag, of a manifest that is gone": {func(t *testing.T, root string, image, signature v1.Descriptor) {
			push(t, root, "", index(image, signature))
			remove(t, root, signature.Digest)
		}, 0, 0},
		"a layer of an image without a tag": {func(t *testing.T, root string, image, signature v1.Descriptor) {
			layer := v1.Descriptor{Digest: digest.FromString("gone"), Size: 4}
			push(t, root, "", v1.Manifest{Config: layer, Layers: []v1.Descriptor{layer}})
		}, 0, 1},
		"a part of an index with a tag": {func(t *testing.T, root string, image, signature v1.Descriptor) {
			push(t, root, "all", index(image, signature))
			remove(t, root, signature.Digest)
		}, 1, 0},
		"a part of an index in an index with a tag": {func(t *testing.T, root string, image, signature v1.Descriptor) {
			inner := push(t, root, "", index(signature))
			push(t, root, "all", index(image, inner))
			push(t, root, "", index(inner)) // another one, without a tag
			remove(t, root, signature.Digest)
		}, 1, 0},
		"a layer of a signature of an image with a tag": {func(t *testing.T, root string, image, signature v1.Descriptor) {
			layer := v1.Descriptor{Digest: digest.FromString("gone"), Size: 4}
			push(t, root, "", v1.Manifest{Config: layer, Layers: []v1.Descriptor{layer}, Subject: &image})
		}, 1, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			root := t.TempDir()
			data := []byte("layer")
			layer := v1.Descriptor{Digest: digest.FromBytes(data), Size: int64(len(data))}
			write(t, root, layout.Path(layer.Digest), data)
			write(t, root, layout.LinkPath("app", layout.Layers, layer.Digest), []byte(layer.Digest))
			image := push(t, root, "1", v1.Manifest{Config: layer, Layers: []v1.Descriptor{layer}})
			signature := push(t, root, "", v1.Manifest{Config: layer, Layers: []v1.Descriptor{layer}, Subject: &image})
			c.prepare(t, root, image, signature)
			summary, faults, err := run(t, &Scrub{Storage: open(root)})
			check(t, err)
			if int(summary.Faults) != c.faults || int(summary.Warnings) != c.warnings {
				t.Errorf("%d faults and %d warnings, want %d and %d:\n%s", summary.Faults, summary.Warnings, c.faults, c.warnings, lines(faults))
			}
		})
	}
}
