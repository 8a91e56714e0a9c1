// Package scrub checks a registry's storage: that each blob's bytes have its digest,
// and that everything is there that tags and manifests need. It changes nothing.
package scrub

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/distribution/distribution/v3/registry/storage/driver"
	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"

	"github.com/redoubt-registry/redoubt/appliance/storage/layout"
	"github.com/redoubt-registry/redoubt/appliance/storage/progress"
)

// Scrub is one check of a storage. Its memory does not grow with the number of
// blobs. All fields must be set but for Rate and After.
type Scrub struct {
	Storage  driver.StorageDriver
	Rate     int64 // bytes to read a second, at most; 0 is no bound
	Parallel int   // objects at a time
	// After leaves out the blobs up to this digest, which an earlier run has read.
	After digest.Digest
	Meter *progress.Meter
	Fault func(Fault) // is called for each fault, one at a time

	pace     *rate.Limiter
	mu       sync.Mutex
	damaged  map[digest.Digest]bool
	sizes    sizes
	summary  Summary
	manifest atomic.Int64
	failures atomic.Int32
}

// Summary is what a scrub read.
type Summary struct {
	Blobs        int64 `json:"blobs"`
	Bytes        int64 `json:"bytes"`
	Repositories int64 `json:"repositories"`
	Manifests    int64 `json:"manifests"`
	Tags         int64 `json:"tags"`
	Faults       int64 `json:"faults"`
	Warnings     int64 `json:"warnings"`
	// Position is the last digest up to which all blobs were read, for After.
	Position digest.Digest `json:"position,omitempty"`
}

// tooMany failures in a row to read mean that the storage itself fails.
const tooMany = 10

// Run reads everything. It returns an error if it could not finish.
func (s *Scrub) Run(ctx context.Context) (Summary, error) {
	s.damaged = map[digest.Digest]bool{}
	s.pace = newPace(s.Rate)
	s.summary.Position = s.After
	exists, err := layout.Exists(ctx, s.Storage)
	if err != nil {
		return s.summary, fmt.Errorf("cannot read the storage: %w", err)
	}
	if !exists {
		return s.summary, errors.New("cannot find a registry: there is nothing below docker/registry/v2; look at its root")
	}
	if err = s.blobs(ctx); err == nil {
		err = s.repositories(ctx)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.summary.Manifests = s.manifest.Load()
	return s.summary, err
}

// fault reports a fault.
func (s *Scrub) fault(f Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if f.Warning {
		s.summary.Warnings++
	} else {
		s.summary.Faults++
		s.Meter.Faults.Add(1)
	}
	s.Fault(f)
}

// note counts the outcome of reading one object. It returns an error after tooMany
// failures in a row.
func (s *Scrub) note(err error) error {
	if err == nil {
		s.failures.Store(0)
		return nil
	}
	if s.failures.Add(1) >= tooMany {
		return fmt.Errorf("gave up after %d failures in a row: %w", tooMany, err)
	}
	return nil
}

// blobs reads each blob.
func (s *Scrub) blobs(ctx context.Context) error {
	shards, err := s.plan(ctx)
	if err != nil {
		return err
	}
	for _, shard := range shards {
		blobs, _, err := layout.Shard(ctx, s.Storage, shard)
		if err != nil {
			return err
		}
		group, inner := errgroup.WithContext(ctx)
		group.SetLimit(s.Parallel)
		for _, b := range blobs {
			if b.Digest > s.After {
				group.Go(func() error { return s.blob(inner, b) })
			}
		}
		if err := group.Wait(); err != nil {
			return err
		}
		if n := len(blobs); n > 0 {
			s.summary.Position = max(s.After, blobs[n-1].Digest)
		}
	}
	return nil
}

// plan counts the blobs to read, and lists the shards.
func (s *Scrub) plan(ctx context.Context) ([]string, error) {
	s.Meter.Begin("counting blobs", 0, 0)
	shards, err := layout.Shards(ctx, s.Storage)
	if err != nil {
		return nil, err
	}
	var objects, bytes int64
	for _, shard := range shards {
		blobs, _, err := layout.Shard(ctx, s.Storage, shard)
		if err != nil {
			return nil, err
		}
		for _, b := range blobs {
			if b.Digest > s.After {
				objects++
				bytes += b.Size
			}
		}
		s.Meter.Objects.Store(objects)
		s.Meter.Bytes.Store(bytes)
	}
	s.Meter.Begin("reading blobs", objects, bytes)
	return shards, nil
}

// blob reads one blob.
func (s *Scrub) blob(ctx context.Context, b layout.Blob) error {
	defer s.Meter.Objects.Add(1)
	var right, gone bool
	err := again(ctx, func() (err error) {
		right, gone, err = s.read(ctx, b)
		return err
	})
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		s.fault(Fault{Kind: Unreadable, Digest: b.Digest, Message: fmt.Sprintf("cannot read blob %s: %v", b.Digest, err), Do: "look at the storage itself"})
		return s.note(err)
	case gone:
		return s.note(nil) // deleted since it was listed
	case !right:
		s.mu.Lock()
		s.damaged[b.Digest] = true
		s.mu.Unlock()
		s.fault(Fault{Kind: Damaged, Digest: b.Digest,
			Message: fmt.Sprintf("blob %s is damaged: its %d bytes have another digest", b.Digest, b.Size),
			Do:      "delete " + layout.Path(b.Digest)[1:] + " from the storage, reload the registry and push the images again that are named with it below"})
	}
	s.mu.Lock()
	s.summary.Blobs++
	s.summary.Bytes += b.Size
	s.mu.Unlock()
	return s.note(nil)
}

func (s *Scrub) read(ctx context.Context, b layout.Blob) (right, gone bool, err error) {
	r, err := s.Storage.Reader(ctx, layout.Path(b.Digest), 0)
	if layout.Missing(err) {
		return false, true, nil
	}
	if err != nil {
		return false, false, err
	}
	defer r.Close()
	var seen int64
	defer func() {
		if err != nil { // the retry reads it again
			s.Meter.Bytes.Add(-seen)
			s.Meter.Moved.Add(-seen)
		}
	}()
	verifier := b.Digest.Verifier()
	piece := make([]byte, pieceSize)
	for {
		n, err := io.ReadFull(r, piece)
		seen += int64(n)
		s.Meter.Bytes.Add(int64(n))
		s.Meter.Moved.Add(int64(n))
		verifier.Write(piece[:n])
		if err := s.paid(ctx, n); err != nil {
			return false, false, err
		}
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			break
		}
		if err != nil {
			return false, false, err
		}
	}
	return verifier.Verified(), false, nil
}

// again retries a read.
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
