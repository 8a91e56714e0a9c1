package blob

import (
	"context"
	"errors"

	"github.com/distribution/distribution/v3"
	"github.com/distribution/distribution/v3/registry/api/errcode"
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// Create implements distribution.BlobIngester, within the quotas.
func (s *store) Create(ctx context.Context, options ...distribution.BlobCreateOption) (distribution.BlobWriter, error) {
	var asked distribution.CreateOptions
	for _, option := range options {
		if err := option.Apply(&asked); err != nil {
			return nil, err
		}
	}
	var from string
	var dgst digest.Digest
	if asked.Mount.ShouldMount {
		from, dgst = asked.Mount.From.Name(), asked.Mount.From.Digest()
	}
	end, err := s.space.Begin(ctx, s.repository, from, dgst)
	if err != nil {
		return nil, err
	}
	w, err := s.create(ctx, asked, options)
	if failed := end(ctx, errors.As(err, new(distribution.ErrBlobMounted))); failed != nil {
		return nil, failed
	}
	return w, err
}

// create is Create without quotas. Upstream mounts a blob of another digest than sha256 by
// a link that leads nowhere.
func (s *store) create(ctx context.Context, asked distribution.CreateOptions, options []distribution.BlobCreateOption) (distribution.BlobWriter, error) {
	if asked.Mount.ShouldMount && foreign(asked.Mount.From.Digest()) {
		dgst := asked.Mount.From.Digest()
		size, err := s.links.Mount(ctx, asked.Mount.From.Name(), s.repository, dgst)
		if err == nil {
			if _, err := s.guard.Ensure(ctx, dgst); err != nil {
				return nil, err
			}
			return nil, distribution.ErrBlobMounted{From: asked.Mount.From,
				Descriptor: v1.Descriptor{MediaType: "application/octet-stream", Digest: dgst, Size: size}}
		}
		if !errors.Is(err, distribution.ErrBlobUnknown) {
			return nil, err
		}
		options = nil // it is uploaded
	}
	w, err := s.BlobStore.Create(ctx, options...)
	mounted, ok := errors.AsType[distribution.ErrBlobMounted](err)
	if !ok {
		return s.writer(ctx, w, err)
	}
	there, failed := s.guard.Ensure(ctx, mounted.Descriptor.Digest)
	switch {
	case failed != nil:
		return nil, failed
	case there:
		return nil, err // as it is: upstream knows it by its type
	}
	if s.forget != nil { // only a cache knows of it: it is uploaded
		if err := errors.Join(s.forget(ctx, mounted.From.Name(), mounted.Descriptor.Digest), s.forget(ctx, s.repository, mounted.Descriptor.Digest)); err != nil {
			return nil, err
		}
	}
	w, err = s.BlobStore.Create(ctx)
	return s.writer(ctx, w, err)
}

// Resume implements distribution.BlobIngester.
func (s *store) Resume(ctx context.Context, id string) (distribution.BlobWriter, error) {
	w, err := s.BlobStore.Resume(ctx, id)
	return s.writer(ctx, w, err)
}

func (s *store) writer(ctx context.Context, w distribution.BlobWriter, err error) (distribution.BlobWriter, error) {
	if err != nil {
		return nil, err
	}
	return writer{BlobWriter: w, store: s, ctx: ctx}, nil
}

// writer is an upload that ends under the digest that the client gives.
type writer struct {
	distribution.BlobWriter
	store *store
	ctx   context.Context // of the request
}

// commit is Commit without quotas. Upstream verifies the digest, and keeps the blob as
// sha256.
func (w writer) commit(ctx context.Context, asked v1.Descriptor) (v1.Descriptor, error) {
	desc, err := w.BlobWriter.Commit(ctx, asked)
	if err != nil {
		return desc, err
	}
	s := w.store
	if there, err := s.guard.Ensure(ctx, desc.Digest); err != nil {
		return v1.Descriptor{}, err
	} else if !there {
		return v1.Descriptor{}, errTaken
	}
	if !foreign(asked.Digest) || desc.Digest == asked.Digest {
		return desc, nil
	}
	if err := s.source.alias(ctx, desc.Digest, asked.Digest); err != nil {
		return v1.Descriptor{}, err
	}
	if err := s.links.Layer(ctx, s.repository, asked.Digest); err != nil {
		return v1.Descriptor{}, err
	}
	if s.forget != nil { // that it is stored as sha256
		if err := s.forget(ctx, s.repository, asked.Digest); err != nil {
			return v1.Descriptor{}, err
		}
	}
	desc.Digest = asked.Digest
	return desc, nil
}

// errTaken is for an upload of what was collected at this very moment, and of which
// nothing is left.
var errTaken = errcode.ErrorCodeUnavailable.WithDetail("the blob went while it was uploaded: push it again")

// foreign tells whether upstream keeps what has such a digest under another one.
func foreign(dgst digest.Digest) bool { return dgst.Algorithm() != digest.Canonical }
