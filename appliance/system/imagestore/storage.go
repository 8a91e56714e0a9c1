package imagestore

import (
	"context"
	"errors"
	"fmt"
	"maps"

	"github.com/distribution/distribution/v3/configuration"
)

// open opens a storage in the words of registry.yml. k are keys from a file; with
// nil they are where the registry has them.
func open(ctx context.Context, storage configuration.Storage, k *keys) (*Place, error) {
	params := maps.Clone(map[string]any(storage.Parameters()))
	switch kind := storage.Type(); kind {
	case "filesystem":
		root, ok := params["rootdirectory"].(string)
		if !ok {
			return nil, errors.New("the storage has no root directory")
		}
		return directory(root)
	case "s3", "s3aws":
		return openBucket(ctx, params, k)
	default:
		return nil, fmt.Errorf("cannot read storage of kind %s", kind)
	}
}
