// Package blob serves the blobs of a filesystem store straight from their
// files: upstream's reader keeps a buffer of 4 MiB for every pull.
package blob

import (
	"context"
	"errors"
	"fmt"
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
)

// Name is what the middleware is called in distribution's middleware section;
// RootOption is its option: the store's root directory.
const (
	Name       = "redoubt-blob"
	RootOption = "root"
)

// Register makes the middleware known to distribution. It may be called more
// than once.
func Register() {
	_ = middleware.Register(Name, newRepository) // fails only when it is there already
}

func newRepository(_ context.Context, r distribution.Repository, options map[string]any) (distribution.Repository, error) {
	root, ok := options[RootOption].(string)
	if !ok || root == "" {
		return nil, errors.New("cannot serve blobs from files: the root directory is not set")
	}
	return repository{Repository: r, root: root}, nil
}

type repository struct {
	distribution.Repository
	root string
}

func (r repository) Blobs(ctx context.Context) distribution.BlobStore {
	return &store{BlobStore: r.Repository.Blobs(ctx), root: r.root}
}

// store lives for one request. The handler asks Stat before ServeBlob, so the
// answer is kept in between.
type store struct {
	distribution.BlobStore
	root string

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
	f, err := os.Open(path(s.root, desc.Digest))
	if errors.Is(err, fs.ErrNotExist) {
		// The descriptor outlived its file: collected behind our back. The
		// client must hear that it is gone, to push it again.
		return errcode.ErrorCodeBlobUnknown.WithDetail(dgst)
	}
	if err != nil {
		return fmt.Errorf("cannot open a blob: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("cannot read a blob: %w", err)
	}
	if info.Size() != desc.Size {
		return fmt.Errorf("cannot serve %s: its file has %d bytes instead of %d", desc.Digest, info.Size(), desc.Size)
	}
	h := w.Header()
	h.Set("ETag", fmt.Sprintf("%q", desc.Digest))
	h.Set("Cache-Control", fmt.Sprintf("max-age=%.f", cacheAge.Seconds()))
	h.Set("Docker-Content-Digest", desc.Digest.String())
	h.Set("Content-Type", desc.MediaType)
	http.ServeContent(w, r, desc.Digest.String(), time.Time{}, f)
	return nil
}

// path is upstream's layout of a blob's file: blobs/<algorithm>/<first two hex
// digits>/<hex>/data (registry/storage/paths.go).
func path(root string, d digest.Digest) string {
	hex := d.Encoded()
	return filepath.Join(root, "docker/registry/v2/blobs", d.Algorithm().String(), hex[:2], hex, "data")
}
