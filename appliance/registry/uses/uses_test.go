package uses

import (
	"fmt"
	"slices"
	"testing"

	"github.com/opencontainers/go-digest"
)

// What an image is made of is found, and what it refers to is none of that.
func TestParts(t *testing.T) {
	a, b, c, subject := digest.FromString("a"), digest.FromString("b"), digest.FromString("c"), digest.FromString("s")
	for text, want := range map[string]int{
		fmt.Sprintf(`{"config":{"digest":%q},"layers":[{"digest":%q},{"digest":%q},{"digest":%q}],"subject":{"digest":%q}}`, c, a, b, a, subject): 3,
		fmt.Sprintf(`{"manifests":[{"digest":%q},{"digest":%q}]}`, a, b):                                                                          2,
		fmt.Sprintf(`{"schemaVersion":1,"fsLayers":[{"blobSum":%q}]}`, a):                                                                         1,
		`{"layers":null}`: 0, `[]`: 0, ``: 0, `{"layers":7}`: 0, `{"layers":[{"digest":"a"}]}`: 0,
	} {
		if got := parts([]byte(text)); len(got) != want || !slices.IsSorted(got) || slices.Contains(got, subject) {
			t.Errorf("%s: %v", text, got)
		}
	}
}

// FuzzParts holds that no manifest panics, and that each part comes once.
func FuzzParts(f *testing.F) {
	f.Add([]byte(`{"config":{"digest":"c"},"layers":[{"digest":"a"}],"manifests":[{}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		got := parts(data)
		if again := slices.Compact(slices.Sorted(slices.Values(got))); len(again) != len(got) || slices.Contains(got, "") {
			t.Errorf("%q: %v", data, got)
		}
	})
}
