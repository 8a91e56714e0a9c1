// Package driver is distribution's storage driver for S3-compatible stores, on our own
// client and on the layout of distribution's own driver: a bucket of the one works with
// the other, and either continues an upload that the other started.
package driver

import (
	"context"
	"errors"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	storagedriver "github.com/distribution/distribution/v3/registry/storage/driver"
	"github.com/distribution/distribution/v3/registry/storage/driver/base"
	"github.com/distribution/distribution/v3/registry/storage/driver/factory"

	"github.com/redoubt-registry/redoubt/appliance/paths"
	"github.com/redoubt-registry/redoubt/appliance/storage/bucket"
	"github.com/redoubt-registry/redoubt/appliance/storage/fault"
)

const (
	name = "s3aws" // upstream's, also in its metrics
	// BucketOption is the parameter with a *bucket.Bucket that is open already.
	BucketOption = "redoubtbucket"
	// memory is for the parts of all uploads together.
	memory = 128 << 20
	// spool is where parts go beyond that, see bucket.Buffers.
	spool = paths.StorageRoot
	// redirectLife is how long an address for a client is good, as upstream's.
	redirectLife = 20 * time.Minute
	// abandoned is the age of an upload in parts, straight to a blob's path, that
	// nobody can still be sending: that is one request.
	abandoned  = 48 * time.Hour
	sweepPause = time.Hour
)

// Register makes the driver known to distribution. It may be called more than
// once.
var Register = sync.OnceFunc(func() {
	f := &driverFactory{buffers: bucket.NewBuffers(memory, spoolDirectory())}
	factory.Register("s3", f)
	factory.Register(name, f)
})

func spoolDirectory() string {
	probe, err := os.CreateTemp(spool, ".probe-")
	if err != nil {
		return os.TempDir()
	}
	_ = probe.Close()
	_ = os.Remove(probe.Name())
	return spool
}

// driverFactory makes drivers, all of which share the buffers.
type driverFactory struct{ buffers *bucket.Buffers }

// Create implements distribution's factory.
func (f *driverFactory) Create(_ context.Context, params map[string]any) (storagedriver.StorageDriver, error) {
	b, ok := params[BucketOption].(*bucket.Bucket)
	if !ok {
		var err error
		if b, err = bucket.OpenDefault(params); err != nil {
			return nil, err
		}
	}
	return New(b, f.buffers), nil
}

// New makes a driver on a bucket.
func New(b *bucket.Bucket, buffers *bucket.Buffers) storagedriver.StorageDriver {
	d := &driver{bucket: b, buffers: buffers, sessions: newSessions()}
	return copying{Base: &base.Base{StorageDriver: d}, driver: d}
}

// copying is a driver that can copy too.
type copying struct {
	*base.Base
	driver *driver
}

// Copy copies an object within the bucket.
func (c copying) Copy(ctx context.Context, from, to string) error {
	return fail(ctx, from, c.driver.bucket.Copy(ctx, from, to))
}

type driver struct {
	bucket   *bucket.Bucket
	buffers  *bucket.Buffers
	sessions *sessions

	sweeping sync.Mutex
	swept    time.Time
}

// Name implements storagedriver.StorageDriver.
func (d *driver) Name() string { return name }

// fail makes an error of the bucket one of distribution's.
func fail(ctx context.Context, path string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, bucket.ErrNotFound):
		return storagedriver.PathNotFoundError{Path: path}
	}
	fault.Note(ctx, err)
	return err
}

// RedirectURL gives an address where the client may read by itself.
func (d *driver) RedirectURL(r *http.Request, path string) (string, error) {
	if !Redirects(r) {
		return "", nil
	}
	url, err := d.bucket.Presign(r.Context(), r.Method, path, redirectLife)
	return url, fail(r.Context(), path, err)
}

// Redirects tells whether a client may be sent to the bucket with a request: it
// downloads all or one range. Of what is signed here the bucket would take another
// ETag than ours, one range of several, and no HEAD where a client makes a GET of it. A
// browser with a page of another origin could not read what a bucket answers, which knows
// nothing of that origin.
func Redirects(r *http.Request) bool {
	if r.Method != http.MethodGet || r.Header.Get("Origin") != "" || strings.Contains(r.Header.Get("Range"), ",") {
		return false
	}
	for _, condition := range []string{"If-Match", "If-None-Match", "If-Range", "If-Modified-Since", "If-Unmodified-Since"} {
		if r.Header.Get(condition) != "" {
			return false
		}
	}
	return true
}
