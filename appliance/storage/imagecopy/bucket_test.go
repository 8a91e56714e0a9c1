//go:build integration

package imagecopy_test

import (
	"testing"

	"github.com/distribution/distribution/v3/configuration"
	storagedriver "github.com/distribution/distribution/v3/registry/storage/driver"

	"github.com/redoubt-registry/redoubt/appliance/storage/bucket"
	"github.com/redoubt-registry/redoubt/appliance/storage/driver"
	"github.com/redoubt-registry/redoubt/appliance/storage/imagecopy"
	"github.com/redoubt-registry/redoubt/test/seed"
	"github.com/redoubt-registry/redoubt/test/stores"
)

// parameters are those of a new bucket of a store.
func parameters(t *testing.T, store *stores.Store) configuration.Parameters {
	return configuration.Parameters{"bucket": store.NewBucket(t), "region": store.Region, "regionendpoint": store.Endpoint,
		"accesskey": store.AccessKey, "secretkey": store.SecretKey, "rootdirectory": "images"}
}

func openBucket(t *testing.T, params configuration.Parameters) storagedriver.StorageDriver {
	t.Helper()
	b, err := bucket.OpenDefault(params)
	check(t, err)
	return driver.New(b, bucket.NewBuffers(64<<20, t.TempDir()))
}

// From a directory to MinIO, to versitygw, and back to a directory: the same
// bytes. Each of them serves.
func TestBuckets(t *testing.T) {
	from, to := filled(t), t.TempDir()
	one, two := parameters(t, stores.MinIO(t)), parameters(t, stores.Versity(t))
	source := open(from)
	for _, params := range []configuration.Parameters{one, two} {
		target := openBucket(t, params)
		for try, want := range []bool{true, false} {
			s, faults, err := run(t, &imagecopy.Copy{From: source, To: imagecopy.Objects{StorageDriver: target}, Verify: try > 0})
			check(t, err)
			if len(faults) > 0 || (s.Blobs > 0) != want || (s.Links > 0) != want || s.Differences > 0 {
				t.Fatalf("run %d: %q %+v", try, faults, s)
			}
		}
		source = target
	}
	s, faults, err := run(t, &imagecopy.Copy{From: source, To: directory(t, to), Verify: true})
	if err != nil || len(faults) > 0 {
		t.Fatalf("%v %q %+v", err, faults, s)
	}
	same(t, from, to)
	driver.Register()
	for _, params := range []configuration.Parameters{one, two} {
		registry := seed.Serve(t, configuration.Storage{"s3": params})
		for _, tag := range seed.Tags {
			check(t, registry.Pull(t, tag))
		}
	}
}
