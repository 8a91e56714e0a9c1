package uses

import (
	"slices"
	"testing"
)

// What an image is made of is found, and what it refers to is none of that.
func TestParts(t *testing.T) {
	for text, want := range map[string]int{
		`{"config":{"digest":"c"},"layers":[{"digest":"a"},{"digest":"b"},{"digest":"a"}],"subject":{"digest":"s"}}`: 3,
		`{"manifests":[{"digest":"a"},{"digest":"b"}]}`:                                                              2,
		`{"layers":null}`: 0, `[]`: 0, ``: 0, `{"layers":7}`: 0,
	} {
		if got := parts([]byte(text)); len(got) != want || !slices.IsSorted(got) || slices.Contains(got, "s") {
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
