package referrers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/distribution/distribution/v3/registry/storage/driver"
	"github.com/distribution/distribution/v3/registry/storage/driver/inmemory"
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/redoubt-registry/redoubt/appliance/registry/links"
	"github.com/redoubt-registry/redoubt/appliance/storage/layout"
)

const subject = digest.Digest("sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")

// manifest is one that refers to the subject, with a note of a size.
func manifest(n, size int) []byte {
	return fmt.Appendf(nil, `{"schemaVersion":2,"artifactType":"a/%d","subject":{"digest":%q},"annotations":{"note":%q}}`, n, subject, strings.Repeat("x", size))
}

// index is one of a storage with manifests, that nobody has indexed.
func index(t testing.TB, d driver.StorageDriver, manifests ...[]byte) *Index {
	t.Helper()
	l := &links.Links{Driver: d}
	for _, data := range manifests {
		if err := l.Write(t.Context(), "app", digest.FromBytes(data), data); err != nil {
			t.Fatal(err)
		}
	}
	return New(l, func(text string, err error) {
		if err != nil {
			t.Log(text, err)
		}
	})
}

// A list has as many bytes at most as a manifest, and all of its pages have all.
func TestPagesAreBoundedByBytes(t *testing.T) {
	var all [][]byte
	for n := range 20 {
		all = append(all, manifest(n, 500_000))
	}
	i := index(t, inmemory.New(), all...)
	var after digest.Digest
	seen, pages := 0, 0
	for more := true; more; pages++ {
		var list []v1.Descriptor
		var err error
		if list, more, err = i.List(t.Context(), "app", subject, "", after, 1000); err != nil || len(list) == 0 {
			t.Fatal(list, err)
		}
		data, err := json.Marshal(list)
		if err != nil || len(data) > largest {
			t.Errorf("%d bytes: %v", len(data), err)
		}
		seen, after = seen+len(list), list[len(list)-1].Digest
	}
	if seen != len(all) || pages < 3 {
		t.Errorf("%d by %d pages", seen, pages)
	}
}

// broken is a storage that fails to write so many times.
type broken struct {
	driver.StorageDriver
	left atomic.Int64
}

func (b *broken) PutContent(ctx context.Context, path string, data []byte) error {
	if b.left.Add(-1) >= 0 {
		return errors.New("broken")
	}
	return b.StorageDriver.PutContent(ctx, path, data)
}

// A list that is not whole is an error, and never a short list.
func TestAHalfMadeIndexIsNoList(t *testing.T) {
	d := &broken{StorageDriver: inmemory.New()}
	i := index(t, d, manifest(1, 1), manifest(2, 1))
	d.left.Store(1)
	if list, _, err := i.List(t.Context(), "app", subject, "", "", 10); err == nil {
		t.Errorf("%v", list)
	}
	if _, err := d.Stat(t.Context(), layout.ReferrersWhole("app")); err == nil {
		t.Error("it counts as whole")
	}
	if list, _, err := i.List(t.Context(), "app", subject, "", "", 10); err != nil || len(list) != 2 {
		t.Errorf("the next time: %v %v", list, err)
	}
}

// A descriptor says what the specification asks for.
func TestDescribe(t *testing.T) {
	for text, want := range map[string]v1.Descriptor{
		`{"artifactType":"a/b","config":{"mediaType":"c/d"}}`:             {MediaType: v1.MediaTypeImageManifest, ArtifactType: "a/b"},
		`{"mediaType":"x/y","config":{"mediaType":"c/d"}}`:                {MediaType: "x/y", ArtifactType: "c/d"},
		`{"manifests":[],"annotations":{"a":"b"}}`:                        {MediaType: v1.MediaTypeImageIndex, Annotations: map[string]string{"a": "b"}},
		`{"manifests":[],"artifactType":"a/b","subject":{"digest":"no"}}`: {MediaType: v1.MediaTypeImageIndex, ArtifactType: "a/b"},
	} {
		desc, of := layout.Describe(subject, []byte(text))
		want.Digest, want.Size = subject, int64(len(text))
		if fmt.Sprint(desc) != fmt.Sprint(want) || of != "" {
			t.Errorf("%s: %+v of %q", text, desc, of)
		}
	}
}

// FuzzDescribe holds that no manifest panics, and that what one refers to can be a path.
func FuzzDescribe(f *testing.F) {
	f.Add(manifest(1, 10))
	f.Add([]byte(`{"subject":{"digest":"sha256:../../x"},"config":null}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		desc, of := layout.Describe(subject, data)
		if of != "" && (of.Validate() != nil || of != Subject(data) || !strings.HasPrefix(layout.ReferrerPath("app", of, subject), layout.ReferrersPath("app", of)+"/sha256-")) {
			t.Errorf("%q refers to %q", data, of)
		}
		if sizeOf(desc) <= 0 {
			t.Errorf("%q: %d", data, sizeOf(desc))
		}
	})
}
