// Package blobcache caches blob descriptors for distribution in Redis, behind a
// breaker, so that a Redis that is dead, hung or slow costs next to nothing.
//
// What a cache must never do is say that a blob is there when it was deleted: a
// client would leave out the layer that it was about to push. What the machine's
// own Redis holds is of one process, and is left behind by a new prefix when a
// deletion could not be told to Redis. What a shared Redis holds is of all
// machines on the storage, for an hour, and is believed only if
//   - it is of the present epoch (see there), which any machine can end;
//   - it was written in the present run of the server: what a restart brings back
//     from a disk, or a failover from a replica, may be older than a deletion;
//   - its form, version and digest are right.
//
// A deletion puts a tombstone in the key before and after the storage deletes. It
// outlives every reader that saw the blob before and is about to cache it. Where
// Redis does not confirm the tombstone the epoch ends, and where the storage does
// not confirm that either, the deletion fails before it starts.
//
// Two things are bounded by time alone. A machine that reaches Redis goes on for
// five seconds (the lease) after a deletion through one that does not. And who
// flushes Redis between a deletion and the end of a request that read the blob
// before it may leave a wrong descriptor for an hour (the lifetime).
package blobcache

import (
	"context"
	"crypto/rand"
	"errors"
	"strings"
	"sync/atomic"
	"time"

	"github.com/distribution/distribution/v3"
	"github.com/distribution/distribution/v3/registry/storage/cache"
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	goredis "github.com/redis/go-redis/v9"

	"github.com/redoubt-registry/redoubt/appliance/registry/redis"
)

const (
	// defaultBudget is the most that one request waits for Redis in all. The
	// promise is 50 ms.
	defaultBudget = 40 * time.Millisecond
	// An exchange that takes longer than this part of the budget is taken from
	// it. Faster ones save more than they cost, however many a request needs.
	slowPart = 8
	// lifetime bounds what forgotten epochs leave behind in Redis, and whatever
	// nobody thought of.
	lifetime = time.Hour
	// tombstoneLife is longer than any request holds on to what it read in the
	// storage, whose calls are bounded by half a minute.
	tombstoneLife = 2 * time.Minute
)

// Cache is a distribution descriptor cache in Redis. One Cache serves all
// configurations of a process. What Redis cannot answer is a miss.
type Cache struct {
	server  *redis.Server
	budget  time.Duration
	pool    *pool
	breaker *breaker
	prefix  atomic.Pointer[string]
	epoch   *epoch // of a shared Redis; nil: the prefix is ours alone

	hits, misses, errors atomic.Uint64
}

// Stats are counts since the start, and whether the breaker is open now.
type Stats struct {
	Hits, Misses, Errors, Skipped, Opened uint64
	Open                                  bool
}

// New makes a cache in server. prefix is that of the storage, for a shared one.
// The log function is called when Redis is given up and when it is back.
func New(server *redis.Server, prefix string, log func(string, error)) *Cache {
	return newCache(server, prefix, defaultBudget, log)
}

func newCache(server *redis.Server, prefix string, budget time.Duration, log func(string, error)) *Cache {
	c := &Cache{server: server, budget: budget}
	c.breaker = newBreaker(c.probe, log)
	c.pool = newPool(server, c.giveUp)
	if server.Shared() {
		c.prefix.Store(&prefix)
		c.epoch = new(epoch)
	} else {
		c.leave()
	}
	c.breaker.start()
	return c
}

// leave leaves all keys behind, whether Redis is there or not.
func (c *Cache) leave() {
	prefix := "redoubt:" + rand.Text() + ":"
	c.prefix.Store(&prefix)
}

// Reloaded forgets what only this process has cached: blobs may have been
// removed behind its back. A shared cache is not emptied by a reload.
func (c *Cache) Reloaded() {
	if c.epoch == nil {
		c.leave()
	}
}

// Forget empties the cache in one step for all who share it, whether Redis is
// there or not. It is called after anything that removes blobs behind the
// registry's back, and is true for the other machines after the lease.
func (c *Cache) Forget(ctx context.Context) error {
	if c.epoch == nil {
		c.leave()
		return nil
	}
	return c.epoch.turn(ctx)
}

// Close ends the connections and the breaker's probe.
func (c *Cache) Close() error {
	c.breaker.close()
	c.pool.close()
	return nil
}

// Stats returns the counts.
func (c *Cache) Stats() Stats {
	return Stats{
		Hits: c.hits.Load(), Misses: c.misses.Load(), Errors: c.errors.Load(),
		Skipped: c.breaker.skipped.Load(), Opened: c.breaker.opened.Load(), Open: c.breaker.isOpen(),
	}
}

// RepositoryScoped implements cache.BlobDescriptorCacheProvider.
func (c *Cache) RepositoryScoped(repo string) (distribution.BlobDescriptorService, error) {
	return scope{cache: c, repo: repo}, nil
}

// Stat, SetDescriptor and Clear are for descriptors of no repository.

func (c *Cache) Stat(ctx context.Context, dgst digest.Digest) (v1.Descriptor, error) {
	return scope{cache: c}.Stat(ctx, dgst)
}

func (c *Cache) SetDescriptor(ctx context.Context, dgst digest.Digest, desc v1.Descriptor) error {
	return scope{cache: c}.SetDescriptor(ctx, dgst, desc)
}

func (c *Cache) Clear(ctx context.Context, dgst digest.Digest) error {
	return scope{cache: c}.Clear(ctx, dgst)
}

var _ cache.BlobDescriptorCacheProvider = (*Cache)(nil)

// giveUp opens the breaker.
func (c *Cache) giveUp(cause error) {
	c.breaker.fail(c.server.Explain(cause))
	c.pool.empty()
}

// do runs one exchange with Redis within what is left of the request's budget,
// if the breaker lets it. A client that leaves meanwhile does not end it: the
// connection would be lost.
func (c *Cache) do(ctx context.Context, f func(context.Context, *redis.Conn) error) error {
	if !c.breaker.allow() {
		return errOpen
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	r := requestOf(ctx)
	left := r.left(c.budget)
	if left <= 0 { // it has waited once; others may find Redis well
		c.breaker.skipped.Add(1)
		return errOpen
	}
	bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), left)
	defer cancel()
	began := time.Now()
	err := c.exchange(bounded, f)
	if took := time.Since(began); took > c.budget/slowPart {
		r.spend(took)
	}
	return err
}

func (c *Cache) exchange(ctx context.Context, f func(context.Context, *redis.Conn) error) error {
	conn, err := c.pool.take(ctx)
	if errors.Is(err, errNone) {
		c.breaker.skipped.Add(1)
		return err
	}
	if err != nil {
		c.errors.Add(1)
		c.giveUp(err)
		return err
	}
	switch err = f(ctx, conn); {
	case err == nil:
		c.pool.give(conn)
	case tolerable(err):
		c.errors.Add(1)
		c.pool.give(conn)
	default:
		c.errors.Add(1)
		c.pool.drop(conn)
		c.giveUp(err)
	}
	return err
}

// tolerable says whether Redis goes on answering others after an error of this
// kind: it is full, or cannot save, or somebody else's value has our key.
func tolerable(err error) bool {
	var answer goredis.Error
	if !errors.As(err, &answer) {
		return false
	}
	kind, _, _ := strings.Cut(answer.Error(), " ")
	switch kind {
	case "OOM", "MISCONF", "NOREPLICAS", "WRONGTYPE":
		return true
	}
	return errors.Is(err, goredis.TxFailedErr)
}

// probe looks whether Redis is back: it takes a login, and then answers what a
// request would ask, in the time that a request has.
func (c *Cache) probe(ctx context.Context) error {
	conn, err := c.server.Open(ctx)
	if err != nil {
		return err
	}
	bounded, cancel := context.WithTimeout(ctx, c.budget)
	defer cancel()
	key := *c.prefix.Load() + "probe"
	for range 2 {
		if err = conn.Set(bounded, key, tombstone, tombstoneLife).Err(); err != nil && !tolerable(err) {
			break
		}
		if err = conn.GetRange(bounded, key, 0, maxValue).Err(); err != nil {
			break
		}
	}
	if err != nil && !tolerable(err) {
		_ = conn.Close() // it is of no use
		return c.server.Explain(err)
	}
	if c.epoch != nil { // it may have ended while nobody could tell Redis
		c.epoch.doubt()
	}
	c.pool.add(conn)
	return nil
}
