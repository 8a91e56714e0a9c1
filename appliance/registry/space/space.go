// Package space keeps what clients push within the quotas of their repositories.
package space

import (
	"context"
	"crypto/rand"
	"errors"
	"slices"
	"time"

	"github.com/distribution/distribution/v3/registry/api/errcode"
	"github.com/distribution/distribution/v3/registry/storage/driver"
	"github.com/opencontainers/go-digest"

	"github.com/redoubt-registry/redoubt/appliance/registry/links"
	"github.com/redoubt-registry/redoubt/appliance/registry/uses"
	"github.com/redoubt-registry/redoubt/appliance/storage/fault"
	"github.com/redoubt-registry/redoubt/appliance/storage/layout"
	"github.com/redoubt-registry/redoubt/appliance/storage/quota"
)

// Keeper keeps quotas. A nil one has none to keep.
type Keeper struct {
	Ledger *quota.Ledger
	Links  *links.Links
	Uses   *uses.Index
}

// Upload is the push of an upload by its id; nil where no quota is for the repository.
func (k *Keeper) Upload(repository, id string) *quota.Push {
	if k == nil {
		return nil
	}
	return k.Ledger.Push(repository, id)
}

// Refuse makes an answer of why a push did not fit: 403 DENIED, whose message clients
// print. Other errors are the storage's.
func Refuse(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if over, ok := errors.AsType[*quota.Exceeded](err); ok {
		return fault.Refuse(ctx, errcode.ErrorCodeDenied.WithMessage(over.Error()))
	}
	if ctx.Err() == nil {
		fault.Note(ctx, err)
	}
	return err
}

// End ends something that was set aside: it is stored now, or will not be.
type End func(ctx context.Context, stored bool) error

func nothing(context.Context, bool) error { return nil }

// Begin lets a client begin an upload, or mount a blob from another repository; dgst is
// empty where it does not.
func (k *Keeper) Begin(ctx context.Context, repository, from string, dgst digest.Digest) (End, error) {
	p := k.Upload(repository, "")
	switch {
	case p == nil:
		return nothing, nil
	case dgst == "":
		return nothing, Refuse(ctx, p.Room(ctx))
	}
	info, err := k.stat(ctx, layout.Path(dgst))
	if err == nil && info == nil { // it is uploaded
		err = p.Room(ctx)
	}
	if err != nil || info == nil {
		return nothing, Refuse(ctx, err)
	}
	return k.Mount(ctx, repository, from, dgst)
}

// Mount lets a repository have blobs of another one. What it has already needs no space,
// and under a quota of both repositories what the other one has.
func (k *Keeper) Mount(ctx context.Context, repository, from string, blobs ...digest.Digest) (End, error) {
	shared, alone := k.Upload(repository, "mount-"+rand.Text()), k.Upload(repository, "mount-"+rand.Text())
	if shared == nil {
		return nothing, nil
	}
	shared.Except(from)
	var common, own int64
	for _, dgst := range slices.Compact(slices.Sorted(slices.Values(blobs))) {
		n, err := k.missing(ctx, alone, repository, dgst)
		if err != nil {
			return nothing, Refuse(ctx, err)
		}
		if n == 0 {
			continue
		}
		held, err := k.Held(ctx, alone, from, dgst)
		if err != nil {
			return nothing, Refuse(ctx, err)
		}
		if held {
			common += n
		} else {
			own += n
		}
	}
	first, err := k.setAside(ctx, shared, common, "")
	if err != nil {
		return nothing, err
	}
	second, err := k.setAside(ctx, alone, own, "")
	if err != nil {
		return nothing, errors.Join(err, first(ctx, false))
	}
	return func(ctx context.Context, stored bool) error {
		return errors.Join(first(ctx, stored), second(ctx, stored))
	}, nil
}

// Manifest lets a client put a manifest of some bytes that refers to parts: what of these
// no image of the repository has needs space too, such as layers that lie there from
// before.
func (k *Keeper) Manifest(ctx context.Context, repository string, dgst digest.Digest, data []byte) (End, error) {
	p := k.Upload(repository, "manifest-"+rand.Text())
	if p == nil {
		return nothing, nil
	}
	link := layout.LinkPath(repository, layout.Revisions, dgst)
	if info, err := k.stat(ctx, link); err != nil || info != nil {
		return nothing, Refuse(ctx, err)
	}
	need := int64(len(data))
	refs := layout.ReferencesOf(data)
	seen := map[digest.Digest]bool{}
	for _, part := range slices.Concat(refs.Blobs, refs.Manifests) {
		if seen[part.Digest] {
			continue
		}
		seen[part.Digest] = true
		n, err := k.missing(ctx, p, repository, part.Digest)
		if err != nil {
			return nothing, Refuse(ctx, err)
		}
		need += n
	}
	return k.setAside(ctx, p, need, link)
}

// missing is how many bytes a part of an image needs in a repository that do not count yet.
func (k *Keeper) missing(ctx context.Context, p *quota.Push, repository string, dgst digest.Digest) (int64, error) {
	held, err := k.Held(ctx, p, repository, dgst)
	if err != nil || held {
		return 0, err
	}
	if info, err := k.stat(ctx, layout.LinkPath(repository, layout.Revisions, dgst)); err != nil || info != nil {
		return 0, err
	}
	info, err := k.stat(ctx, layout.Path(dgst))
	if err != nil || info == nil { // it is not there
		return 0, err
	}
	return info.Size(), nil
}

// setAside sets n bytes aside. What fails and has left the link all the same counts.
func (k *Keeper) setAside(ctx context.Context, p *quota.Push, n int64, link string) (End, error) {
	if n == 0 {
		return nothing, nil
	}
	if _, err := p.Set(ctx, n, 0); err != nil {
		return nothing, Refuse(ctx, err)
	}
	return func(ctx context.Context, stored bool) error {
		if !stored && link != "" {
			info, err := k.stat(context.WithoutCancel(ctx), link)
			stored = err != nil || info != nil
		}
		if !stored {
			n = 0
		}
		return Refuse(ctx, p.End(ctx, n))
	}, nil
}

// recent is the age at which a link counts only if a manifest needs the blob: a collection
// that runs at this moment may leave it out.
const recent = 12 * time.Hour

// Held tells whether a blob counts among those of a repository.
func (k *Keeper) Held(ctx context.Context, p *quota.Push, repository string, dgst digest.Digest) (bool, error) {
	info, err := k.stat(ctx, layout.LinkPath(repository, layout.Layers, dgst))
	if err != nil || info == nil {
		return false, err
	}
	cut, err := p.Fresh(ctx)
	if err != nil {
		return false, err
	}
	if at := info.ModTime(); at.After(cut) && time.Since(at) < recent {
		return true, nil
	}
	return k.Uses.Needed(ctx, repository, dgst)
}

// stat looks for a file; nil: there is none.
func (k *Keeper) stat(ctx context.Context, path string) (driver.FileInfo, error) {
	info, err := k.Links.Driver.Stat(ctx, path)
	if layout.Missing(err) {
		return nil, nil
	}
	return info, err
}
