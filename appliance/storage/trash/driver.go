package trash

import (
	"context"
	"errors"
	"io"
	"net/http"

	"github.com/distribution/distribution/v3/registry/storage/driver"
	middleware "github.com/distribution/distribution/v3/registry/storage/driver/middleware"

	"github.com/redoubt-registry/redoubt/appliance/storage/layout"
)

// Name is what the middleware is called in distribution's middleware section.
// GuardOption is its option, a *Guard.
const (
	Name        = "redoubt-trash"
	GuardOption = "guard"
)

// Register makes the middleware known to distribution. It may be called more than
// once.
func Register() {
	_ = middleware.Register(Name, install) // fails only when it is there already
}

func install(_ context.Context, d driver.StorageDriver, options map[string]any) (driver.StorageDriver, error) {
	g, ok := options[GuardOption].(*Guard)
	if !ok {
		return nil, errors.New("cannot look into the trash: there is no guard")
	}
	d = Driver(d)
	g.use(d)
	return d, nil
}

// Driver makes a driver that brings back from the trash of d what it is asked for.
func Driver(d driver.StorageDriver) driver.StorageDriver { return restoring{d} }

type restoring struct{ driver.StorageDriver }

// tries is how often something is brought back that is taken again at once.
const tries = 5

// find calls f, and brings back from the trash what it does not find. In a directory it may
// have come back and been taken again in between, so it looks twice.
func (d restoring) find(ctx context.Context, p string, f func() error) error {
	err := f()
	if !Holds(p) {
		return err
	}
	for try := range tries {
		if !layout.Missing(err) {
			return err
		}
		back, failed := Restore(ctx, d.StorageDriver, p)
		if failed != nil {
			return failed
		}
		if err = f(); !back && (try > 0 || !renames(d.StorageDriver)) {
			return err
		}
	}
	return err
}

// GetContent implements driver.StorageDriver.
func (d restoring) GetContent(ctx context.Context, p string) (data []byte, err error) {
	err = d.find(ctx, p, func() (err error) {
		data, err = d.StorageDriver.GetContent(ctx, p)
		return err
	})
	return data, err
}

// Reader implements driver.StorageDriver.
func (d restoring) Reader(ctx context.Context, p string, offset int64) (r io.ReadCloser, err error) {
	err = d.find(ctx, p, func() (err error) {
		r, err = d.StorageDriver.Reader(ctx, p, offset)
		return err
	})
	return r, err
}

// Stat implements driver.StorageDriver.
func (d restoring) Stat(ctx context.Context, p string) (info driver.FileInfo, err error) {
	err = d.find(ctx, p, func() (err error) {
		info, err = d.StorageDriver.Stat(ctx, p)
		return err
	})
	return info, err
}

// RedirectURL implements driver.StorageDriver. Where the client reads by itself nothing
// brings it back, so that is done before.
func (d restoring) RedirectURL(r *http.Request, p string) (string, error) {
	url, err := d.StorageDriver.RedirectURL(r, p)
	if err != nil || url == "" || !layout.IsBlob(p) {
		return url, err
	}
	_, err = d.Stat(r.Context(), p)
	return url, err
}

// Delete implements driver.StorageDriver. Links that are deleted are kept apart (see
// Deletion): they do not come back by themselves.
func (d restoring) Delete(ctx context.Context, p string) error {
	if link := deletable(p); link != "" && ctx.Value(forgetKey{}) == nil {
		if err := keep(ctx, d, link); err != nil {
			return err
		}
	}
	err := d.StorageDriver.Delete(ctx, p)
	if layout.IsRevision(p) && unlessMissing(err) == nil {
		if failed := forget(ctx, d.StorageDriver, p); failed != nil {
			return failed
		}
	}
	return err
}
