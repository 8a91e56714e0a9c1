package backup

import (
	"context"
	"fmt"
	"time"
)

// unneeded is how long a blob stays that no snapshot needs: a run that was ended before
// its snapshot was written goes on with it.
const unneeded = 7 * 24 * time.Hour

// Pruned is what a run of Prune has removed.
type Pruned struct{ Snapshots, Blobs, Bytes int64 }

// Prune removes all but the newest keep snapshots, and the blobs that none needs. A
// snapshot ends with its index, before anything of it goes.
func (r *Repository) Prune(ctx context.Context, keep int, now time.Time) (Pruned, error) {
	var out Pruned
	list, err := r.List(ctx)
	if err != nil {
		return out, err
	}
	for len(list) > max(keep, 1) {
		if err := r.remove(ctx, list[0]); err != nil {
			return out, err
		}
		out.Snapshots++
		list = list[1:]
	}
	needed := map[Blob]bool{}
	for _, s := range list {
		for _, b := range s.Blobs {
			needed[b] = true
		}
	}
	stored, err := r.stored(ctx)
	if err != nil {
		return out, err
	}
	for b, info := range stored {
		if needed[b] || now.Sub(info.ModTime()) < unneeded {
			continue
		}
		if err := r.beat(ctx); err != nil {
			return out, err
		}
		if err := r.At.Remove(ctx, b.path()); err != nil {
			return out, fmt.Errorf("cannot remove an old blob from the place of the backup: %w", err)
		}
		out.Blobs++
		out.Bytes += info.Size()
	}
	return out, nil
}

func (r *Repository) remove(ctx context.Context, s Snapshot) error {
	for _, p := range []string{indexPath(s.Name), archivePath(s.Name)} {
		if err := r.At.Remove(ctx, p); err != nil {
			return fmt.Errorf("cannot remove the old snapshot %s: %w", s.Name, err)
		}
		if err := r.At.Sync(); err != nil {
			return fmt.Errorf("cannot remove the old snapshot %s: %w", s.Name, err)
		}
	}
	return nil
}
