package collect

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/distribution/distribution/v3/registry/storage"

	"github.com/redoubt-registry/redoubt/appliance/storage/layout"
	"github.com/redoubt-registry/redoubt/appliance/storage/trash"
)

// verify looks again, and brings back what was taken and is needed now.
func (r *running) verify(ctx context.Context) error {
	if r.DryRun || len(r.taken) == 0 {
		return nil
	}
	if err := r.marks.look(ctx); err != nil {
		return err
	}
	for _, e := range r.taken {
		if r.wanted(e) {
			if err := r.restore(ctx, e); err != nil {
				return err
			}
		}
	}
	return nil
}

// wanted tells whether something needs what is in the trash.
func (r *running) wanted(e trash.Entry) bool {
	dgst, ok := layout.BlobAt(e.Path)
	return ok && r.marks.needs(dgst) || r.marks.links[e.Path]
}

func (r *running) restore(ctx context.Context, e trash.Entry) error {
	if err := r.Beat(ctx); err != nil {
		return err
	}
	_, err := r.Storage.Stat(ctx, e.Path)
	if err == nil {
		return nil
	}
	if !layout.Missing(err) {
		return fmt.Errorf("cannot look for what is needed: %w", err)
	}
	back, err := trash.Restore(ctx, r.Storage, e.Path)
	if err != nil {
		return fmt.Errorf("cannot bring back %s: %w", e.Path, err)
	}
	if back {
		r.sum.Restored++
	}
	return nil
}

// purge goes through what earlier runs left: what is needed comes back, and what has
// been in the trash for long enough goes for good. Both looks of this run began after
// it was taken.
func (r *running) purge(ctx context.Context) error {
	left := map[int64]run{r.state.Run: r.state.Runs[r.state.Run]}
	stays := func(e trash.Entry) {
		left[e.Run] = r.state.Runs[e.Run]
		if layout.IsBlob(e.Path) {
			r.sum.TrashBlobs++
			r.sum.TrashBytes += e.Size
		}
	}
	for _, e := range r.taken {
		stays(e)
	}
	for _, run := range r.deleted {
		switch {
		case !r.state.over(run, r.Trash):
			left[run] = r.state.Runs[run]
		case !r.DryRun:
			if err := trash.Drop(ctx, r.Storage, run); err != nil {
				return err
			}
		}
	}
	// Links go first: no manifest is left without its blobs by a run that is killed.
	slices.SortFunc(r.entries, func(a, b trash.Entry) int { return rank(a) - rank(b) })
	for _, e := range r.entries {
		over := r.state.over(e.Run, r.Trash)
		dgst, _ := layout.BlobAt(e.Path)
		switch {
		case r.wanted(e):
			if err := r.settle(ctx, e); err != nil {
				return err
			}
		case !over || dgst != "" && r.spares(dgst):
			stays(e)
		default:
			if err := r.delete(ctx, e); err != nil {
				return err
			}
		}
	}
	if r.DryRun {
		return nil
	}
	r.state.Runs, r.state.Done = left, r.state.Run
	return r.state.write(ctx, r.Storage)
}

func rank(e trash.Entry) int {
	if layout.IsBlob(e.Path) {
		return 1
	}
	return 0
}

// settle brings back what is needed. Its entry goes when it is back.
func (r *running) settle(ctx context.Context, e trash.Entry) error {
	if r.DryRun {
		r.sum.Restored++
		return nil
	}
	if err := r.restore(ctx, e); err != nil {
		return err
	}
	if _, err := r.Storage.Stat(ctx, e.Path); err != nil {
		if layout.Missing(err) {
			return nil // deleted by a client meanwhile, or taken in this run and given back
		}
		return fmt.Errorf("cannot look for what is needed: %w", err)
	}
	return trash.Purge(ctx, r.Storage, e)
}

func (r *running) delete(ctx context.Context, e trash.Entry) error {
	if layout.IsBlob(e.Path) {
		r.sum.PurgedBlobs++
		r.sum.PurgedBytes += e.Size
	}
	if r.DryRun {
		return nil
	}
	if err := r.Beat(ctx); err != nil {
		return err
	}
	if err := trash.Purge(ctx, r.Storage, e); err != nil {
		return fmt.Errorf("cannot purge %s: %w", e.Path, err)
	}
	return nil
}

// uploads ends those that nobody goes on with.
func (r *running) uploads(ctx context.Context) error {
	exists, err := layout.Exists(ctx, r.Storage)
	if err != nil || !exists {
		return err
	}
	ended, errs := storage.PurgeUploads(ctx, r.Storage, r.began.Add(-max(r.Grace, leastUpload)), !r.DryRun)
	r.sum.Uploads = int64(len(ended))
	for _, err := range errs {
		// One that ends meanwhile is told in words alone.
		if !layout.Missing(err) && !strings.Contains(err.Error(), "ath not found") && !strings.Contains(err.Error(), "no such file") {
			return fmt.Errorf("cannot end an upload: %w", err)
		}
	}
	return nil
}
