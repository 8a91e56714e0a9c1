package driver

import (
	"context"
	"time"

	storagedriver "github.com/distribution/distribution/v3/registry/storage/driver"
	"github.com/distribution/distribution/v3/registry/storage/driver/factory"

	"github.com/redoubt-registry/redoubt/appliance/storage/bucket"
)

// RegisterAs makes the driver known under another name, beside upstream's.
func RegisterAs(name string, buffers *bucket.Buffers) {
	factory.Register(name, &driverFactory{buffers: buffers})
}

// Sweep ends the uploads that began before a time.
func Sweep(ctx context.Context, d storagedriver.StorageDriver, before time.Time) {
	d.(copying).driver.sweep(ctx, before)
}
