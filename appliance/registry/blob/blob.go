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
	"os"
	"path/filepath"
	"time"

	"github.com/distribution/distribution/v3"
	"github.com/distribution/distribution/v3/registry/api/errcode"
	middleware "github.com/distribution/distribution/v3/registry/middleware/repository"
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/redoubt-registry/redoubt/appliance/storage/bucket"
	"github.com/redoubt-registry/redoubt/appliance/storage/layout"
)

// Name is what the middleware is called in distribution's middleware section;
// SourceOption is its option: the root directory of a filesystem store, or a
// *bucket.Bucket.
const (
	Name         = "redoubt-blob"
	SourceOption = "source"
)

// Register makes the middleware known to distribution. It may be called more
// than once.
func Register() {
	_ = middleware.Register(Name, newRepository) // fails only when it is there already
}

func newRepository(_ context.Context, r distribution.Repository, options map[string]any) (distribution.Repository, error) {
	switch from := options[SourceOption].(type) {
	case string:
		return repository{Repository: r, source: files(from)}, nil
	case *bucket.Bucket:
		return repository{Repository: r, source: objects{from}}, nil
	}
	return nil, errors.New("cannot serve blobs: neither a directory nor a bucket is set")
}

// source opens blobs. What it opens is read from where the request begins.
type source interface {
	open(r *http.Request, desc v1.Descriptor) (io.ReadSeekCloser, int64, error)
}

type repository struct {
	distribution.Repository
	source source
}

func (r repository) Blobs(ctx context.Context) distribution.BlobStore {
	return &store{BlobStore: r.Repository.Blobs(ctx), source: r.source}
}

// store lives for one request. The handler asks Stat before ServeBlob, so the
// answer is kept in between.
type store struct {
	distribution.BlobStore
	source source

	asked digest.Digest
	last  v1.Descriptor
}

func (s *store) Stat(ctx context.Context, dgst digest.Digest) (v1.Descriptor, error) {
	desc, err := s.BlobStore.Stat(ctx, dgst)
	if err == nil {
		s.asked, s.last = dgst, desc
	}
	return desc, err
}

// cacheAge is upstream's: what a digest names never changes.
const cacheAge = 365 * 24 * time.Hour

// ServeBlob implements distribution.BlobServer with upstream's headers.
func (s *store) ServeBlob(ctx context.Context, w http.ResponseWriter, r *http.Request, dgst digest.Digest) error {
	desc := s.last
	if s.asked == "" || desc.Digest != dgst {
		var err error
		if desc, err = s.Stat(ctx, dgst); err != nil { // access check
			return err
		}
	}
	f, size, err := s.source.open(r, desc)
	if errors.Is(err, fs.ErrNotExist) {
		// The descriptor outlived its file: collected behind our back. The
		// client must hear that it is gone, to push it again.
		return errcode.ErrorCodeBlobUnknown.WithDetail(dgst)
	}
	if err != nil {
		return fmt.Errorf("cannot open a blob: %w", err)
	}
	defer f.Close()
	if size != desc.Size {
		return fmt.Errorf("cannot serve %s: its file has %d bytes instead of %d", desc.Digest, size, desc.Size)
	}
	h := w.Header()
	h.Set("ETag", fmt.Sprintf("%q", desc.Digest))
	h.Set("Cache-Control", fmt.Sprintf("max-age=%.f", cacheAge.Seconds()))
	h.Set("Docker-Content-Digest", desc.Digest.String())
	h.Set("Content-Type", desc.MediaType)
	http.ServeContent(w, r, desc.Digest.String(), time.Time{}, f)
	return nil
}

// files is the root directory of a filesystem store.
type files string

func (root files) open(_ *http.Request, desc v1.Descriptor) (io.ReadSeekCloser, int64, error) {
	f, err := os.Open(filepath.Join(string(root), layout.Path(desc.Digest)))
	if err != nil {
		return nil, 0, err
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, 0, err
	}
	return f, info.Size(), nil
}
