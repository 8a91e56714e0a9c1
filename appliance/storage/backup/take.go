package backup

import (
	"archive/tar"
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"filippo.io/age"
	"github.com/distribution/distribution/v3/registry/storage/driver"
	"github.com/opencontainers/go-digest"

	"github.com/redoubt-registry/redoubt/appliance/storage/imagecopy"
	"github.com/redoubt-registry/redoubt/appliance/storage/layout"
	"github.com/redoubt-registry/redoubt/appliance/storage/progress"
)

// Source is what a snapshot is taken of.
type Source struct {
	Hostname, Machine string
	Now               time.Time
	// State writes what the machine keeps.
	State func(*tar.Writer) error
	// Images is the registry's storage, which may be in use; nil: without them.
	Images   driver.StorageDriver
	Parallel int
	Meter    *progress.Meter
	Fault    func(string) // is called for each thing that could not be read
}

// Taken is what a run has put at the place.
type Taken struct {
	Snapshot
	NewBlobs, NewBytes int64
}

// Take takes a snapshot. What a run that was ended has put at the place counts for the
// next one.
func (r *Repository) Take(ctx context.Context, s Source) (Taken, error) {
	if len(r.Recipients) == 0 {
		return Taken{}, errors.New("there is nobody to encrypt it for")
	}
	name, err := r.newName(ctx, s.Now)
	if err != nil {
		return Taken{}, err
	}
	out := Taken{Snapshot: Snapshot{Version: formatVersion, Name: name, Taken: s.Now.UTC(), Hostname: s.Hostname, Machine: s.Machine, Images: s.Images != nil}}
	images := &writer{tree: newTree(), to: r}
	if s.Images != nil {
		if err := r.takeImages(ctx, s, images, &out); err != nil {
			return out, err
		}
	}
	var archive bytes.Buffer
	if err := r.pack(&archive, s, images.tree); err != nil {
		return out, err
	}
	sum := sha256.Sum256(archive.Bytes())
	out.SHA256, out.Size = hex.EncodeToString(sum[:]), int64(archive.Len())
	index, err := json.Marshal(out.Snapshot)
	if err != nil {
		return out, fmt.Errorf("cannot write the snapshot: %w", err)
	}
	if err := r.beat(ctx); err != nil {
		return out, err
	}
	for _, f := range []struct {
		path string
		data []byte
	}{{archivePath(name), archive.Bytes()}, {indexPath(name), index}} {
		// The index says that all the others are there.
		if err := r.At.Sync(); err != nil {
			return out, fmt.Errorf("cannot write the snapshot: %w", err)
		}
		if err := r.At.Place(ctx, f.path, int64(len(f.data)), bytes.NewReader(f.data)); err != nil {
			return out, fmt.Errorf("cannot write the snapshot: %w", err)
		}
	}
	return out, r.At.Sync()
}

// newName is the name of a snapshot that there is not yet.
func (r *Repository) newName(ctx context.Context, now time.Time) (string, error) {
	base := now.UTC().Format("20060102T150405Z")
	name := base
	for n := 2; ; n++ {
		_, err := r.At.Stat(ctx, indexPath(name))
		if layout.Missing(err) {
			return name, nil
		}
		if err != nil {
			return "", fmt.Errorf("cannot look at the place of the backup: %w", err)
		}
		name = fmt.Sprintf("%s-%d", base, n)
	}
}

// takeImages puts the blobs that are missing at the place, and the links into images.
func (r *Repository) takeImages(ctx context.Context, s Source, images *writer, out *Taken) error {
	have, err := r.stored(ctx)
	if err != nil {
		return err
	}
	for b, info := range have {
		if whole(b, info.Size()) {
			images.put(layout.Path(b.Digest), file{size: b.Size})
		}
	}
	c := &imagecopy.Copy{From: s.Images, To: images, Parallel: s.Parallel, Meter: s.Meter, Fault: func(f imagecopy.Fault) {
		out.Faults = append(out.Faults, f.String())
		s.Fault(f.String())
	}}
	sum, err := c.Run(ctx)
	if errors.Is(err, imagecopy.ErrNothing) { // nobody has pushed yet
		return nil
	}
	out.NewBlobs, out.NewBytes = sum.Blobs, sum.Bytes
	if err != nil {
		return fmt.Errorf("cannot back up the images: %w", err)
	}
	out.Blobs, err = images.needed()
	return err
}

// pack writes the encrypted archive.
func (r *Repository) pack(to io.Writer, s Source, images *tree) error {
	sealed, err := age.Encrypt(to, r.Recipients...)
	if err != nil {
		return fmt.Errorf("cannot encrypt the snapshot: %w", err)
	}
	compressed := gzip.NewWriter(sealed)
	archive := tar.NewWriter(compressed)
	if err := s.State(archive); err != nil {
		return err
	}
	if err := images.archive(archive, s.Now); err != nil {
		return fmt.Errorf("cannot pack the snapshot: %w", err)
	}
	for _, c := range []io.Closer{archive, compressed, sealed} {
		if err := c.Close(); err != nil {
			return fmt.Errorf("cannot pack the snapshot: %w", err)
		}
	}
	return nil
}

// Where the two parts of an archive are.
const (
	StatePrefix  = "state/"
	imagesPrefix = "images"
)

// archive writes the files whose content is here.
func (t *tree) archive(to *tar.Writer, now time.Time) error {
	paths := make([]string, 0, len(t.files))
	for p, f := range t.files {
		if f.content != nil {
			paths = append(paths, p)
		}
	}
	slices.Sort(paths)
	for _, p := range paths {
		data := t.files[p].content
		h := &tar.Header{Typeflag: tar.TypeReg, Name: imagesPrefix + p, Mode: 0o600, Size: int64(len(data)), ModTime: now}
		if err := to.WriteHeader(h); err != nil {
			return err
		}
		if _, err := to.Write(data); err != nil {
			return err
		}
	}
	return nil
}

// writer is a snapshot as the target of a copy of images.
type writer struct {
	*tree
	to *Repository
}

// Place implements imagecopy.Target: a blob goes to the place, encrypted; a link stays
// here until the archive is written.
func (w *writer) Place(ctx context.Context, p string, size int64, r io.Reader) error {
	dgst, ok := layout.BlobAt(p)
	if !ok {
		data, err := io.ReadAll(r)
		if err == nil {
			w.put(p, file{content: data, size: int64(len(data))})
		}
		return err
	}
	sealed, err := age.EncryptReader(&beating{ctx: ctx, r: r, beat: w.to.beat}, w.to.Recipients...)
	if err != nil {
		return fmt.Errorf("cannot encrypt it: %w", err)
	}
	b := Blob{dgst, size}
	if err := w.to.At.Place(ctx, b.path(), sealedAtMost(size), sealed); err != nil {
		return err
	}
	w.put(p, file{size: size})
	return nil
}

// Remove implements imagecopy.Target: nothing is there that could be in the way.
func (w *writer) Remove(context.Context, string) error { return nil }

// Sync implements imagecopy.Target.
func (w *writer) Sync() error { return w.to.At.Sync() }

// needed are the blobs that the links name and the place has.
func (w *writer) needed() ([]Blob, error) {
	seen := map[digest.Digest]bool{}
	var out []Blob
	for _, f := range w.files {
		dgst := digest.Digest(f.content)
		if f.content == nil || seen[dgst] {
			continue
		}
		seen[dgst] = true
		if err := dgst.Validate(); err != nil {
			return nil, fmt.Errorf("cannot back up the images: a link: %w", err)
		}
		if blob, ok := w.files[layout.Path(dgst)]; ok {
			out = append(out, Blob{dgst, blob.size})
		}
	}
	slices.SortFunc(out, func(a, b Blob) int {
		return cmp.Or(strings.Compare(string(a.Digest), string(b.Digest)), cmp.Compare(a.Size, b.Size))
	})
	return out, nil
}

// beating calls beat with each read.
type beating struct {
	ctx  context.Context
	r    io.Reader
	beat func(context.Context) error
}

func (b *beating) Read(p []byte) (int, error) {
	if err := b.beat(b.ctx); err != nil {
		return 0, err
	}
	return b.r.Read(p)
}

// What age adds: a header with some lines for each recipient, and for each chunk and its
// last one a tag (https://age-encryption.org/v1, "Payload").
const (
	chunk     = 64 << 10
	tag       = 16
	mostOfAge = 64 << 10 // of the header
)

// sealedAtLeast and sealedAtMost bound the size of what age makes of size bytes.
func sealedAtLeast(size int64) int64 { return size + tag*max(1, (size+chunk-1)/chunk) }
func sealedAtMost(size int64) int64  { return sealedAtLeast(size) + mostOfAge }

// whole says whether sealed bytes can be those of a blob.
func whole(b Blob, sealed int64) bool {
	return sealed >= sealedAtLeast(b.Size) && sealed <= sealedAtMost(b.Size)
}
