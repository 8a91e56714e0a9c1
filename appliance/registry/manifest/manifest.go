// Package manifest checks what a manifest refers to before upstream does: an index
// may refer to blobs, and a layer that is damaged counts as missing.
package manifest

import (
	"context"
	"errors"

	"github.com/distribution/distribution/v3"
	"github.com/distribution/distribution/v3/registry/api/errcode"
	middleware "github.com/distribution/distribution/v3/registry/middleware/repository"
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/redoubt-registry/redoubt/appliance/registry/blobcache"
)

// Name is what the middleware is called in distribution's middleware section. It
// needs those of blobcache.
const Name = "redoubt-manifest"

// Register makes the middleware known to distribution. It may be called more than
// once.
func Register() {
	_ = middleware.Register(Name, func(_ context.Context, r distribution.Repository, _ map[string]any) (distribution.Repository, error) {
		return repository{r}, nil
	}) // fails only when it is there already
}

type repository struct{ distribution.Repository }

func (r repository) Manifests(ctx context.Context, options ...distribution.ManifestServiceOption) (distribution.ManifestService, error) {
	s, err := r.Repository.Manifests(ctx, options...)
	return service{ManifestService: s, repository: r.Repository, ctx: ctx, options: options}, err
}

// service lives for one request.
type service struct {
	distribution.ManifestService
	repository distribution.Repository
	ctx        context.Context
	options    []distribution.ManifestServiceOption
}

// checker is a blob store that can tell damaged blobs; blob's can.
type checker interface {
	Damaged(desc v1.Descriptor) (bool, error)
}

// Put implements distribution.ManifestService.
func (s service) Put(ctx context.Context, m distribution.Manifest, options ...distribution.ManifestServiceOption) (digest.Digest, error) {
	blobs := s.repository.Blobs(s.ctx)
	if c, ok := blobs.(checker); ok {
		if err := check(c, m); err != nil {
			return "", err
		}
	}
	all, err := s.repository.Manifests(blobcache.AlsoBlobs(s.ctx, blobs), s.options...)
	if err != nil {
		return "", err
	}
	d, err := all.Put(ctx, m, options...)
	return d, mistake(err)
}

// mistake is the error of a put, with a code for what upstream finds wrong in a
// manifest but has no code for, such as the URL of a layer: it would answer 500. What
// the storage has failed is told before this, see fault.
func mistake(err error) error {
	found, ok := errors.AsType[distribution.ErrManifestVerification](err)
	if !ok {
		return err
	}
	for _, e := range found {
		switch e.(type) {
		case distribution.ErrManifestBlobUnknown, distribution.ErrManifestNameInvalid, distribution.ErrManifestUnverified:
			continue
		}
		if !errors.Is(e, digest.ErrDigestInvalidFormat) {
			return errcode.ErrorCodeManifestInvalid.WithDetail(e.Error())
		}
	}
	return err
}

// check names the damaged blobs that a manifest refers to. A size that is wrong in
// the manifest is not checked here.
func check(c checker, m distribution.Manifest) error {
	var errs distribution.ErrManifestVerification
	for _, desc := range m.References() {
		if desc.Digest.Validate() != nil {
			continue // upstream says so
		}
		damaged, err := c.Damaged(desc)
		if err != nil {
			return err
		}
		if damaged {
			errs = append(errs, distribution.ErrManifestBlobUnknown{Digest: desc.Digest})
		}
	}
	if len(errs) > 0 {
		return errs
	}
	return nil
}
