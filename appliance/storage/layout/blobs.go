package layout

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/distribution/distribution/v3/registry/storage/driver"
	"github.com/opencontainers/go-digest"
)

// Blob is one blob in the storage.
type Blob struct {
	Digest   digest.Digest
	Size     int64     // bytes
	Modified time.Time // when it came to be there
}

// Path is where a blob's bytes are.
func Path(dgst digest.Digest) string {
	hex := dgst.Encoded()
	return fmt.Sprintf("%s/%s/%s/%s/data", Blobs, dgst.Algorithm(), hex[:2], hex)
}

// Shards lists the directories that blobs are in, sorted: one for the first two
// digits of their digests, so that each holds about a 256th of them. A blob is in
// one alone.
func Shards(ctx context.Context, d driver.StorageDriver) ([]string, error) {
	algorithms, err := list(ctx, d, Blobs)
	if err != nil {
		return nil, fmt.Errorf("cannot list the blobs: %w", err)
	}
	var shards []string
	for _, dir := range algorithms {
		if !digest.Algorithm(path.Base(dir)).Available() {
			continue
		}
		children, err := list(ctx, d, dir)
		if err != nil {
			return nil, fmt.Errorf("cannot list the blobs: %w", err)
		}
		for _, child := range children {
			if len(path.Base(child)) == 2 {
				shards = append(shards, child)
			}
		}
	}
	return shards, nil
}

// Shard lists the blobs of one shard, sorted by digest, and the files that are
// no part of the layout.
func Shard(ctx context.Context, d driver.StorageDriver, shard string) (blobs []Blob, others []string, err error) {
	err = Walk(ctx, d, shard, func(info driver.FileInfo) error {
		if dgst, ok := BlobAt(info.Path()); ok {
			blobs = append(blobs, Blob{Digest: dgst, Size: info.Size(), Modified: info.ModTime()})
		} else {
			others = append(others, info.Path())
		}
		return nil
	})
	if err != nil {
		return nil, nil, fmt.Errorf("cannot list %s: %w", shard, err)
	}
	slices.SortFunc(blobs, func(a, b Blob) int { return strings.Compare(string(a.Digest), string(b.Digest)) })
	blobs = slices.CompactFunc(blobs, func(a, b Blob) bool { return a.Digest == b.Digest })
	slices.Sort(others)
	return blobs, slices.Compact(others), nil
}

// BlobAt is the digest of the blob whose bytes are at p.
func BlobAt(p string) (digest.Digest, bool) {
	parts := strings.Split(below(Blobs, p), "/")
	if len(parts) != 4 || parts[3] != "data" || !strings.HasPrefix(parts[2], parts[1]) || len(parts[1]) != 2 {
		return "", false
	}
	return encoded(parts[0], parts[2])
}
