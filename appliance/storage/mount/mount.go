package mount

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/distribution/distribution/v3/registry/storage/driver"
	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/redoubt-registry/redoubt/appliance/storage/fault"
	"github.com/redoubt-registry/redoubt/appliance/storage/layout"
	"github.com/redoubt-registry/redoubt/appliance/storage/once"
)

// Target is the repository that gets an image.
type Target struct {
	Storage    driver.StorageDriver // as trash.Driver makes it
	Repository string
	// Ensure tells whether a blob is there, and that it stays until the image has it.
	Ensure func(ctx context.Context, dgst digest.Digest) (bool, error)
}

// parallel is how many links are written at a time.
const parallel = 16

// Blobs links the repository to the blobs of manifests of another one. Layers that
// clients fetch from elsewhere need not be there.
func (t Target) Blobs(ctx context.Context, from string, list []Manifest) error {
	group, inner := errgroup.WithContext(ctx)
	group.SetLimit(parallel)
	seen := map[digest.Digest]bool{}
	for _, m := range list {
		for _, b := range m.Blobs {
			if seen[b.Digest] {
				continue
			}
			seen[b.Digest] = true
			group.Go(func() error {
				there, err := t.link(inner, from, layout.Layers, b.Digest)
				if err == nil && !there && len(b.URLs) == 0 {
					err = &Missing{Repository: from, Digest: b.Digest, Blob: true}
				}
				return err
			})
		}
	}
	return group.Wait()
}

// link gives the repository a link that another one has. It tells whether that has one,
// and what it leads to is there.
func (t Target) link(ctx context.Context, from, part string, dgst digest.Digest) (bool, error) {
	target, gone, err := layout.Read(ctx, t.Storage, layout.LinkPath(from, part, dgst))
	if gone || err != nil {
		return false, err
	}
	there, err := t.Ensure(ctx, target)
	if !there || err != nil {
		return false, err
	}
	return true, t.put(ctx, layout.LinkPath(t.Repository, part, dgst), target.String())
}

// Manifests makes manifests of another repository, whose blobs are linked, those of the
// repository, in their order.
func (t Target) Manifests(ctx context.Context, from string, list []Manifest) error {
	for _, m := range list {
		there, err := t.link(ctx, from, layout.Revisions, m.Digest)
		if err != nil {
			return err
		}
		if !there {
			return &Missing{Repository: from, Digest: m.Digest}
		}
		desc, subject := layout.Describe(m.Digest, m.Data)
		if subject == "" {
			continue
		}
		data, err := json.Marshal(desc)
		if err != nil {
			return fmt.Errorf("cannot describe a referrer: %w", err)
		}
		if err := t.put(ctx, layout.ReferrerPath(t.Repository, subject, m.Digest), string(data)); err != nil {
			return err
		}
	}
	return nil
}

// Taken is the error for a tag that points to another image and may not be written.
type Taken struct {
	Tag  string
	Have digest.Digest
}

func (t *Taken) Error() string { return fmt.Sprintf("the tag %s is %s already", t.Tag, t.Have) }

// Tag lets a tag point to an image of the repository. With create a tag that points to
// another one is left, and the error is a *Taken.
func (t Target) Tag(ctx context.Context, tag string, dgst digest.Digest, create bool) error {
	if create {
		if err := t.create(ctx, tag, dgst); err != nil {
			return err
		}
	} else if err := t.put(ctx, layout.TagPath(t.Repository, tag), dgst.String()); err != nil {
		return err
	}
	return t.put(ctx, layout.TaggedPath(t.Repository, tag, dgst), dgst.String())
}

// create writes a tag that is not there.
func (t Target) create(ctx context.Context, tag string, dgst digest.Digest) error {
	have, err := t.Have(ctx, tag)
	if err == nil && have == "" {
		err = t.put(once.With(ctx), layout.TagPath(t.Repository, tag), dgst.String())
		if !errors.Is(fault.Cause(err), once.ErrExists) {
			return err
		}
		have, err = t.Have(ctx, tag) // written in between
	}
	if err == nil && have != dgst {
		err = &Taken{tag, have}
	}
	return err
}

// Have is what a tag points to; empty: there is no such tag.
func (t Target) Have(ctx context.Context, tag string) (digest.Digest, error) {
	dgst, _, err := layout.Read(ctx, t.Storage, layout.TagPath(t.Repository, tag))
	return dgst, err
}

func (t Target) put(ctx context.Context, p, text string) error {
	if err := t.Storage.PutContent(ctx, p, []byte(text)); err != nil {
		return fmt.Errorf("cannot write to the storage: %w", err)
	}
	return nil
}
