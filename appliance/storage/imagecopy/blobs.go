package imagecopy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/redoubt-registry/redoubt/appliance/storage/layout"
)

// plan counts the blobs to copy and their bytes.
func (c *Copy) plan(ctx context.Context) error {
	c.Meter.Begin("counting blobs", 0, 0)
	var objects, bytes int64
	err := c.eachShard(ctx, func(source []layout.Blob, others []string, have map[digest.Digest]int64) error {
		for _, b := range source {
			objects++
			bytes += b.Size
		}
		c.Meter.Objects.Store(objects)
		c.Meter.Bytes.Store(bytes)
		return nil
	})
	phase := "blobs"
	if c.comparing {
		phase = "comparing blobs"
	}
	c.Meter.Begin(phase, objects, bytes)
	return err
}

// eachShard calls f with the blobs of the source and of the target, one shard
// after the other.
func (c *Copy) eachShard(ctx context.Context, f func(source []layout.Blob, others []string, have map[digest.Digest]int64) error) error {
	shards, err := layout.Shards(ctx, c.From)
	if err != nil {
		return fmt.Errorf("source: %w", err)
	}
	for _, shard := range shards {
		if err := ctx.Err(); err != nil {
			return err
		}
		source, others, err := layout.Shard(ctx, c.From, shard)
		if err != nil {
			return fmt.Errorf("source: %w", err)
		}
		target, _, err := layout.Shard(ctx, c.To, shard)
		if err != nil {
			return fmt.Errorf("target: %w", err)
		}
		have := make(map[digest.Digest]int64, len(target))
		for _, b := range target {
			have[b.Digest] = b.Size
		}
		if err := f(source, others, have); err != nil {
			return err
		}
	}
	return nil
}

// blobs copies the blobs that the target does not have, or compares them.
func (c *Copy) blobs(ctx context.Context) error {
	group, inner := errgroup.WithContext(ctx)
	group.SetLimit(c.Parallel)
	err := c.eachShard(inner, func(source []layout.Blob, others []string, have map[digest.Digest]int64) error {
		for _, path := range others {
			c.leaveOut(path)
		}
		for _, b := range source {
			size, there := have[b.Digest]
			delete(have, b.Digest)
			group.Go(func() error { return c.blob(inner, b, there, size) })
		}
		if c.comparing {
			c.summary.extras.Add(int64(len(have)))
		}
		return nil
	})
	if failed := group.Wait(); failed != nil {
		return failed // which cancelled the walk
	}
	return err
}

// blob copies one blob of the source. If there is set, the target has one of size
// bytes already.
func (c *Copy) blob(ctx context.Context, b layout.Blob, there bool, size int64) error {
	defer c.Meter.Objects.Add(1)
	switch {
	case c.comparing:
		c.Meter.Bytes.Add(b.Size)
		c.compare(b, there, size)
		return nil
	case there && size == b.Size && c.Verify:
		whole, err := c.whole(ctx, b)
		if err != nil {
			return err
		}
		if !whole {
			break
		}
		c.summary.present.Add(1)
		return nil
	case there && size == b.Size:
		c.Meter.Bytes.Add(b.Size)
		c.summary.present.Add(1)
		return nil
	}
	_, err := c.copyBlob(ctx, b)
	return err
}

// compare checks that the target has a blob.
func (c *Copy) compare(b layout.Blob, there bool, size int64) {
	c.summary.comparedBlobs.Add(1)
	c.summary.comparedBytes.Add(b.Size)
	switch {
	case c.isDamaged(b.Digest): // reported already
	case !there:
		c.differs(Fault{Digest: b.Digest, Err: errors.New("not at the target; the same command again copies it")})
	case size != b.Size:
		c.differs(Fault{Digest: b.Digest, Err: fmt.Errorf("%d bytes at the target, not %d", size, b.Size)})
	}
}

// whole reads a blob that the target has already, and tells whether it is right.
func (c *Copy) whole(ctx context.Context, b layout.Blob) (bool, error) {
	r, err := c.To.Reader(ctx, layout.Path(b.Digest), 0)
	if err != nil {
		return false, ctx.Err() // it is copied again, which shows whether the target is the cause
	}
	defer r.Close()
	checked := c.check(ctx, r, b)
	if _, err = io.CopyBuffer(io.Discard, checked, make([]byte, buffer)); err == nil {
		return true, c.note(nil)
	}
	checked.forget()
	return false, ctx.Err()
}

// copyBlob copies one blob, with retries. It returns false if the target does not have
// it afterwards, which was reported; an error ends the whole copy.
func (c *Copy) copyBlob(ctx context.Context, b layout.Blob) (bool, error) {
	const tries = 3
	var err error
	for try := range tries {
		if try > 0 && !rest(ctx, time.Duration(try)*time.Second) {
			return false, ctx.Err()
		}
		var gone bool
		gone, err = c.tryBlob(ctx, b)
		if gone {
			return false, nil // deleted since it was listed
		}
		if err == nil {
			c.summary.blobs.Add(1)
			c.summary.bytes.Add(b.Size)
			return true, c.note(nil)
		}
		if ctx.Err() != nil {
			return false, ctx.Err()
		}
		if _, damaged := errors.AsType[*damage](err); damaged && try > 0 {
			break
		}
	}
	c.mu.Lock()
	c.damaged[b.Digest] = true
	c.mu.Unlock()
	if d, ok := errors.AsType[*damage](err); ok {
		c.fault(Fault{Digest: b.Digest, Err: d})
		return false, nil
	}
	c.fault(Fault{Digest: b.Digest, Err: fmt.Errorf("cannot copy it: %w", err)})
	return false, c.note(err)
}

func (c *Copy) tryBlob(ctx context.Context, b layout.Blob) (gone bool, err error) {
	path := layout.Path(b.Digest)
	r, err := c.From.Reader(ctx, path, 0)
	if layout.Missing(err) {
		return true, nil
	}
	if err != nil {
		return false, fmt.Errorf("source: %w", err)
	}
	defer r.Close()
	checked := c.check(ctx, r, b)
	if err := c.To.Place(ctx, path, b.Size, checked); err != nil {
		checked.forget()
		if checked.err != nil {
			return false, checked.err
		}
		return false, fmt.Errorf("target: %w", err)
	}
	return false, nil
}

// check makes a reader of b's bytes that ends with io.EOF only if they are right.
func (c *Copy) check(ctx context.Context, r io.Reader, b layout.Blob) *checked {
	return &checked{ctx: ctx, r: r, blob: b, verifier: b.Digest.Verifier(), copy: c}
}

type checked struct {
	ctx      context.Context
	r        io.Reader
	blob     layout.Blob
	verifier digest.Verifier
	copy     *Copy
	seen     int64
	err      error // what went wrong at the source
}

func (k *checked) Read(p []byte) (int, error) {
	if k.err != nil {
		return 0, k.err
	}
	if k.err = k.ctx.Err(); k.err != nil {
		return 0, k.err
	}
	n, err := k.r.Read(p)
	k.seen += int64(n)
	k.copy.Meter.Bytes.Add(int64(n))
	k.copy.Meter.Moved.Add(int64(n))
	k.verifier.Write(p[:n])
	switch {
	case err != nil && err != io.EOF:
		k.err = fmt.Errorf("source: %w", err)
	case k.seen > k.blob.Size || err == io.EOF && k.seen < k.blob.Size:
		k.err = fmt.Errorf("source: %d bytes came of a blob of %d", k.seen, k.blob.Size)
	case err == io.EOF && !k.verifier.Verified():
		k.err = &damage{k.blob}
	}
	if k.err != nil {
		return 0, k.err
	}
	return n, err
}

// forget subtracts from the meter what was read for nothing.
func (k *checked) forget() {
	k.copy.Meter.Bytes.Add(-k.seen)
	k.copy.Meter.Moved.Add(-k.seen)
}

// damage is a blob whose bytes have another digest.
type damage struct{ blob layout.Blob }

func (d *damage) Error() string {
	return fmt.Sprintf("it is damaged at the source and not copied: its %d bytes have another digest; "+
		"redoubt storage scrub names the images that use it", d.blob.Size)
}

// rest waits for d, or until ctx is done.
func rest(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
