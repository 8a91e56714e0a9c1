package blobcache

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/distribution/distribution/v3"
	"github.com/distribution/distribution/v3/registry/storage/cache"
	"github.com/distribution/distribution/v3/registry/storage/cache/memory"
	"github.com/distribution/distribution/v3/registry/storage/driver"
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// kind is what a service of upstream's answers for. A repository has its blobs and
// its manifests by different links, but upstream keeps both under the digest alone
// in one cache, so that a blob that is cached passes for a manifest.
type kind int

const (
	unknown kind = iota
	blobs
	manifests
)

type kindKey struct{}

// Kinds is a cache for upstream that keeps blobs and manifests apart.
type Kinds struct {
	cache.BlobDescriptorCacheProvider // of blobs, and of what is in no repository
	manifests                         cache.BlobDescriptorCacheProvider
	redis                             *Cache // that both are of, nil: none
}

// Memory makes a cache in this process of at most size blobs and size manifests.
func Memory(size int) *Kinds {
	return newKinds(memory.NewInMemoryBlobDescriptorCacheProvider(size), memory.NewInMemoryBlobDescriptorCacheProvider(size))
}

// Kinds makes one of c.
func (c *Cache) Kinds() *Kinds {
	k := newKinds(c, ofManifests{c})
	k.redis = c
	return k
}

// ofManifests are the manifests in a Redis. No repository has such a name.
type ofManifests struct{ *Cache }

func (m ofManifests) RepositoryScoped(repo string) (distribution.BlobDescriptorService, error) {
	return m.Cache.RepositoryScoped(repo + ":manifests")
}

func newKinds(blobs, manifests cache.BlobDescriptorCacheProvider) *Kinds {
	return &Kinds{BlobDescriptorCacheProvider: plausible{blobs}, manifests: plausible{manifests}}
}

// RepositoryScoped implements cache.BlobDescriptorCacheProvider.
func (k *Kinds) RepositoryScoped(repo string) (distribution.BlobDescriptorService, error) {
	b, err := k.BlobDescriptorCacheProvider.RepositoryScoped(repo)
	if err != nil {
		return nil, err
	}
	m, err := k.manifests.RepositoryScoped(repo)
	return kinds{blobs: b, manifests: m}, err
}

// Forget forgets a blob, in a repository and outside.
func (k *Kinds) Forget(ctx context.Context, repo string, dgst digest.Digest) error {
	b, err := k.BlobDescriptorCacheProvider.RepositoryScoped(repo)
	if err != nil {
		return err
	}
	return errors.Join(b.Clear(ctx, dgst), k.BlobDescriptorCacheProvider.Clear(ctx, dgst))
}

// HasManifest tells whether the cache knows that a repository has a manifest.
func (k *Kinds) HasManifest(ctx context.Context, repo string, dgst digest.Digest) bool {
	m, err := k.manifests.RepositoryScoped(repo)
	if err != nil {
		return false
	}
	desc, err := m.Stat(ctx, dgst)
	return err == nil && desc.Digest == dgst
}

// kinds are both caches of a repository.
type kinds map[kind]distribution.BlobDescriptorService

// of is the cache for what ctx asks for, nil where that is not known.
func (k kinds) of(ctx context.Context) distribution.BlobDescriptorService {
	is, _ := ctx.Value(kindKey{}).(kind)
	return k[is]
}

func (k kinds) Stat(ctx context.Context, dgst digest.Digest) (v1.Descriptor, error) {
	if c := k.of(ctx); c != nil {
		return c.Stat(ctx, dgst)
	}
	return v1.Descriptor{}, errMiss
}

func (k kinds) SetDescriptor(ctx context.Context, dgst digest.Digest, desc v1.Descriptor) error {
	if c := k.of(ctx); c != nil {
		return c.SetDescriptor(ctx, dgst, desc)
	}
	return nil
}

func (k kinds) Clear(ctx context.Context, dgst digest.Digest) error {
	if c := k.of(ctx); c != nil {
		return c.Clear(ctx, dgst)
	}
	return nil
}

// plausible keeps what cannot be true out of a cache: a blob without a byte that
// is not the empty one. It is what upstream makes of a file that it does not find.
type plausible struct {
	cache.BlobDescriptorCacheProvider
}

func (p plausible) RepositoryScoped(repo string) (distribution.BlobDescriptorService, error) {
	s, err := p.BlobDescriptorCacheProvider.RepositoryScoped(repo)
	return plausibles{s}, err
}

func (p plausible) SetDescriptor(ctx context.Context, dgst digest.Digest, desc v1.Descriptor) error {
	return plausibles{p.BlobDescriptorCacheProvider}.SetDescriptor(ctx, dgst, desc)
}

type plausibles struct {
	distribution.BlobDescriptorService
}

func (p plausibles) SetDescriptor(ctx context.Context, dgst digest.Digest, desc v1.Descriptor) error {
	if empty(dgst, desc) {
		return nil
	}
	return p.BlobDescriptorService.SetDescriptor(ctx, dgst, desc)
}

// empty tells whether a descriptor without a byte is of a digest with some.
func empty(dgst digest.Digest, desc v1.Descriptor) bool {
	return desc.Size == 0 && (dgst.Validate() != nil || dgst != dgst.Algorithm().FromBytes(nil))
}

// access is a service of upstream's whose kind is known.
type access struct {
	distribution.BlobDescriptorService
	kind kind
}

// newAccess finds out the kind by the link that the service would delete.
func newAccess(s distribution.BlobDescriptorService) access {
	var path string
	_ = s.Clear(context.WithValue(context.Background(), probeKey{}, &path), probe) // nothing has this digest
	a := access{BlobDescriptorService: s}
	switch {
	case strings.Contains(path, "/_layers/"):
		a.kind = blobs
	case strings.Contains(path, "/_manifests/"):
		a.kind = manifests
	}
	return a
}

// Stat answers for blobs too where a manifest may refer to them (see AlsoBlobs).
func (a access) Stat(ctx context.Context, dgst digest.Digest) (v1.Descriptor, error) {
	desc, err := a.BlobDescriptorService.Stat(context.WithValue(ctx, kindKey{}, a.kind), dgst)
	also, ok := ctx.Value(alsoKey{}).(distribution.BlobStatter)
	if a.kind == manifests && ok && errors.Is(err, distribution.ErrBlobUnknown) {
		return also.Stat(ctx, dgst)
	}
	return desc, err
}

func (a access) SetDescriptor(ctx context.Context, dgst digest.Digest, desc v1.Descriptor) error {
	return a.BlobDescriptorService.SetDescriptor(context.WithValue(ctx, kindKey{}, a.kind), dgst, desc)
}

func (a access) Clear(ctx context.Context, dgst digest.Digest) error {
	return a.BlobDescriptorService.Clear(context.WithValue(ctx, kindKey{}, a.kind), dgst)
}

type alsoKey struct{}

// AlsoBlobs makes what an index refers to exist where it is a blob of the
// repository: exports of build caches are indexes of layers.
func AlsoBlobs(ctx context.Context, blobs distribution.BlobStatter) context.Context {
	return context.WithValue(ctx, alsoKey{}, blobs)
}

type probeKey struct{}

// probe is a digest of nothing that there is.
var probe = digest.FromString("which link do you read?")

// links is a driver that answers the question of newAccess, and passes on all else.
type links struct{ driver.StorageDriver }

func watchLinks(_ context.Context, d driver.StorageDriver, _ map[string]any) (driver.StorageDriver, error) {
	return links{d}, nil
}

func (l links) Delete(ctx context.Context, path string) error {
	if asked, ok := ctx.Value(probeKey{}).(*string); ok {
		*asked = path
		return fmt.Errorf("nothing is deleted: %w", driver.PathNotFoundError{Path: path})
	}
	return l.StorageDriver.Delete(ctx, path)
}
