package appliance

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/redoubt-registry/redoubt/appliance/access/audit"
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

// trashed is what lies in the trash, as it is told.
type trashed struct {
	Kind       string        `json:"kind"` // tag, manifest or blob
	Repository string        `json:"repository,omitempty"`
	Tag        string        `json:"tag,omitempty"`
	Digest     digest.Digest `json:"digest"`
	Size       int64         `json:"size"`
	Run        int64         `json:"run,omitempty"`       // that took it
	DeletedAt  *time.Time    `json:"deletedAt,omitempty"` // by a client or a rule
}

func (t trashed) String() string {
	name := t.Repository
	switch {
	case t.Tag != "":
		name += ":" + t.Tag + " " + t.Digest.String()
	case t.Repository != "":
		name += "@" + t.Digest.String()
	default:
		name = t.Digest.String() + "  " + progress.Size(t.Size)
	}
	if t.DeletedAt != nil {
		return fmt.Sprintf("%-9s %s  deleted %s", t.Kind, name, t.DeletedAt.UTC().Format(time.DateTime))
	}
	return fmt.Sprintf("%-9s %s  run %d", t.Kind, name, t.Run)
}

func tellEntry(e trash.Entry) trashed {
	if repository, dgst, ok := layout.RevisionAt(e.Path); ok {
		return trashed{Kind: "manifest", Repository: repository, Digest: dgst, Size: e.Size, Run: e.Run}
	}
	dgst, _ := layout.BlobAt(e.Path)
	return trashed{Kind: "blob", Digest: dgst, Size: e.Size, Run: e.Run}
}

func tellDeletion(x trash.Deletion) trashed {
	t := trashed{Kind: "blob", Digest: x.Digest, DeletedAt: &x.At}
	if repository, tag, ok := layout.TagAt(x.Link); ok {
		t.Kind, t.Repository, t.Tag = "tag", repository, tag
	} else if repository, dgst, ok := layout.RevisionAt(x.Link); ok {
		t.Kind, t.Repository, t.Digest = "manifest", repository, dgst
	} else if repository, dgst, ok := layout.LayerAt(x.Link); ok {
		t.Repository, t.Digest = repository, dgst
	}
	return t
}

// ListTrash says what is in the trash of a storage.
func ListTrash(ctx context.Context, finder imagestore.Finder, o TrashOptions) error {
	place, err := finder.Open(ctx, o.Storage)
	if err != nil {
		return err
	}
	encoder := json.NewEncoder(o.Result)
	tell := func(t trashed) error {
		if o.JSON {
			return encoder.Encode(t)
		}
		_, err := fmt.Fprintln(o.Result, t)
		return err
	}
	err = trash.EachRecord(ctx, place.Driver, func(r trash.Record) error {
		for _, x := range r.Deletions {
			if err := tell(tellDeletion(x)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return trash.Each(ctx, place.Driver, func(e trash.Entry) error { return tell(tellEntry(e)) })
}

// RestoreTrash brings back what was deleted and is wanted. Without a wish that is all, and
// what was collected as well.
func RestoreTrash(ctx context.Context, finder imagestore.Finder, o TrashOptions, w trash.Wanted) error {
	return alone(ctx, finder, o.Storage, true, func(place *imagestore.Place, beat func(context.Context) error) error {
		brought, err := trash.TakeBack(ctx, place.Driver, w)
		back := len(brought.Deletions)
		if err == nil && w == (trash.Wanted{}) {
			err = eachEntry(ctx, place, beat, func(e trash.Entry) error {
				ok, err := trash.Restore(ctx, place.Driver, e.Path)
				if ok {
					back++
				}
				return err
			})
		}
		if back > 0 {
			err = errors.Join(err, ledger(place).Recount(ctx))
		}
		noteStorage("/", o.Storage, audit.TrashRestore, err, fmt.Sprintf("%s: %d", w, back))
		if err != nil {
			return fmt.Errorf("cannot restore from the trash: %w", err)
		}
		return o.tellBrought(brought, back)
	})
}

func (o TrashOptions) tellBrought(b trash.Brought, back int) error {
	for _, x := range b.Deletions {
		t := tellDeletion(x)
		t.DeletedAt = nil
		if _, err := fmt.Fprintln(o.Result, strings.TrimSuffix(t.String(), "  run 0")); err != nil {
			return err
		}
	}
	for _, x := range b.Standing {
		t := tellDeletion(x)
		if _, err := fmt.Fprintf(o.Result, "left: %s:%s points to another image now; redoubt trash restore %s:%s puts %s in its place\n", t.Repository, t.Tag, t.Repository, t.Tag, t.Digest); err != nil {
			return err
		}
	}
	if len(b.Gone) > 0 {
		return fmt.Errorf("cannot restore all: %d parts were purged, %s among them; push what needs them again", len(b.Gone), b.Gone[0])
	}
	if back == 0 && len(b.Standing) == 0 {
		return errors.New("cannot restore: it is not in the trash; redoubt trash list shows what is")
	}
	_, err := fmt.Fprintf(o.Result, "brought back: %d\n", back)
	return err
}

// EmptyTrash deletes what is in the trash for good, but what an image needs again.
func EmptyTrash(ctx context.Context, finder imagestore.Finder, o TrashOptions) error {
	return alone(ctx, finder, o.Storage, true, func(place *imagestore.Place, beat func(context.Context) error) error {
		c := collect.Collector{Storage: place.Driver, Parallel: 8, Grace: trash.Least, Now: time.Now, Beat: beat, Only: true}
		sum, err := c.Run(ctx)
		noteStorage("/", o.Storage, audit.TrashEmpty, err, fmt.Sprintf("%d blobs (%s)", sum.PurgedBlobs, progress.Size(sum.PurgedBytes)))
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
