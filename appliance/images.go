package appliance

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/redoubt-registry/redoubt/appliance/access/acl"
	"github.com/redoubt-registry/redoubt/appliance/access/audit"
	"github.com/redoubt-registry/redoubt/appliance/storage/inventory"
	"github.com/redoubt-registry/redoubt/appliance/storage/progress"
	"github.com/redoubt-registry/redoubt/appliance/storage/pulls"
	"github.com/redoubt-registry/redoubt/appliance/storage/quota"
	"github.com/redoubt-registry/redoubt/appliance/storage/trash"
	"github.com/redoubt-registry/redoubt/appliance/system/imagestore"
)

// ImageOptions are what the caller of the verbs on images chooses.
type ImageOptions struct {
	Storage      string
	Repositories []string // patterns; none: all
	JSON         bool
	Root         string // of the machine whose audit log has it; empty: none
	Result       io.Writer
}

// pulled is an image with when it was pulled last.
type pulled struct {
	inventory.Image
	Pulled time.Time `json:"pulled,omitzero"`
}

// ListImages prints the images of a storage.
func ListImages(ctx context.Context, finder imagestore.Finder, o ImageOptions) error {
	for _, text := range o.Repositories {
		if problem := acl.PatternProblem(text); problem != "" {
			return fmt.Errorf("cannot list %q: it %s", text, problem)
		}
	}
	patterns := acl.Compile(o.Repositories)
	place, err := finder.Open(ctx, o.Storage)
	if err != nil {
		return err
	}
	images, err := inventory.Reader{Storage: place.Driver, Parallel: parallelReads}.Images(ctx, func(name string) bool { return len(patterns) == 0 || patterns.Match(name) })
	if err != nil {
		return err
	}
	known, err := pulls.Read(ctx, place.Driver, time.Now())
	if err != nil {
		return err
	}
	encoder := json.NewEncoder(o.Result)
	table := tabwriter.NewWriter(o.Result, 0, 8, 2, ' ', 0)
	if !o.JSON {
		fmt.Fprintln(table, "IMAGE\tDIGEST\tPLATFORMS\tSIZE\tOWN\tPUSHED\tPULLED\tREFERRERS")
	}
	for _, i := range images {
		p := pulled{i, known.Last(i.Repository + "@" + string(i.Digest))}
		if at := known.Last(i.Repository + ":" + i.Tag); at.After(p.Pulled) {
			p.Pulled = at
		}
		if o.JSON {
			err = encoder.Encode(p)
		} else {
			_, err = fmt.Fprintln(table, p.row())
		}
		if err != nil {
			return err
		}
	}
	return table.Flush()
}

func (p pulled) row() string {
	name := p.Repository
	if p.Tag != "" {
		name += ":" + p.Tag
	}
	what := strings.Join(p.Platforms, ",")
	if what == "" {
		what = p.ArtifactType
	}
	if what == "" {
		what = "-"
	}
	at := "-"
	if !p.Pulled.IsZero() {
		at = p.Pulled.UTC().Format("2006-01-02 15:04")
	}
	return strings.Join([]string{name, p.Digest.Encoded()[:12], what, progress.Size(p.Size), progress.Size(p.Own), p.Pushed.Format("2006-01-02 15:04"), at, fmt.Sprint(p.Referrers)}, "\t")
}

// DiskUsage prints the space of each repository of a storage.
func DiskUsage(ctx context.Context, finder imagestore.Finder, o ImageOptions) error {
	place, err := finder.Open(ctx, o.Storage)
	if err != nil {
		return err
	}
	list, total, err := inventory.Reader{Storage: place.Driver, Parallel: parallelReads}.Usage(ctx)
	if err != nil {
		return err
	}
	quotas, err := usage(ctx, place)
	if err != nil {
		return err
	}
	if o.JSON {
		return json.NewEncoder(o.Result).Encode(struct {
			Repositories []inventory.Usage `json:"repositories"`
			Size         int64             `json:"size"`
			Quotas       []quota.Usage     `json:"quotas,omitempty"`
		}{list, total.Size, quotas})
	}
	table := tabwriter.NewWriter(o.Result, 0, 8, 2, ' ', 0)
	fmt.Fprintln(table, "REPOSITORY\tTAGS\tMANIFESTS\tSIZE\tOWN")
	for _, u := range list {
		fmt.Fprintf(table, "%s\t%d\t%d\t%s\t%s\n", u.Repository, u.Tags, u.Manifests, progress.Size(u.Size), progress.Size(u.Own))
	}
	fmt.Fprintf(table, "all, each blob once\t%d\t%d\t%s\t\n", total.Tags, total.Manifests, progress.Size(total.Size))
	if err := table.Flush(); err != nil {
		return err
	}
	for _, u := range quotas {
		if _, err := fmt.Fprintf(o.Result, "quota of %s: %s\n", u.Name(), u); err != nil {
			return err
		}
	}
	return nil
}

// DeleteImage deletes a tag, or with a digest a manifest with all of its tags. Both can be
// taken back from the trash.
func DeleteImage(ctx context.Context, finder imagestore.Finder, o ImageOptions, repository, tag string, dgst digest.Digest) error {
	return alone(ctx, finder, o.Storage, true, func(place *imagestore.Place, _ func(context.Context) error) (err error) {
		defer func() {
			noteEvent(o.Root, o.Storage, audit.Event{Action: audit.Delete, Kind: "manifest", Repository: repository, Tag: tag, Digest: string(dgst)}, err)
		}()
		repo, err := inventory.Reader{Storage: place.Driver, Parallel: parallelReads}.Repository(ctx, repository)
		if err != nil {
			return err
		}
		var tags []string
		for _, t := range repo.Tags {
			if t.Name == tag || dgst != "" && t.Digest == dgst {
				tags = append(tags, t.Name)
			}
		}
		if dgst == "" && tags == nil || dgst != "" && repo.Manifests[dgst] == nil {
			return errors.New("cannot delete it: there is no such image; redoubt images list shows what is")
		}
		for _, m := range repo.Manifests {
			for _, c := range m.Children {
				if c.Digest == dgst {
					return fmt.Errorf("cannot delete it: the index %s@%s needs it; delete that first", repository, m.Digest)
				}
			}
		}
		if dgst != "" {
			if err := trash.Remove(ctx, place.Driver, repository, dgst); err != nil {
				return fmt.Errorf("cannot delete %s@%s: %w", repository, dgst, err)
			}
		}
		for _, name := range tags {
			if err := trash.Untag(ctx, place.Driver, repository, name); err != nil {
				return fmt.Errorf("cannot delete %s:%s: %w", repository, name, err)
			}
		}
		_, err = fmt.Fprintf(o.Result, "deleted: %s; redoubt trash restore takes it back\n", strings.Join(append(tags, string(dgst)), " "))
		return err
	})
}
