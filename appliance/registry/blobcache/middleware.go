package blobcache

import (
	"context"
	"fmt"

	"github.com/distribution/distribution/v3"
	middleware "github.com/distribution/distribution/v3/registry/middleware/registry"
	"github.com/distribution/distribution/v3/registry/storage"
	"github.com/distribution/distribution/v3/registry/storage/driver"
	storagemiddleware "github.com/distribution/distribution/v3/registry/storage/driver/middleware"
	"github.com/opencontainers/go-digest"
)

// Name is what both middlewares are called in distribution's middleware sections,
// for the storage and for the registry. CacheOption is the latter's option, a
// *Kinds, which is never in a file; without one nothing is cached.
const (
	Name        = "redoubt-cache"
	CacheOption = "cache"
)

// Register makes the middlewares known to distribution. It may be called more
// than once.
func Register() {
	_ = storagemiddleware.Register(Name, watchLinks)
	_ = middleware.Register(Name, install) // fails only when it is there already
}

// install gives a registry a cache, and tells its blobs and manifests apart. Upstream takes one only from its own redis
// section, with a client of its own for each application.
func install(_ context.Context, ns distribution.Namespace, d driver.StorageDriver, options map[string]any) (distribution.Namespace, error) {
	if err := apply(ns, storage.BlobDescriptorServiceFactory(deletions{})); err != nil {
		return nil, err
	}
	k, _ := options[CacheOption].(*Kinds)
	if k == nil {
		return ns, nil
	}
	if k.redis != nil && k.redis.epoch != nil {
		k.redis.epoch.use(d)
	}
	return ns, apply(ns, storage.BlobDescriptorCacheProvider(k))
}

// apply runs an option of storage.NewRegistry on a registry that is made. The
// option's parameter is a type that cannot be named here, and is inferred.
func apply[R any](ns distribution.Namespace, option func(R) error) error {
	r, ok := ns.(R)
	if !ok {
		return fmt.Errorf("cannot use the descriptor cache: the registry is a %T", ns)
	}
	return option(r)
}

// deletions clear the cache a second time when the storage has deleted. Upstream
// clears it before, and a reader in between caches what is going.
type deletions struct{}

// BlobAccessController implements distribution.BlobDescriptorServiceFactory.
func (deletions) BlobAccessController(s distribution.BlobDescriptorService) distribution.BlobDescriptorService {
	return twice{newAccess(s)}
}

type twice struct {
	distribution.BlobDescriptorService
}

// deletion is one on its way. The cache says in it how to clear again.
type deletion struct {
	again []func(context.Context) error
}

type deletionKey struct{}

func (t twice) Clear(ctx context.Context, dgst digest.Digest) error {
	var d deletion
	if err := t.BlobDescriptorService.Clear(context.WithValue(ctx, deletionKey{}, &d), dgst); err != nil {
		return err
	}
	for _, bury := range d.again {
		if err := bury(ctx); err != nil {
			return err
		}
	}
	return nil
}
