package manifest

import (
	"context"
	"fmt"
	"strings"

	"github.com/distribution/distribution/v3"
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/redoubt-registry/redoubt/appliance/storage/layout"
)

// secure sees to it that what a manifest refers to stays until the manifest is there,
// and gives what is. Upstream finds out what is not by its caches, which forget it.
func (r repository) secure(ctx context.Context, m distribution.Manifest) (map[digest.Digest]bool, error) {
	name := r.Named().Name()
	there := map[digest.Digest]bool{}
	for _, desc := range m.References() {
		dgst := desc.Digest
		if dgst.Validate() != nil || there[dgst] {
			continue // upstream says so
		}
		is, err := r.guard.Ensure(ctx, dgst)
		if err != nil {
			return nil, err
		}
		if is {
			there[dgst] = true
			continue
		}
		if r.forget != nil {
			if err := r.forget(ctx, name, dgst); err != nil {
				return nil, fmt.Errorf("cannot forget a descriptor: %w", err)
			}
		}
	}
	return there, r.images(ctx, m)
}

// still looks again when the manifest is there. From now on a collection knows what it
// refers to; one that is on its way may have taken some.
func (r repository) still(ctx context.Context, dgst digest.Digest, m distribution.Manifest, there map[digest.Digest]bool) error {
	name := r.Named().Name()
	if _, err := r.guard.Back(ctx, name, dgst); err != nil {
		return err
	}
	var gone distribution.ErrManifestVerification
	for _, desc := range append(m.References(), v1.Descriptor{Digest: dgst}) {
		if desc.Digest.Validate() != nil {
			continue
		}
		if isManifest(desc) {
			if _, err := r.guard.Back(ctx, name, desc.Digest); err != nil {
				return err
			}
		}
		is, err := r.guard.Ensure(ctx, desc.Digest)
		if err != nil {
			return err
		}
		if !is && there[desc.Digest] {
			gone = append(gone, distribution.ErrManifestBlobUnknown{Digest: desc.Digest})
		}
	}
	if len(gone) > 0 {
		return gone
	}
	return r.images(ctx, m)
}

func isManifest(desc v1.Descriptor) bool {
	return strings.Contains(desc.MediaType, "manifest") || strings.Contains(desc.MediaType, "index")
}

// images sees to it that the images which an index lists stay with all that they are made
// of: nothing may have held them until now. What is not in the repository an index may
// list all the same, but an image that is there must be whole.
func (r repository) images(ctx context.Context, m distribution.Manifest) error {
	var gone distribution.ErrManifestVerification
	seen := map[digest.Digest]bool{}
	for next := m.References(); len(next) > 0; {
		desc := next[0]
		next = next[1:]
		if !isManifest(desc) || desc.Digest.Validate() != nil || seen[desc.Digest] {
			continue
		}
		seen[desc.Digest] = true
		linked, err := r.guard.Back(ctx, r.Named().Name(), desc.Digest)
		if err != nil {
			return err
		}
		if !linked {
			continue
		}
		blobs, manifests, err := r.parts(ctx, desc.Digest)
		if err != nil {
			return err
		}
		next = append(next, manifests...)
		for _, blob := range blobs {
			is, err := r.guard.Ensure(ctx, blob.Digest)
			if err != nil {
				return err
			}
			if !is {
				gone = append(gone, distribution.ErrManifestBlobUnknown{Digest: blob.Digest})
			}
		}
	}
	if len(gone) > 0 {
		return gone
	}
	return nil
}

// parts are what a manifest of the repository refers to: blobs that must be there, and
// manifests.
func (r repository) parts(ctx context.Context, dgst digest.Digest) (blobs, manifests []v1.Descriptor, err error) {
	data, err := r.links.Content(ctx, dgst)
	if err != nil {
		return nil, nil, err
	}
	if data == nil {
		return nil, nil, nil
	}
	refs := layout.ReferencesOf(data)
	for _, desc := range refs.Blobs {
		if len(desc.URLs) == 0 {
			blobs = append(blobs, desc)
		}
	}
	return blobs, refs.Manifests, nil
}

// Get implements distribution.ManifestService. A cache may not know that a manifest was
// collected.
func (s service) Get(ctx context.Context, dgst digest.Digest, options ...distribution.ManifestServiceOption) (distribution.Manifest, error) {
	name := s.repository.Named().Name()
	is, err := s.repository.guard.Linked(ctx, name, dgst)
	if err != nil {
		return nil, err
	}
	if !is {
		return nil, distribution.ErrManifestUnknownRevision{Name: name, Revision: dgst}
	}
	return s.ManifestService.Get(ctx, dgst, options...)
}
