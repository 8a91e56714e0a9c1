package imagecopy

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/distribution/distribution/v3/registry/storage/driver"

	"github.com/redoubt-registry/redoubt/appliance/storage/layout"
)

// Target is where a copy goes. A file at its path is always whole.
type Target interface {
	driver.StorageDriver
	// Place writes the size bytes of r to path, if r ends with io.EOF and not with
	// another error. Until it returns nil, nothing changes at path.
	Place(ctx context.Context, path string, size int64, r io.Reader) error
	// Remove removes the file at path. A missing file is no error.
	Remove(ctx context.Context, path string) error
	// Sync returns once everything placed survives a power cut.
	Sync() error
}

// Objects is a target that shows an object only once it is whole: a bucket.
type Objects struct{ driver.StorageDriver }

// small is the size in bytes up to which one request uploads an object.
const small = 4 << 20

// Place implements Target.
func (o Objects) Place(ctx context.Context, path string, size int64, r io.Reader) error {
	if size <= small {
		data, err := io.ReadAll(r)
		if err != nil {
			return err
		}
		return o.PutContent(ctx, path, data)
	}
	w, err := o.Writer(ctx, path, false)
	if err != nil {
		return err
	}
	if _, err = io.CopyBuffer(struct{ io.Writer }{w}, r, make([]byte, buffer)); err == nil {
		if err = w.Commit(ctx); err == nil {
			return w.Close()
		}
	}
	const patience = 10 * time.Second // also when ctx is done
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	return errors.Join(err, w.Cancel(end))
}

// Remove implements Target.
func (o Objects) Remove(ctx context.Context, path string) error {
	err := o.Delete(ctx, path)
	if layout.Missing(err) {
		return nil
	}
	return err
}

// Sync implements Target: a bucket has stored what it acknowledged.
func (o Objects) Sync() error { return nil }

// buffer is the size in bytes of the buffer for one blob.
const buffer = 256 << 10
