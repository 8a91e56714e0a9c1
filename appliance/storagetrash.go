package appliance

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/redoubt-registry/redoubt/appliance/storage/collect"
	"github.com/redoubt-registry/redoubt/appliance/storage/layout"
	"github.com/redoubt-registry/redoubt/appliance/storage/progress"
	"github.com/redoubt-registry/redoubt/appliance/storage/trash"
	"github.com/redoubt-registry/redoubt/appliance/system/imagestore"
)

// TrashOptions are what the caller of the trash's verbs chooses.
type TrashOptions struct {
	Storage string
	JSON    bool
	Result  io.Writer
}

// trashed is an entry as it is told.
type trashed struct {
	Repository string        `json:"repository,omitempty"`
	Digest     digest.Digest `json:"digest"`
	Size       int64         `json:"size"`
	Run        int64         `json:"run"`
}

func tellEntry(e trash.Entry) trashed {
	if repository, dgst, ok := layout.RevisionAt(e.Path); ok {
		return trashed{repository, dgst, e.Size, e.Run}
	}
	dgst, _ := layout.BlobAt(e.Path)
	return trashed{"", dgst, e.Size, e.Run}
}

// ListTrash says what is in the trash of a storage.
func ListTrash(ctx context.Context, finder imagestore.Finder, o TrashOptions) error {
	place, err := finder.Open(ctx, o.Storage)
	if err != nil {
		return err
	}
	encoder := json.NewEncoder(o.Result)
	return trash.Each(ctx, place.Driver, func(e trash.Entry) error {
		t := tellEntry(e)
		switch {
		case o.JSON:
			return encoder.Encode(t)
		case t.Repository != "":
			_, err = fmt.Fprintf(o.Result, "manifest  %s@%s  run %d\n", t.Repository, t.Digest, t.Run)
		default:
			_, err = fmt.Fprintf(o.Result, "blob      %s  %s  run %d\n", t.Digest, progress.Size(t.Size), t.Run)
		}
		return err
	})
}

// RestoreTrash brings back what is in the trash: all of it, or the manifest with the
// digest dgst of a repository, whose blobs follow when they are asked for.
func RestoreTrash(ctx context.Context, finder imagestore.Finder, o TrashOptions, repository string, dgst digest.Digest) error {
	return alone(ctx, finder, o.Storage, true, func(place *imagestore.Place, beat func(context.Context) error) error {
		var only string
		if dgst != "" {
			only = layout.LinkPath(repository, layout.Revisions, dgst)
		}
		back := 0
		err := eachEntry(ctx, place, beat, func(e trash.Entry) error {
			if only != "" && e.Path != only {
				return nil
			}
			ok, err := trash.Restore(ctx, place.Driver, e.Path)
			if ok {
				back++
			}
			return err
		})
		if err != nil {
			return fmt.Errorf("cannot restore from the trash: %w", err)
		}
		if back == 0 {
			return errors.New("cannot restore: it is not in the trash; redoubt trash list shows what is")
		}
		_, err = fmt.Fprintf(o.Result, "brought back: %d\n", back)
		return err
	})
}

// EmptyTrash deletes what is in the trash for good, but what an image needs again.
func EmptyTrash(ctx context.Context, finder imagestore.Finder, o TrashOptions) error {
	return alone(ctx, finder, o.Storage, true, func(place *imagestore.Place, beat func(context.Context) error) error {
		c := collect.Collector{Storage: place.Driver, Parallel: 8, Grace: trash.Least, Now: time.Now, Beat: beat, Only: true}
		sum, err := c.Run(ctx)
		if err != nil {
			return fmt.Errorf("cannot empty the trash: %w", err)
		}
		_, err = fmt.Fprintf(o.Result, "purged: %d blobs (%s); needed, and brought back: %d\n", sum.PurgedBlobs, progress.Size(sum.PurgedBytes), sum.Restored)
		return err
	})
}

// eachEntry goes through a list that was made before anything is changed.
func eachEntry(ctx context.Context, place *imagestore.Place, beat func(context.Context) error, f func(trash.Entry) error) error {
	var all []trash.Entry
	if err := trash.Each(ctx, place.Driver, func(e trash.Entry) error { all = append(all, e); return nil }); err != nil {
		return err
	}
	for _, e := range all {
		if err := errors.Join(beat(ctx), f(e)); err != nil {
			return err
		}
	}
	return nil
}
