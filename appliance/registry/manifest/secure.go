package manifest

import (
	"context"
	"fmt"
	"strings"

	"github.com/distribution/distribution/v3"
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
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
	return there, nil
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
		if strings.Contains(desc.MediaType, "manifest") || strings.Contains(desc.MediaType, "index") {
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
	return nil
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
