// Package mount makes an image of one repository an image of another one. No bytes are
// moved: both repositories have links to the same blobs.
package mount

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"

	"github.com/distribution/distribution/v3/registry/storage/driver"
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/redoubt-registry/redoubt/appliance/storage/layout"
)

// Source is the repository that has an image.
type Source struct {
	Storage    driver.StorageDriver // as trash.Driver makes it
	Repository string
	// Referrers are the manifests of the repository that refer to one. Nil: what refers to
	// an image is not looked for.
	Referrers func(ctx context.Context, subject digest.Digest) ([]digest.Digest, error)
}

// Manifest is one of those that an image consists of.
type Manifest struct {
	Digest digest.Digest
	Type   string // its media type
	Data   []byte
	Blobs  []v1.Descriptor // of the repository: what it is made of, but for manifests
	Tag    string          // that tools find a signature by; empty: none
}

// Missing is the error for a manifest or a blob that the source does not have.
type Missing struct {
	Repository string
	Digest     digest.Digest
	Blob       bool
}

func (m *Missing) Error() string {
	if m.Blob {
		return fmt.Sprintf("%s does not have all of the image: blob %s is missing", m.Repository, m.Digest)
	}
	return fmt.Sprintf("%s has no image %s", m.Repository, m.Digest)
}

// ErrLarge is the error for an image of more manifests than can be looked at.
var ErrLarge = errors.New("the image has too many manifests: copy its parts one by one")

const (
	// most is how many manifests an image may consist of, and mostBytes their size.
	most, mostBytes = 2000, 64 << 20
	// largest is the size in bytes of the largest manifest.
	largest = 4 << 20
)

// Find gives the manifests that an image consists of: what a manifest needs comes before
// it, and the image itself last. What an index lists and the repository does not have is
// left out. Signatures that tools keep under a tag (sha256-HEX.sig) count as referrers.
func (s Source) Find(ctx context.Context, image digest.Digest) ([]Manifest, error) {
	f := &finding{Source: s, seen: map[digest.Digest]bool{}}
	there, err := f.add(ctx, image)
	if err != nil {
		return nil, err
	}
	if !there {
		return nil, &Missing{Repository: s.Repository, Digest: image}
	}
	if s.Referrers != nil {
		if err := errors.Join(f.referrers(ctx), f.signatures(ctx)); err != nil {
			return nil, err
		}
	}
	for i, m := range f.list {
		if m.Digest == image && m.Tag == "" {
			return append(append(f.list[:i:i], f.list[i+1:]...), m), nil
		}
	}
	return f.list, nil
}

type finding struct {
	Source
	list  []Manifest
	seen  map[digest.Digest]bool
	bytes int
}

// add adds a manifest behind what it needs. It tells whether the repository has it.
func (f *finding) add(ctx context.Context, dgst digest.Digest) (bool, error) {
	if f.seen[dgst] {
		return true, nil
	}
	data, err := f.read(ctx, dgst)
	if err != nil || data == nil {
		return false, err
	}
	f.seen[dgst] = true
	if f.bytes += len(data); len(f.seen) > most || f.bytes > mostBytes {
		return false, ErrLarge
	}
	desc, _ := layout.Describe(dgst, data)
	m := Manifest{Digest: dgst, Type: desc.MediaType, Data: data}
	refs := layout.ReferencesOf(data)
	m.Blobs = refs.Blobs
	for _, child := range refs.Manifests {
		there, err := f.add(ctx, child.Digest)
		if err != nil {
			return false, err
		}
		if there {
			continue
		}
		// A build's cache lists layers.
		_, gone, err := layout.Read(ctx, f.Storage, layout.LinkPath(f.Repository, layout.Layers, child.Digest))
		if err != nil {
			return false, err
		}
		if !gone {
			m.Blobs = append(m.Blobs, child)
		}
	}
	f.list = append(f.list, m)
	return true, nil
}

// read reads a manifest of the repository, nil if it has none.
func (f *finding) read(ctx context.Context, dgst digest.Digest) ([]byte, error) {
	target, gone, err := layout.Read(ctx, f.Storage, layout.LinkPath(f.Repository, layout.Revisions, dgst))
	if gone || err != nil {
		return nil, err
	}
	r, err := f.Storage.Reader(ctx, layout.Path(target), 0)
	if layout.Missing(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read a manifest: %w", err)
	}
	defer r.Close()
	data, err := io.ReadAll(io.LimitReader(r, largest+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("cannot read a manifest: %w", err)
	case len(data) > largest || dgst.Algorithm().FromBytes(data) != dgst:
		return nil, &layout.Damage{Path: layout.Path(target), What: "it is not the manifest of its digest"}
	}
	return data, nil
}

// referrers adds what refers to the manifests that were found, and what refers to that.
func (f *finding) referrers(ctx context.Context) error {
	for i := 0; i < len(f.list); i++ {
		list, err := f.Referrers(ctx, f.list[i].Digest)
		if err != nil {
			return err
		}
		for _, dgst := range list {
			if _, err := f.add(ctx, dgst); err != nil {
				return err
			}
		}
	}
	return nil
}

// signatures adds the manifests of tags that are named after one that was found.
func (f *finding) signatures(ctx context.Context) error {
	dir := layout.Repositories + "/" + f.Repository + "/" + layout.Tags
	tags, err := f.Storage.List(ctx, dir)
	if layout.Missing(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("cannot list tags: %w", err)
	}
	of := map[string]bool{}
	for _, m := range f.list {
		of[layout.FallbackTag(m.Digest)] = true
	}
	for _, p := range tags {
		tag := path.Base(p)
		if before, _, ok := strings.Cut(tag, "."); !ok || !of[before] {
			continue
		}
		dgst, gone, err := layout.Read(ctx, f.Storage, layout.TagPath(f.Repository, tag))
		if err != nil {
			return err
		}
		if gone {
			continue
		}
		before := len(f.list)
		there, err := f.add(ctx, dgst)
		if err != nil {
			return err
		}
		switch {
		case !there:
		case len(f.list) > before:
			f.list[len(f.list)-1].Tag = tag
		default:
			f.retag(dgst, tag)
		}
	}
	return nil
}

// retag adds a manifest again that has another tag already, or none.
func (f *finding) retag(dgst digest.Digest, tag string) {
	for _, m := range f.list {
		if m.Digest == dgst {
			m.Tag = tag
			f.list = append(f.list, m)
			return
		}
	}
}
