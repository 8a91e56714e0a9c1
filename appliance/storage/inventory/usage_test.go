package inventory_test

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/distribution/distribution/v3/registry/storage/driver/inmemory"
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/redoubt-registry/redoubt/appliance/storage/inventory"
	"github.com/redoubt-registry/redoubt/appliance/storage/layout"
)

// An index has what its images have, with their platforms; what it lists and what refers
// to it are no images of their own, and a broken tag breaks no list.
func TestIndexIsOneImage(t *testing.T) {
	t.Parallel()
	d := inmemory.New()
	put := func(path, data string) {
		t.Helper()
		if err := d.PutContent(t.Context(), path, []byte(data)); err != nil {
			t.Fatal(err)
		}
	}
	manifest := func(m any) v1.Descriptor {
		data, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		dgst := digest.FromBytes(data)
		put(layout.Path(dgst), string(data))
		put(layout.LinkPath("a", layout.Revisions, dgst), dgst.String())
		return v1.Descriptor{Digest: dgst, Size: int64(len(data)), MediaType: v1.MediaTypeImageManifest}
	}
	shared := v1.Descriptor{Digest: digest.FromString("layer"), Size: 1000, MediaType: v1.MediaTypeImageLayer}
	index := v1.Index{MediaType: v1.MediaTypeImageIndex}
	var want int64 = 1000
	for _, arch := range []string{"amd64", "arm64"} {
		m := manifest(v1.Manifest{MediaType: v1.MediaTypeImageManifest, Layers: []v1.Descriptor{shared}, Config: v1.Descriptor{Digest: digest.FromString(arch), Size: 10, MediaType: v1.MediaTypeImageConfig}})
		m.Platform = &v1.Platform{OS: "linux", Architecture: arch}
		index.Manifests = append(index.Manifests, m)
		want += m.Size + 10
	}
	top := manifest(index)
	want += top.Size
	manifest(v1.Manifest{MediaType: v1.MediaTypeImageManifest, ArtifactType: "signature", Subject: &top, Config: v1.DescriptorEmptyJSON})
	put(layout.TagPath("a", "v1"), top.Digest.String())
	put(layout.TagPath("a", "broken"), "no digest")
	put(layout.TagPath("a", "nowhere"), digest.FromString("nowhere").String())
	images, err := inventory.Reader{Storage: d, Parallel: 4}.Images(t.Context(), nil)
	if err != nil || len(images) != 2 {
		t.Fatalf("%v %+v", err, images)
	}
	if i := images[1]; i.Tag != "v1" || i.Size != want || i.Own != want || fmt.Sprint(i.Platforms) != "[linux/amd64 linux/arm64]" || i.Referrers != 1 {
		t.Errorf("want %d bytes: %+v", want, i)
	}
	if i := images[0]; i.Tag != "nowhere" || i.Size != 0 {
		t.Errorf("%+v", i)
	}
}
