// Package collect frees the space of what no image needs any more, while the registry
// is in use.
//
// A run finds out what is needed, moves what is not into the trash, looks again, and
// brings back what has come to be needed meanwhile. It deletes for good only what an
// earlier run took, long enough ago, and what still nothing needs. A registry brings back
// from the trash whatever it is asked for (see package trash), so that a push that comes
// in between, at whatever moment, loses nothing. A run that is killed leaves nothing but
// work for the next one.
package collect

import (
	"context"
	"fmt"
	"time"

	"github.com/distribution/distribution/v3/registry/storage/driver"
	"github.com/opencontainers/go-digest"

	"github.com/redoubt-registry/redoubt/appliance/storage/layout"
	"github.com/redoubt-registry/redoubt/appliance/storage/trash"
)

// Collector collects in one storage. Only one may run at a time.
type Collector struct {
	Storage  driver.StorageDriver // as it is opened, without the registry's middleware
	Parallel int                  // objects that are read at a time
	Untagged bool                 // manifests go that no tag, index or subject holds
	// May tells whether a manifest goes, as if Untagged were set, that nothing holds; nil:
	// none does.
	May    func(repository string, l layout.Link) bool
	Grace  time.Duration    // what is younger stays
	Trash  time.Duration    // how long what is taken can be had back
	DryRun bool             // nothing is changed
	Only   bool             // nothing is taken: only what is in the trash already is purged
	Now    func() time.Time // the storage's clock
	// Beat is called before each change, and often. An error ends the run.
	Beat func(ctx context.Context) error
	// Say is told of each step; nil: nobody is.
	Say func(step string)
}

// Summary is what a run did, or would do.
type Summary struct {
	Run            int64     `json:"run"`
	At             time.Time `json:"at"`
	Seconds        float64   `json:"seconds"`
	DryRun         bool      `json:"dryRun"`
	Manifests      int64     `json:"manifests"`
	Broken         int64     `json:"broken"` // tags and manifests that lead nowhere
	Blobs          int64     `json:"blobs"`
	Bytes          int64     `json:"bytes"`
	TakenManifests int64     `json:"takenManifests"`
	TakenBlobs     int64     `json:"takenBlobs"`
	TakenBytes     int64     `json:"takenBytes"`
	Restored       int64     `json:"restored"`
	PurgedBlobs    int64     `json:"purgedBlobs"`
	PurgedBytes    int64     `json:"purgedBytes"`
	TrashBlobs     int64     `json:"trashBlobs"`
	TrashBytes     int64     `json:"trashBytes"`
	Deletions      int64     `json:"deletions"` // links that were deleted since the last run
	Uploads        int64     `json:"uploads"`   // abandoned ones that were ended
	// EarlyBlobs were purged before their time, since the disk was full.
	EarlyBlobs int64 `json:"earlyBlobs,omitempty"`
	EarlyBytes int64 `json:"earlyBytes,omitempty"`
}

// leastUpload is the age below which no upload counts as abandoned.
const leastUpload = 24 * time.Hour

// Run collects once.
func (c *Collector) Run(ctx context.Context) (Summary, error) {
	r := &running{Collector: c, began: c.Now()}
	r.sum.At, r.sum.DryRun = r.began.UTC(), c.DryRun
	err := r.run(ctx)
	r.sum.Seconds = c.Now().Sub(r.began).Seconds()
	return r.sum, err
}

// running is one run.
type running struct {
	*Collector
	began     time.Time
	sum       Summary
	state     *state
	entries   []trash.Entry // that earlier runs left
	deleted   []int64       // runs with deletions that can be taken back
	marks     *marking
	protected map[key]struct{}
	taken     []trash.Entry
}

func (r *running) run(ctx context.Context) error {
	for _, step := range []struct {
		name string
		do   func(context.Context) error
	}{
		{"listing the trash", r.begin},
		{"gathering what was deleted", r.gather},
		{"marking what is needed", r.mark},
		{"taking what is not", r.take},
		{"looking again", r.verify},
		{"purging the trash", r.purge},
		{"ending abandoned uploads", r.uploads},
	} {
		if r.Say != nil {
			r.Say(step.name)
		}
		if err := r.Beat(ctx); err != nil {
			return err
		}
		if err := step.do(ctx); err != nil {
			return err
		}
	}
	return nil
}

// begin notes the run before it changes anything.
func (r *running) begin(ctx context.Context) (err error) {
	if r.state, err = readState(ctx, r.Storage); err != nil {
		return err
	}
	err = trash.Each(ctx, r.Storage, func(e trash.Entry) error {
		r.entries = append(r.entries, e)
		r.state.Run = max(r.state.Run, e.Run)
		return nil
	})
	if err != nil {
		return err
	}
	if r.deleted, err = trash.Runs(ctx, r.Storage); err != nil {
		return err
	}
	for _, run := range r.deleted {
		r.state.Run = max(r.state.Run, run)
	}
	r.state.pass(r.began, r.Trash)
	r.sum.Run = r.state.Run
	if r.DryRun {
		return nil
	}
	return r.state.write(ctx, r.Storage)
}

// gather notes that this run has seen what was deleted until now: its days in the trash
// count from here.
func (r *running) gather(ctx context.Context) (err error) {
	if r.DryRun {
		return nil
	}
	if r.sum.Deletions, err = trash.Gather(ctx, r.Storage, r.state.Run, r.Beat); r.sum.Deletions > 0 {
		r.deleted = append(r.deleted, r.state.Run)
	}
	return err
}

func (r *running) mark(ctx context.Context) error {
	d := r.Storage
	if !r.DryRun { // what is needed comes back when it is read
		d = trash.Driver(d)
	}
	r.marks = newMarking(d, r.Parallel, r.Untagged, r.began.Add(-r.Grace))
	r.marks.may = r.May
	err := r.marks.look(ctx)
	r.sum.Manifests, r.sum.Broken = r.marks.seen, r.marks.broken
	return err
}

// spared are the blobs that a push has named within the grace. Older marks go.
func (r *running) spared(ctx context.Context) error {
	r.protected = map[key]struct{}{}
	var old []string
	err := layout.Walk(ctx, r.Storage, trash.Protected, func(info driver.FileInfo) error {
		dgst, ok := trash.ProtectedAt(info.Path())
		switch {
		case ok && info.ModTime().After(r.began.Add(-r.Grace)):
			r.protected[keyOf(dgst)] = struct{}{}
		case info.ModTime().Before(r.began.Add(-max(r.Grace, trash.Least))):
			old = append(old, info.Path())
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("cannot list what pushes have named: %w", err)
	}
	if r.DryRun {
		return nil
	}
	for _, p := range old {
		if err := r.Storage.Delete(ctx, p); err != nil && !layout.Missing(err) {
			return fmt.Errorf("cannot delete an old mark: %w", err)
		}
	}
	return nil
}

func (r *running) spares(dgst digest.Digest) bool {
	_, ok := r.protected[keyOf(dgst)]
	return ok
}

// take moves what nothing needs: first the manifests' links, then the blobs.
func (r *running) take(ctx context.Context) error {
	if err := r.spared(ctx); err != nil {
		return err
	}
	if r.Only {
		return nil
	}
	for p := range r.marks.free {
		if err := r.takeLink(ctx, p); err != nil {
			return err
		}
	}
	shards, err := layout.Shards(ctx, r.Storage)
	if err != nil {
		return err
	}
	for _, shard := range shards {
		blobs, _, err := layout.Shard(ctx, r.Storage, shard)
		if err != nil {
			return err
		}
		for _, b := range blobs {
			r.sum.Blobs++
			r.sum.Bytes += b.Size
			if r.marks.needs(b.Digest) || r.spares(b.Digest) || b.Modified.After(r.began.Add(-r.Grace)) {
				continue
			}
			if err := r.move(ctx, layout.Path(b.Digest), b.Size); err != nil {
				return err
			}
		}
	}
	return nil
}

// takeLink takes the link of a manifest, unless it was written meanwhile.
func (r *running) takeLink(ctx context.Context, p string) error {
	info, err := r.Storage.Stat(ctx, p)
	if layout.Missing(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("cannot look for a manifest: %w", err)
	}
	if info.ModTime().After(r.began.Add(-r.Grace)) {
		return nil
	}
	return r.move(ctx, p, 0)
}

func (r *running) move(ctx context.Context, p string, size int64) error {
	if !r.DryRun {
		if err := r.Beat(ctx); err != nil {
			return err
		}
		gone, err := trash.Take(ctx, r.Storage, p, r.state.Run)
		if err != nil {
			return fmt.Errorf("cannot move %s into the trash: %w", p, err)
		}
		if gone {
			return nil
		}
		r.taken = append(r.taken, trash.Entry{Path: p, Run: r.state.Run, Size: size})
	}
	if layout.IsBlob(p) {
		r.sum.TakenBlobs++
		r.sum.TakenBytes += size
	} else {
		r.sum.TakenManifests++
	}
	return nil
}
