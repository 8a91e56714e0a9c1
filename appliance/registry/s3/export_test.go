package s3

import (
	"github.com/distribution/distribution/v3/registry/storage/driver/factory"

	"github.com/redoubt-registry/redoubt/appliance/bucket"
)

// RegisterAs makes the driver known under another name, beside upstream's.
func RegisterAs(name string, buffers *bucket.Buffers) {
	factory.Register(name, &driverFactory{buffers: buffers})
}
