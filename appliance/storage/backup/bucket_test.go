//go:build integration

package backup_test

import (
	"testing"

	"github.com/distribution/distribution/v3/configuration"
	storagedriver "github.com/distribution/distribution/v3/registry/storage/driver"

	"github.com/redoubt-registry/redoubt/appliance/storage/bucket"
	"github.com/redoubt-registry/redoubt/appliance/storage/driver"
	"github.com/redoubt-registry/redoubt/test/stores"
)

// bucketOf is a new bucket of a store.
func bucketOf(t *testing.T, store *stores.Store) storagedriver.StorageDriver {
	t.Helper()
	b, err := bucket.OpenDefault(configuration.Parameters{"bucket": store.NewBucket(t), "region": store.Region, "regionendpoint": store.Endpoint,
		"accesskey": store.AccessKey, "secretkey": store.SecretKey, "rootdirectory": "backup"})
	check(t, err)
	return driver.New(b, bucket.NewBuffers(64<<20, t.TempDir()))
}
