// Package imagecopy copies a registry's storage to another one. The blobs go
// first, each checked against its digest; then the links to them; the tags go last. A
// copy that was interrupted at any point resumes when it is run again.
package imagecopy

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/distribution/distribution/v3/registry/storage/driver"
	"github.com/opencontainers/go-digest"

	"github.com/redoubt-registry/redoubt/appliance/storage/layout"
	"github.com/redoubt-registry/redoubt/appliance/storage/progress"
)

// Copy is one run of a copy. All fields must be set but for Verify and Delete.
type Copy struct {
	From     driver.StorageDriver // never changed
	To       Target
	Parallel int             // objects at a time
	Verify   bool            // read the blobs that are there already, and compare both sides at the end
	Delete   bool            // remove the target's links that the source does not have
	Meter    *progress.Meter // what it has done so far
	Fault    func(Fault)     // is called for each fault, one at a time

	comparing bool // copy nothing

	mu      sync.Mutex
	damaged map[digest.Digest]bool // blobs that no link may point to

	summary  counters
	failures atomic.Int32 // to read or to write, in a row
}

// Fault is something that was not copied.
type Fault struct {
	Repository string
	Tag        string
	Digest     digest.Digest
	Err        error
}

func (f Fault) String() string {
	where := ""
	if f.Repository != "" {
		where = f.Repository
		if f.Tag != "" {
			where += ":" + f.Tag
		}
		where += ": "
	}
	if f.Digest != "" && !strings.Contains(f.Err.Error(), f.Digest.String()) {
		where += string(f.Digest) + ": "
	}
	return where + f.Err.Error()
}

// Summary is what a copy did.
type Summary struct {
	Blobs, Bytes   int64 // copied
	Links          int64 // copied
	Present        int64 // blobs that were there already
	Removed        int64 // links taken from the target
	Dangling       int64 // layer links left out, since the source has no such blob
	Others         int64 // files left out, since they are no part of a registry
	Faults         int64
	Differences    int64 // found by Verify
	ComparedBlobs  int64 // by Verify
	ComparedLinks  int64
	ComparedBytes  int64
	OnlyAtTarget   int64 // blobs, counted by Verify
	OtherExample   string
	MissingExample string
}

type counters struct {
	blobs, bytes, links, present, removed, dangling, others, faults  atomic.Int64
	differences, comparedBlobs, comparedLinks, comparedBytes, extras atomic.Int64
	other, missing                                                   atomic.Pointer[string]
}

// ErrNothing is returned for a source that has no registry.
var ErrNothing = errors.New("there is nothing below docker/registry/v2 at the source; look at its root")

// tooMany failures in a row to read or to write mean that the storage itself fails, and
// not single objects.
const tooMany = 10

// Run copies. It returns an error if it could not finish. A single object that cannot be
// copied is a fault, and the others are copied.
func (c *Copy) Run(ctx context.Context) (Summary, error) {
	c.damaged = map[digest.Digest]bool{}
	err := c.run(ctx)
	s := &c.summary
	summary := Summary{
		Blobs: s.blobs.Load(), Bytes: s.bytes.Load(), Links: s.links.Load(), Present: s.present.Load(),
		Removed: s.removed.Load(), Dangling: s.dangling.Load(), Others: s.others.Load(), Faults: s.faults.Load(),
		Differences: s.differences.Load(), ComparedBlobs: s.comparedBlobs.Load(), ComparedLinks: s.comparedLinks.Load(),
		ComparedBytes: s.comparedBytes.Load(), OnlyAtTarget: s.extras.Load(),
	}
	if p := s.other.Load(); p != nil {
		summary.OtherExample = *p
	}
	if p := s.missing.Load(); p != nil {
		summary.MissingExample = *p
	}
	return summary, err
}

func (c *Copy) run(ctx context.Context) error {
	exists, err := layout.Exists(ctx, c.From)
	if err != nil {
		return fmt.Errorf("cannot read the source: %w", err)
	}
	if !exists {
		return ErrNothing
	}
	for _, step := range []func(context.Context) error{c.plan, c.blobs, c.links} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	if c.Delete {
		if err := c.remove(ctx); err != nil {
			return err
		}
	}
	if err := c.To.Sync(); err != nil {
		return err
	}
	if !c.Verify {
		return nil
	}
	c.comparing = true
	for _, step := range []func(context.Context) error{c.plan, c.blobs, c.links} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

// fault reports something that was not copied.
func (c *Copy) fault(f Fault) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.summary.faults.Add(1)
	c.Meter.Faults.Add(1)
	c.Fault(f)
}

// differs reports something that Verify found.
func (c *Copy) differs(f Fault) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.summary.differences.Add(1)
	c.Meter.Faults.Add(1)
	c.Fault(f)
}

func (c *Copy) isDamaged(dgst digest.Digest) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.damaged[dgst]
}

// note counts the outcome of reading and writing one object. It returns an error after
// tooMany failures in a row.
func (c *Copy) note(err error) error {
	if err == nil {
		c.failures.Store(0)
		return nil
	}
	for _, hopeless := range []error{syscall.ENOSPC, syscall.EDQUOT, syscall.EROFS} {
		if errors.Is(err, hopeless) {
			return err
		}
	}
	if c.failures.Add(1) >= tooMany {
		return fmt.Errorf("gave up after %d failures in a row: %w", tooMany, err)
	}
	return nil
}

// leaveOut counts a file that is no part of a registry.
func (c *Copy) leaveOut(path string) {
	if !c.comparing {
		c.summary.others.Add(1)
		c.summary.other.CompareAndSwap(nil, &path)
	}
}
