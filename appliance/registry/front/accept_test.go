package front

import (
	"testing"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// FuzzAccepts holds that no header panics, and that a type is taken by who names it.
func FuzzAccepts(f *testing.F) {
	for _, header := range []string{"", "*/*", "application/json", v1.MediaTypeImageIndex + ";q=0.1, text/html", "a/b;c=", ",,;"} {
		f.Add(header)
	}
	f.Fuzz(func(t *testing.T, header string) {
		for _, of := range manifestTypes {
			if !accepts([]string{header, of}, of) || !accepts(nil, of) {
				t.Errorf("%q and %s do not take it", header, of)
			}
			accepts([]string{header}, of)
		}
	})
}
