// Package descriptor caches blob descriptors for distribution: in Redis behind
// a breaker, so that a dead or hung Redis costs next to nothing, or in memory.
package descriptor

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"sync/atomic"
	"time"

	"github.com/distribution/distribution/v3"
	"github.com/distribution/distribution/v3/registry/storage/cache"
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/redis/go-redis/v9"
)

const (
	// defaultBudget is the most that one request waits for Redis, dialing
	// included; with the breaker it waits once. The promise is 50 ms.
	defaultBudget = 40 * time.Millisecond
	// lifetime bounds what forgotten epochs leave behind in Redis.
	lifetime = 24 * time.Hour
	// tombstoneLife covers the time between a deletion's Clear here and its
	// end in the storage: a reader in between must not cache what is going.
	tombstoneLife = 30 * time.Second
	tombstone     = "-"
)

// Cache is a distribution descriptor cache in Redis. One Cache serves all
// configurations of a process. It never fails a request: what Redis cannot
// answer is a miss, and what it could not be made to forget is forgotten here,
// by leaving its keys behind for a new prefix (an epoch). Epochs belong to one
// process: nothing that another one left behind is believed.
type Cache struct {
	client  redis.UniversalClient
	budget  time.Duration
	breaker *breaker
	epoch   atomic.Pointer[string]

	hits, misses, errors atomic.Uint64
}

// Stats are counts since the start, and whether the breaker is open now.
type Stats struct {
	Hits, Misses, Errors, Skipped, Opened uint64
	Open                                  bool
}

// New makes a cache on client, which Close closes. The log function is called
// when Redis is given up and when it is back.
func New(client redis.UniversalClient, log func(string, error)) *Cache {
	return newCache(client, defaultBudget, log)
}

func newCache(client redis.UniversalClient, budget time.Duration, log func(string, error)) *Cache {
	c := &Cache{client: client, budget: budget}
	c.breaker = newBreaker(func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, budget)
		defer cancel()
		return client.Ping(ctx).Err()
	}, log)
	c.Forget()
	return c
}

// Forget empties the cache in one step, whether Redis is there or not. It is
// called after anything that removes blobs behind the registry's back.
func (c *Cache) Forget() {
	epoch := "redoubt:" + rand.Text() + ":"
	c.epoch.Store(&epoch)
}

// Close ends the connections and the breaker's probe.
func (c *Cache) Close() error {
	c.breaker.close()
	return c.client.Close()
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

// scope is the descriptors of one repository, or of none.
type scope struct {
	cache *Cache
	repo  string
}

func (s scope) key(dgst digest.Digest) string {
	return *s.cache.epoch.Load() + s.repo + "@" + string(dgst)
}

// errMiss is what distribution takes as "not cached, and worth caching".
var errMiss error = distribution.ErrBlobUnknown

// Stat returns the cached descriptor. Its error is always a plain miss: an
// error of the cache is none of the client's concern, and is counted here.
func (s scope) Stat(ctx context.Context, dgst digest.Digest) (v1.Descriptor, error) {
	var text string
	err := s.cache.do(ctx, func(ctx context.Context) (err error) {
		text, err = s.cache.client.Get(ctx, s.key(dgst)).Result()
		return err
	})
	var desc v1.Descriptor
	if err == nil && text != tombstone {
		if json.Unmarshal([]byte(text), &desc) == nil && cache.ValidateDescriptor(desc) == nil {
			s.cache.hits.Add(1)
			return desc, nil
		}
		s.cache.errors.Add(1)
	}
	s.cache.misses.Add(1)
	return v1.Descriptor{}, errMiss
}

// SetDescriptor caches desc, unless the digest is cached or was just cleared.
func (s scope) SetDescriptor(ctx context.Context, dgst digest.Digest, desc v1.Descriptor) error {
	if err := cache.ValidateDescriptor(desc); err != nil {
		return err
	}
	text, err := json.Marshal(desc)
	if err != nil {
		return err
	}
	keys := []string{s.key(dgst)}
	if dgst != desc.Digest {
		keys = append(keys, s.key(desc.Digest))
	}
	_ = s.cache.do(ctx, func(ctx context.Context) error {
		_, err := s.cache.client.Pipelined(ctx, func(p redis.Pipeliner) error {
			for _, k := range keys {
				p.SetNX(ctx, k, text, lifetime)
			}
			return nil
		})
		return err
	})
	return nil
}

// Clear forgets a digest, in the repository and outside. If Redis cannot
// confirm it the whole cache is forgotten: a descriptor that outlives its blob
// makes a later push believe that the blob is there. A request that is
// cancelled is no way out, hence the context without one.
func (s scope) Clear(ctx context.Context, dgst digest.Digest) error {
	keys := []string{s.key(dgst), scope{cache: s.cache}.key(dgst)}
	err := s.cache.do(context.WithoutCancel(ctx), func(ctx context.Context) error {
		_, err := s.cache.client.Pipelined(ctx, func(p redis.Pipeliner) error {
			for _, k := range keys {
				p.Set(ctx, k, tombstone, tombstoneLife)
			}
			return nil
		})
		return err
	})
	if err != nil {
		s.cache.Forget()
	}
	return nil
}

// do runs one exchange with Redis within the budget, if the breaker lets it.
func (c *Cache) do(ctx context.Context, f func(context.Context) error) error {
	if !c.breaker.allow() {
		return errOpen
	}
	bounded, cancel := context.WithTimeout(ctx, c.budget)
	defer cancel()
	err := f(bounded)
	if err == nil || errors.Is(err, redis.Nil) {
		return err
	}
	c.errors.Add(1)
	var answer redis.Error // Redis is there and says no: full, loading, …
	if !errors.As(err, &answer) && ctx.Err() == nil {
		c.breaker.fail(err)
	}
	return err
}
