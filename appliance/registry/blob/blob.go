// Package blob serves blobs straight from their files, or from the bucket:
// upstream's reader keeps a buffer of 4 MiB for every pull.
package blob

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"time"

	"github.com/distribution/distribution/v3"
	"github.com/distribution/distribution/v3/registry/api/errcode"
	middleware "github.com/distribution/distribution/v3/registry/middleware/repository"
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/redoubt-registry/redoubt/appliance/registry/links"
	"github.com/redoubt-registry/redoubt/appliance/registry/space"
	"github.com/redoubt-registry/redoubt/appliance/registry/stream"
	"github.com/redoubt-registry/redoubt/appliance/registry/uses"
	"github.com/redoubt-registry/redoubt/appliance/storage/driver"
	"github.com/redoubt-registry/redoubt/appliance/storage/trash"
)

// Name is what the middleware is called in distribution's middleware section;
// SourceOption is its option, a Source; ForgetOption another one, a Forget, where
// there is a cache.
const (
	Name         = "redoubt-blob"
	SourceOption = "source"
	ForgetOption = "forget"
	// RedirectOption is true where clients are sent to the bucket.
	RedirectOption = "redirect"
	// LinksOption is a *links.Links, for digests other than sha256.
	LinksOption = "links"
	// UsesOption is a *uses.Index, which is asked before a blob is deleted.
	UsesOption = "uses"
	// UpstreamOption is true where upstream serves the blobs, since others see them
	// pass: notifications, or another middleware.
	UpstreamOption = "upstream"
	// GuardOption is a *trash.Guard, which keeps what clients are told to be there.
	GuardOption = "guard"
	// SpaceOption is a *space.Keeper, where there are quotas.
	SpaceOption = "space"
)

// Register makes the middleware known to distribution. It may be called more
// than once.
func Register() {
	_ = middleware.Register(Name, newRepository) // fails only when it is there already
}

func newRepository(_ context.Context, r distribution.Repository, options map[string]any) (distribution.Repository, error) {
	from, ok := options[SourceOption].(Source)
	if !ok {
		return nil, errors.New("cannot serve blobs: they were given no source")
	}
	forget, _ := options[ForgetOption].(Forget)
	redirect, _ := options[RedirectOption].(bool)
	upstream, _ := options[UpstreamOption].(bool)
	l, ok := options[LinksOption].(*links.Links)
	if !ok {
		return nil, errors.New("cannot serve blobs: they were given no links")
	}
	used, ok := options[UsesOption].(*uses.Index)
	if !ok {
		return nil, errors.New("cannot serve blobs: what needs them cannot be found")
	}
	guard, ok := options[GuardOption].(*trash.Guard)
	if !ok {
		return nil, errors.New("cannot serve blobs: they were given no guard")
	}
	keeper, _ := options[SpaceOption].(*space.Keeper)
	return repository{Repository: r, serving: serving{space: keeper, source: from, forget: forget, redirect: redirect, upstream: upstream, links: l, uses: used, guard: guard}}, nil
}

// Source opens blobs; Files and Objects make one. What it opens is read from where
// the request begins.
type Source interface {
	open(r *http.Request, desc v1.Descriptor) (io.ReadSeekCloser, int64, error)
	// right tells whether what was opened, and not yet read, is what its digest
	// says. It reads it to the end.
	right(f io.ReadSeeker, dgst digest.Digest) (bool, error)
	// damaged tells whether there is a blob that is not what desc says, where that
	// can be found out without asking a network for it.
	damaged(desc v1.Descriptor) (bool, error)
	// alias makes what is there under one digest be there under another one too.
	alias(ctx context.Context, from, to digest.Digest) error
}

// Forget makes a cache forget the descriptor of a blob in a repository.
type Forget = func(ctx context.Context, repository string, dgst digest.Digest) error

// serving is how blobs are served.
type serving struct {
	source             Source
	forget             Forget
	redirect, upstream bool
	links              *links.Links
	uses               *uses.Index
	guard              *trash.Guard
	space              *space.Keeper // nil: no quotas
}

type repository struct {
	distribution.Repository
	serving
}

func (r repository) Blobs(ctx context.Context) distribution.BlobStore {
	return &store{BlobStore: r.Repository.Blobs(ctx), serving: r.serving, repository: r.Named().Name()}
}

// store lives for one request. The handler asks Stat before ServeBlob, so the
// answer is kept in between.
type store struct {
	distribution.BlobStore
	serving
	repository string

	asked digest.Digest
	last  v1.Descriptor // as it is stored: it may have another digest
}

// Stat implements distribution.BlobStatter. A client is told the digest that it asks
// for.
func (s *store) Stat(ctx context.Context, dgst digest.Digest) (v1.Descriptor, error) {
	desc, err := s.BlobStore.Stat(ctx, dgst)
	if err == nil {
		s.asked, s.last = dgst, desc
		desc.Digest = dgst
	}
	return desc, err
}

// cacheAge is upstream's: what a digest names never changes.
const cacheAge = 365 * 24 * time.Hour

// ServeBlob implements distribution.BlobServer with upstream's headers.
func (s *store) ServeBlob(ctx context.Context, w http.ResponseWriter, r *http.Request, dgst digest.Digest) error {
	if r.Method == http.MethodHead {
		if err := s.present(ctx, dgst); err != nil {
			return err
		}
	}
	if s.upstream || s.redirect && driver.Redirects(r) {
		err := s.BlobStore.ServeBlob(ctx, w, r, dgst)
		if errors.Is(err, distribution.ErrBlobUnknown) { // the descriptor outlived its object: upstream answers 500
			return errcode.ErrorCodeBlobUnknown.WithDetail(dgst)
		}
		return err
	}
	if s.asked != dgst {
		if _, err := s.Stat(ctx, dgst); err != nil { // access check
			return err
		}
	}
	desc := s.last
	f, size, err := s.source.open(r, desc)
	if errors.Is(err, fs.ErrNotExist) {
		f, size, err = s.reopen(ctx, r, desc)
	}
	if errors.Is(err, fs.ErrNotExist) {
		// The descriptor outlived its file: collected behind our back, or damaged.
		// The client must hear that it is gone, to push it again.
		return errcode.ErrorCodeBlobUnknown.WithDetail(dgst)
	}
	if err != nil {
		return fmt.Errorf("cannot open a blob: %w", err)
	}
	defer f.Close()
	if size != desc.Size {
		if err := s.settle(ctx, f, desc.Digest); err != nil {
			return err
		}
	}
	h := w.Header()
	h.Set("ETag", fmt.Sprintf("%q", dgst))
	h.Set("Cache-Control", fmt.Sprintf("max-age=%.f", cacheAge.Seconds()))
	h.Set("Docker-Content-Digest", dgst.String())
	h.Set("Content-Type", desc.MediaType)
	http.ServeContent(stream.Writer{ResponseWriter: w}, r, "", time.Time{}, f)
	return nil
}

// present sees to it that a blob that a client is told to be there stays. What only a
// cache knows of is forgotten.
func (s *store) present(ctx context.Context, dgst digest.Digest) error {
	if s.asked != dgst {
		if _, err := s.Stat(ctx, dgst); err != nil { // access check
			return err
		}
	}
	there, err := s.guard.Ensure(ctx, s.last.Digest)
	if err != nil || there {
		return err
	}
	if s.forget != nil {
		if err := s.forget(ctx, s.repository, dgst); err != nil {
			return fmt.Errorf("cannot forget a descriptor: %w", err)
		}
	}
	return errcode.ErrorCodeBlobUnknown.WithDetail(dgst)
}

// reopen opens a blob that was collected, if it is in the trash.
func (s *store) reopen(ctx context.Context, r *http.Request, desc v1.Descriptor) (io.ReadSeekCloser, int64, error) {
	if back, err := s.guard.Restore(ctx, desc.Digest); err != nil {
		return nil, 0, err
	} else if !back {
		return nil, 0, fs.ErrNotExist
	}
	return s.source.open(r, desc)
}

// settle finds out which is wrong where a descriptor and its blob differ in size:
// the descriptor, which is forgotten then, or the blob, which counts as gone.
func (s *store) settle(ctx context.Context, f io.ReadSeeker, dgst digest.Digest) error {
	right, err := s.source.right(f, dgst)
	if err != nil {
		return err
	}
	if !right {
		return errcode.ErrorCodeBlobUnknown.WithDetail(dgst)
	}
	if s.forget != nil {
		if err := s.forget(ctx, s.repository, dgst); err != nil {
			return fmt.Errorf("cannot forget a descriptor: %w", err)
		}
	}
	_, err = f.Seek(0, io.SeekStart)
	return err
}

// Delete implements distribution.BlobDeleter. What an image is made of stays.
func (s *store) Delete(ctx context.Context, dgst digest.Digest) error {
	if _, err := s.Stat(ctx, dgst); err != nil {
		return err
	}
	if err := s.uses.Free(ctx, s.repository, dgst); err != nil {
		return err
	}
	return s.BlobStore.Delete(ctx, dgst)
}

// Damaged tells whether a blob is there with another content than a manifest says
// that it has.
func (s *store) Damaged(desc v1.Descriptor) (bool, error) { return s.source.damaged(desc) }

// verifies reads a blob to its end.
func verifies(f io.Reader, dgst digest.Digest) (bool, error) {
	verifier := dgst.Verifier()
	if _, err := io.Copy(verifier, f); err != nil {
		return false, fmt.Errorf("cannot read a blob: %w", err)
	}
	return verifier.Verified(), nil
}
