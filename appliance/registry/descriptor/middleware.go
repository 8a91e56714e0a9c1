package descriptor

import (
	"context"
	"errors"
	"fmt"

	"github.com/distribution/distribution/v3"
	middleware "github.com/distribution/distribution/v3/registry/middleware/registry"
	"github.com/distribution/distribution/v3/registry/storage"
	"github.com/distribution/distribution/v3/registry/storage/driver"
)

// Name is what the middleware is called in distribution's middleware section;
// CacheOption is its option, a *Cache, which is never in a file.
const (
	Name        = "redoubt-cache"
	CacheOption = "cache"
)

// Register makes the middleware known to distribution. It may be called more
// than once.
func Register() {
	_ = middleware.Register(Name, install) // fails only when it is there already
}

// install gives a registry a cache. Upstream takes one only from its own redis
// section, with a client of its own for each application.
func install(_ context.Context, ns distribution.Namespace, _ driver.StorageDriver, options map[string]any) (distribution.Namespace, error) {
	c, ok := options[CacheOption].(*Cache)
	if !ok {
		return nil, errors.New("cannot use the descriptor cache: it was given none")
	}
	return ns, apply(ns, storage.BlobDescriptorCacheProvider(c))
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
