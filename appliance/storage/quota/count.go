package quota

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/distribution/distribution/v3/registry/storage/driver"
	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/redoubt-registry/redoubt/appliance/storage/layout"
)

// abandoned is the age at which a push under way counts as ended, at least.
const abandoned = 25 * time.Hour

// Count counts what the repositories of each rule take, and makes the account exact.
// Links that are younger than grace count even where no manifest needs them; a push may be
// about to put one. beat is called often. An error ends the count.
func (l *Ledger) Count(ctx context.Context, d driver.StorageDriver, grace time.Duration, parallel int, beat func(context.Context) error) error {
	if l.Rules.None() {
		return nil
	}
	begun, _, err := l.read(ctx) // before the storage
	if err != nil {
		return err
	}
	now := l.Now().UTC()
	c := &counting{storage: d, rules: l.Rules, cut: now.Add(-grace), parallel: parallel, beat: beat, found: map[string]map[key]struct{}{}}
	used, err := c.run(ctx)
	if err != nil {
		return fmt.Errorf("cannot count what quotas are for: %w", err)
	}
	return l.change(ctx, func(all accounts) error {
		maps.DeleteFunc(all, l.foreign)
		for _, r := range l.Rules.list {
			a := all[r.key()]
			a.Base, a.Before, a.Counted, a.Cut = used[r.key()], min(begun[r.key()].Since, a.Since), true, c.cut
			maps.DeleteFunc(a.Open, func(_ string, o opened) bool { return now.Sub(o.At) > max(grace, abandoned) })
			all[r.key()] = a
		}
		return nil
	})
}

// key stands for a digest in a quarter of its space.
type key [16]byte

func keyOf(dgst digest.Digest) (k key) {
	text := dgst.Encoded()
	_, _ = hex.Decode(k[:], []byte(text[:2*len(k)])) // a digest is valid and longer
	return k
}

type counting struct {
	storage  driver.StorageDriver
	rules    Rules
	cut      time.Time
	parallel int
	beat     func(context.Context) error

	mu    sync.Mutex
	found map[string]map[key]struct{} // what each rule's repositories have
}

func (c *counting) run(ctx context.Context) (map[string]int64, error) {
	for _, r := range c.rules.list {
		c.found[r.key()] = map[key]struct{}{}
	}
	err := layout.EachRepository(ctx, c.storage, func(name string) error {
		if err := c.beat(ctx); err != nil {
			return err
		}
		rules := c.rules.of(name)
		if len(rules) == 0 {
			return nil
		}
		return c.repository(ctx, name, rules)
	})
	if err != nil {
		return nil, err
	}
	return c.sizes(ctx)
}

// repository notes what one has.
func (c *counting) repository(ctx context.Context, name string, rules []Rule) error {
	group, inner := errgroup.WithContext(ctx)
	group.SetLimit(max(c.parallel, 1))
	err := layout.EachLink(inner, c.storage, name, layout.Revisions, func(l layout.Link) error {
		group.Go(func() error {
			has, err := c.manifest(inner, l)
			c.note(rules, has)
			return err
		})
		return nil
	}, func(string) {})
	if failed := group.Wait(); failed != nil {
		return failed
	}
	if err != nil {
		return err
	}
	return layout.EachLink(ctx, c.storage, name, layout.Layers, func(l layout.Link) error {
		if l.Modified.After(c.cut) {
			c.note(rules, []digest.Digest{l.Digest})
		}
		return nil
	}, func(string) {})
}

func (c *counting) note(rules []Rule, has []digest.Digest) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, r := range rules {
		for _, dgst := range has {
			c.found[r.key()][keyOf(dgst)] = struct{}{}
		}
	}
}

// largest is the size in bytes of the largest manifest that a registry accepts.
const largest = 4 << 20

// manifest is what a manifest is made of, and itself.
func (c *counting) manifest(ctx context.Context, l layout.Link) ([]digest.Digest, error) {
	target, gone, err := layout.Read(ctx, c.storage, l.Path)
	if gone || errors.As(err, new(*layout.Damage)) {
		return nil, nil // it leads nowhere
	}
	if err != nil {
		return nil, err
	}
	r, err := c.storage.Reader(ctx, layout.Path(target), 0)
	if layout.Missing(err) {
		return nil, nil
	}
	var data []byte
	if err == nil {
		defer r.Close()
		data, err = io.ReadAll(io.LimitReader(r, largest))
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read manifest %s: %w", target, err)
	}
	has := []digest.Digest{target, l.Digest}
	refs := layout.ReferencesOf(data)
	for _, b := range slices.Concat(refs.Blobs, refs.Manifests) { // among these are layers of a build's cache
		has = append(has, b.Digest)
	}
	return has, nil
}

// sizes adds up how large that is. What is not there has no size, and what a manifest says
// of it does not matter.
func (c *counting) sizes(ctx context.Context) (map[string]int64, error) {
	used := map[string]int64{}
	shards, err := layout.Shards(ctx, c.storage)
	if err != nil {
		return nil, err
	}
	for _, shard := range shards {
		if err := c.beat(ctx); err != nil {
			return nil, err
		}
		blobs, _, err := layout.Shard(ctx, c.storage, shard)
		if err != nil {
			return nil, err
		}
		for _, b := range blobs {
			for rule, has := range c.found {
				if _, ok := has[keyOf(b.Digest)]; ok {
					used[rule] += b.Size
				}
			}
		}
	}
	return used, nil
}
