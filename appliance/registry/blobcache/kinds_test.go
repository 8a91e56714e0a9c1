package blobcache

import (
	"testing"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// A blob without a byte is cached for the digest of nothing alone.
func TestNothingIsCachedOfNothing(t *testing.T) {
	k := Memory(10)
	for _, c := range []struct {
		digest digest.Digest
		size   int64
		cached bool
	}{
		{digest.FromString("something"), 0, false}, {digest.FromString("something"), 9, true},
		{digest.FromString(""), 0, true}, {digest.SHA512.FromString(""), 0, true},
	} {
		desc := v1.Descriptor{MediaType: "application/octet-stream", Digest: c.digest, Size: c.size}
		if err := k.SetDescriptor(t.Context(), c.digest, desc); err != nil {
			t.Fatal(err)
		}
		if _, err := k.Stat(t.Context(), c.digest); (err == nil) != c.cached {
			t.Errorf("%d bytes as %s: %v", c.size, c.digest, err)
		}
	}
}
