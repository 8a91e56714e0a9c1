package imagecopy

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/redoubt-registry/redoubt/appliance/storage/layout"
)

// links copies the repositories, several at a time.
func (c *Copy) links(ctx context.Context) error {
	phase := "links"
	if c.comparing {
		phase = "comparing links"
	} else if err := c.To.Sync(); err != nil {
		return err
	}
	c.Meter.Begin(phase, 0, 0)
	group, inner := errgroup.WithContext(ctx)
	group.SetLimit(c.Parallel)
	err := layout.EachRepository(inner, c.From, func(name string) error {
		group.Go(func() error {
			r := &repository{Copy: c, name: name, left: map[digest.Digest]bool{}}
			return r.links(inner)
		})
		return nil
	})
	if failed := group.Wait(); failed != nil {
		return failed
	}
	return err
}

// repository is the copy of one repository's links.
type repository struct {
	*Copy
	name string
	left map[digest.Digest]bool // revisions that were not copied

	pause sync.Once
}

// moment is longer than a registry takes between the steps of a deletion: the copy may
// see one step without the other.
const moment = time.Second

// link is one to be copied, and what it holds.
type link struct {
	layout.Link
	holds digest.Digest
}

// links copies one repository's links while others may push to it. A push makes
// the layers' links first, then the revision's, then the tag's: they are read in
// the opposite order, so that whatever a tag needs is read after it, and written
// in that order, so that the target never has a tag without what it needs.
func (r *repository) links(ctx context.Context) error {
	tags, err := r.read(ctx, layout.Tags)
	if err != nil {
		return err
	}
	revisions, err := r.read(ctx, layout.Revisions)
	if err != nil {
		return err
	}
	known := make(map[digest.Digest]bool, len(revisions))
	for _, l := range revisions {
		known[l.Digest] = true
	}
	if err := r.layers(ctx); err != nil {
		return err
	}
	if err := r.revisions(ctx, revisions); err != nil {
		return err
	}
	if len(tags) > 0 && !r.comparing {
		if err := r.To.Sync(); err != nil {
			return err
		}
	}
	return r.tags(ctx, tags, known)
}

// read reads all links of a part.
func (r *repository) read(ctx context.Context, part string) ([]link, error) {
	var links []link
	seen := map[string]bool{}
	group := r.group()
	err := layout.EachLink(ctx, r.From, r.name, part, func(l layout.Link) error {
		if seen[l.Path] {
			return nil
		}
		seen[l.Path] = true
		group.Go(func() error {
			holds, err := r.holds(ctx, l)
			if err != nil || holds == "" {
				return err
			}
			r.mu.Lock()
			defer r.mu.Unlock()
			links = append(links, link{l, holds})
			return nil
		})
		return nil
	}, r.leaveOut)
	if failed := group.Wait(); failed != nil {
		return nil, failed
	}
	if err != nil {
		return nil, fmt.Errorf("source: %w", err)
	}
	return links, nil
}

func (r *repository) group() *errgroup.Group {
	var group errgroup.Group
	group.SetLimit(r.Parallel)
	return &group
}

// holds is the digest that a link of the source holds; empty if the link is gone, or
// cannot be used, which was reported.
func (r *repository) holds(ctx context.Context, l layout.Link) (digest.Digest, error) {
	var holds digest.Digest
	var gone bool
	err := again(ctx, func() (err error) {
		holds, gone, err = layout.Read(ctx, r.From, l.Path)
		return err
	})
	if ctx.Err() != nil {
		return "", ctx.Err()
	}
	if gone {
		return "", nil
	}
	if damage, ok := errors.AsType[*layout.Damage](err); ok {
		if !r.comparing {
			r.fault(Fault{Repository: r.name, Tag: l.Tag, Digest: l.Digest, Err: fmt.Errorf("a link is left out: %w", damage)})
		}
		return "", nil
	}
	if err != nil {
		r.fault(Fault{Repository: r.name, Tag: l.Tag, Digest: l.Digest, Err: fmt.Errorf("source: %w", err)})
	}
	return holds, r.note(err)
}

// layers copies the links to layers and to the configurations of images.
func (r *repository) layers(ctx context.Context) error {
	group := r.group()
	err := layout.EachLink(ctx, r.From, r.name, layout.Layers, func(l layout.Link) error {
		group.Go(func() error {
			holds, err := r.holds(ctx, l)
			if err != nil || holds == "" {
				return err
			}
			return r.put(ctx, link{l, holds}, func() (bool, error) {
				why, err := r.need(ctx, holds)
				if why == errAbsent && !r.comparing {
					r.summary.dangling.Add(1)
					text := r.name + " " + string(holds)
					r.summary.missing.CompareAndSwap(nil, &text)
				}
				return why == nil, err
			})
		})
		return nil
	}, r.leaveOut)
	if failed := group.Wait(); failed != nil {
		return failed
	}
	if err != nil {
		return fmt.Errorf("source: %w", err)
	}
	return nil
}

// revisions copies the links to manifests.
func (r *repository) revisions(ctx context.Context, links []link) error {
	group := r.group()
	for _, l := range links {
		group.Go(func() error {
			return r.put(ctx, l, func() (bool, error) {
				why, err := r.need(ctx, l.holds)
				if err != nil || why == nil {
					return why == nil, err
				}
				r.leave(l.Digest)
				return false, r.leftOut(ctx, l, fmt.Errorf("the manifest is left out: %w; push the image again", why))
			})
		})
	}
	if err := group.Wait(); err != nil || r.comparing || len(links) == 0 {
		return err
	}
	// The registry on the target looks again for what the manifests refer to.
	if err := r.To.Remove(ctx, layout.ReferrersWhole(r.name)); err != nil {
		return fmt.Errorf("target: %w", err)
	}
	return nil
}

// tags copies the links that make the tags, of each tag its history first. A tag
// whose manifest is left out is left out as a whole.
func (r *repository) tags(ctx context.Context, links []link, known map[digest.Digest]bool) error {
	left := map[string]bool{}
	for _, l := range links {
		if !l.Current() || known[l.holds] && !r.isLeft(l.holds) {
			continue
		}
		left[l.Tag] = true
		err := r.leftOut(ctx, l, errors.New("the tag is left out, since its manifest is not there; push the image again"))
		if err != nil {
			return err
		}
	}
	for _, current := range []bool{false, true} {
		group := r.group()
		for _, l := range links {
			if l.Current() == current && !left[l.Tag] {
				group.Go(func() error { return r.put(ctx, l, func() (bool, error) { return true, nil }) })
			}
		}
		if err := group.Wait(); err != nil {
			return err
		}
	}
	return nil
}

// leftOut reports a link that is not copied, unless it is gone or has changed.
func (r *repository) leftOut(ctx context.Context, l link, why error) error {
	r.pause.Do(func() { rest(ctx, moment) })
	now, gone, err := layout.Read(ctx, r.From, l.Path)
	if err == nil && !gone && now == l.holds && !r.comparing {
		r.fault(Fault{Repository: r.name, Tag: l.Tag, Digest: l.holds, Err: why})
	}
	return ctx.Err()
}

// put writes a link, unless the target has it, or ready says that its manifest or blob
// is missing.
func (r *repository) put(ctx context.Context, l link, ready func() (bool, error)) error {
	defer r.Meter.Objects.Add(1)
	if r.comparing {
		r.summary.comparedLinks.Add(1)
	}
	var have digest.Digest
	err := again(ctx, func() (err error) {
		have, _, err = layout.Read(ctx, r.To, l.Path)
		if _, damaged := errors.AsType[*layout.Damage](err); damaged {
			return nil // it is written again
		}
		return err
	})
	if err != nil {
		return r.failed(ctx, l, err)
	}
	if have == l.holds {
		return r.note(nil)
	}
	if there, err := ready(); err != nil || !there {
		return err
	}
	if r.comparing {
		r.differs(Fault{Repository: r.name, Tag: l.Tag, Digest: l.holds, Err: fmt.Errorf("%s is not the same at the target; the same command again copies it", l.Path)})
		return nil
	}
	data := []byte(l.holds)
	err = again(ctx, func() error { return r.To.Place(ctx, l.Path, int64(len(data)), bytes.NewReader(data)) })
	if err != nil {
		return r.failed(ctx, l, err)
	}
	r.summary.links.Add(1)
	return r.note(nil)
}

// failed reports a link that cannot be written.
func (r *repository) failed(ctx context.Context, l link, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	r.fault(Fault{Repository: r.name, Tag: l.Tag, Digest: l.holds, Err: fmt.Errorf("target: %w", err)})
	r.leave(l.Digest)
	return r.note(err)
}
