package imagecopy

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/distribution/distribution/v3/registry/storage/driver"
	"github.com/opencontainers/go-digest"

	"github.com/redoubt-registry/redoubt/appliance/storage/layout"
)

// leave notes a revision that was not copied.
func (r *repository) leave(dgst digest.Digest) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.left[dgst] = true
}

func (r *repository) isLeft(dgst digest.Digest) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.left[dgst]
}

// Why the target does not have a blob.
var (
	errAbsent = errors.New("there is no such blob at the source")
	errTold   = errors.New("its blob cannot be copied")
)

// need makes sure that the target has a blob, which may have been pushed after the
// blobs were copied. It reports why it cannot, except for errAbsent.
func (c *Copy) need(ctx context.Context, dgst digest.Digest) (why, stop error) {
	if c.isDamaged(dgst) {
		return errTold, nil
	}
	path := layout.Path(dgst)
	var info driver.FileInfo
	err := again(ctx, func() error {
		_, err := c.To.Stat(ctx, path)
		return err
	})
	if err == nil {
		return nil, nil
	}
	if layout.Missing(err) && !c.comparing {
		err = again(ctx, func() (err error) {
			info, err = c.From.Stat(ctx, path)
			return err
		})
	}
	switch {
	case ctx.Err() != nil:
		return errTold, ctx.Err()
	case layout.Missing(err):
		return errAbsent, nil
	case err != nil:
		c.fault(Fault{Digest: dgst, Err: fmt.Errorf("cannot find out if it is there: %w", err)})
		return errTold, c.note(err)
	}
	done, err := c.copyBlob(ctx, layout.Blob{Digest: dgst, Size: info.Size()})
	if !done {
		why = errTold
	}
	return why, err
}

// again retries a read or a write. A blob that is missing or damaged is not retried.
func again(ctx context.Context, f func() error) error {
	const tries = 3
	for try := 1; ; try++ {
		err := f()
		_, damaged := errors.AsType[*layout.Damage](err)
		if err == nil || damaged || layout.Missing(err) || try == tries || !rest(ctx, time.Duration(try)*time.Second) {
			return err
		}
	}
}
