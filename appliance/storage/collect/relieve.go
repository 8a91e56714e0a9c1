package collect

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/distribution/distribution/v3/registry/storage/driver"

	"github.com/redoubt-registry/redoubt/appliance/storage/layout"
	"github.com/redoubt-registry/redoubt/appliance/storage/trash"
)

// Early is what people are told when something was purged before its time.
const Early = "the disk of the images was full: the oldest of the trash was purged before its time, and cannot be restored; make the disk larger"

// Relieve purges what runs that ended have left in the trash, the oldest first, until
// enough says that there is room, or nothing is left. It looks at no manifest and writes
// nothing: there may be no room for that. It counts the blobs that went, and their bytes.
func Relieve(ctx context.Context, d driver.StorageDriver, beat func(context.Context) error, enough func() (bool, error)) (blobs, bytes int64, err error) {
	s, err := readState(ctx, d)
	if err != nil {
		return 0, 0, err
	}
	var entries []trash.Entry
	err = trash.Each(ctx, d, func(e trash.Entry) error {
		if e.Run <= s.Done {
			entries = append(entries, e)
		}
		return nil
	})
	if err != nil {
		return 0, 0, err
	}
	slices.SortFunc(entries, func(a, b trash.Entry) int { return cmp.Or(cmp.Compare(a.Run, b.Run), rank(a)-rank(b)) })
	for _, e := range entries {
		done, err := enough()
		if err != nil || done {
			return blobs, bytes, err
		}
		if err := errors.Join(beat(ctx), trash.Purge(ctx, d, e)); err != nil {
			return blobs, bytes, fmt.Errorf("cannot purge %s: %w", e.Path, err)
		}
		if layout.IsBlob(e.Path) {
			blobs, bytes = blobs+1, bytes+e.Size
		}
	}
	return blobs, bytes, nil
}
