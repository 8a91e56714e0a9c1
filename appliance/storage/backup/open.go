package backup

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"

	"filippo.io/age"
	"github.com/distribution/distribution/v3/registry/storage/driver"

	"github.com/redoubt-registry/redoubt/appliance/storage/layout"
)

// Opened is a snapshot that was decrypted.
type Opened struct {
	Snapshot
	// Images is the registry's storage as it was, to be read alone; nil: it has none.
	Images driver.StorageDriver
}

// Open decrypts a snapshot: each file that the machine kept goes to state, and the images
// can be read while r is used. An archive that was changed, or cut, is an error before
// state is called.
func (r *Repository) Open(ctx context.Context, s Snapshot, identities []age.Identity, state func(*tar.Header, io.Reader) error) (*Opened, error) {
	data, err := r.archive(ctx, s)
	if err != nil {
		return nil, err
	}
	plain, err := age.Decrypt(bytes.NewReader(data), identities...)
	if _, other := errors.AsType[*age.NoIdentityMatchError](err); other {
		return nil, fmt.Errorf("cannot decrypt the snapshot %s: it is for another key; the identity must be that of one of backup.recipients when it was taken", s.Name)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot decrypt the snapshot %s: %w", s.Name, err)
	}
	compressed, err := gzip.NewReader(plain)
	if err != nil {
		return nil, fmt.Errorf("cannot read the snapshot %s: %w", s.Name, err)
	}
	images := newTree()
	archive := tar.NewReader(compressed)
	for {
		h, err := archive.Next()
		if err == io.EOF {
			break
		}
		if err == nil {
			err = r.take(h, archive, images, state)
		}
		if err != nil {
			return nil, fmt.Errorf("cannot read the snapshot %s: %w", s.Name, err)
		}
	}
	out := &Opened{Snapshot: s}
	if s.Images {
		out.Images = images
		r.blobsOf(s, images, identities)
	}
	return out, nil
}

// archive reads and checks the encrypted archive.
func (r *Repository) archive(ctx context.Context, s Snapshot) ([]byte, error) {
	data, err := r.At.GetContent(ctx, archivePath(s.Name))
	if layout.Missing(err) {
		return nil, fmt.Errorf("cannot read the snapshot %s: its archive is not there", s.Name)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read the snapshot %s: %w", s.Name, err)
	}
	if sum := sha256.Sum256(data); hex.EncodeToString(sum[:]) != s.SHA256 {
		return nil, fmt.Errorf("cannot use the snapshot %s: its archive is damaged, its SHA-256 is another one", s.Name)
	}
	return data, nil
}

func (r *Repository) take(h *tar.Header, content io.Reader, images *tree, state func(*tar.Header, io.Reader) error) error {
	if name, ok := strings.CutPrefix(h.Name, StatePrefix); ok {
		h.Name = name
		return state(h, content)
	}
	p, ok := strings.CutPrefix(h.Name, imagesPrefix)
	if !ok || !strings.HasPrefix(p, layout.Repositories+"/") || h.Typeflag != tar.TypeReg {
		return fmt.Errorf("%q is no part of a snapshot", h.Name)
	}
	data, err := io.ReadAll(content)
	if err == nil {
		images.put(p, file{content: data, size: int64(len(data))})
	}
	return err
}

// blobsOf adds the blobs of a snapshot, which are decrypted as they are read.
func (r *Repository) blobsOf(s Snapshot, images *tree, identities []age.Identity) {
	for _, b := range s.Blobs {
		images.put(layout.Path(b.Digest), file{size: b.Size})
	}
	images.open = func(ctx context.Context, p string, size int64) (io.ReadCloser, error) {
		dgst, ok := layout.BlobAt(p)
		if !ok {
			return nil, driver.PathNotFoundError{Path: p}
		}
		sealed, err := r.At.Reader(ctx, Blob{dgst, size}.path(), 0)
		if layout.Missing(err) { // other than one that was deleted from a registry
			return nil, errors.New("it is not at the place of the backup")
		}
		if err != nil {
			return nil, err
		}
		plain, err := age.Decrypt(sealed, identities...)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("cannot decrypt a blob: %w", err), sealed.Close())
		}
		return struct {
			io.Reader
			io.Closer
		}{plain, sealed}, nil
	}
}

// Missing names what of a snapshot is not at the place, or not whole, as far as can be
// told without a key.
func (r *Repository) Missing(ctx context.Context, s Snapshot) ([]string, error) {
	var out []string
	if _, err := r.archive(ctx, s); err != nil {
		out = append(out, err.Error())
	}
	stored, err := r.stored(ctx)
	if err != nil {
		return nil, err
	}
	for _, b := range s.Blobs {
		info, ok := stored[b]
		switch {
		case !ok:
			out = append(out, fmt.Sprintf("%s is not at the place of the backup", b.Digest))
		case !whole(b, info.Size()):
			out = append(out, fmt.Sprintf("%s is damaged: %d bytes at the place of the backup cannot be its %d", b.Digest, info.Size(), b.Size))
		}
	}
	return out, nil
}
