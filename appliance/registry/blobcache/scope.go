package blobcache

import (
	"context"
	"encoding/json"

	"github.com/distribution/distribution/v3"
	"github.com/distribution/distribution/v3/registry/storage/cache"
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	goredis "github.com/redis/go-redis/v9"

	"github.com/redoubt-registry/redoubt/appliance/registry/redis"
)

// errMiss is what distribution takes as "not cached, and worth caching".
var errMiss error = distribution.ErrBlobUnknown

// scope is the descriptors of one repository, or of none.
type scope struct {
	cache *Cache
	repo  string
}

func (s scope) key(dgst digest.Digest) string {
	return *s.cache.prefix.Load() + s.repo + "@" + string(dgst)
}

// Stat returns the cached descriptor. Its error is always a plain miss: an
// error of the cache is none of the client's concern, and is counted here.
func (s scope) Stat(ctx context.Context, dgst digest.Digest) (v1.Descriptor, error) {
	word, known := s.cache.word()
	if !known {
		s.cache.misses.Add(1)
		return v1.Descriptor{}, errMiss
	}
	var text, run string
	err := s.cache.do(ctx, func(ctx context.Context, conn *redis.Conn) (err error) {
		run = conn.Run()
		text, err = conn.GetRange(ctx, s.key(dgst), 0, maxValue).Result()
		return err
	})
	if err == nil {
		if desc, ok := read(text, word, run, dgst); ok {
			s.cache.hits.Add(1)
			return desc, nil
		}
	}
	s.cache.misses.Add(1)
	return v1.Descriptor{}, errMiss
}

// word is the present epoch, if it is known. A cache of this process alone begins
// a new one with each prefix.
func (c *Cache) word() (string, bool) {
	if c.epoch == nil {
		return *c.prefix.Load(), true
	}
	return c.epoch.current()
}

// SetDescriptor caches desc, unless the digest is cached or was just cleared, or
// the epoch in which the request read the storage is over.
func (s scope) SetDescriptor(ctx context.Context, dgst digest.Digest, desc v1.Descriptor) error {
	if err := cache.ValidateDescriptor(desc); err != nil {
		return err
	}
	word, known := s.cache.word()
	r := requestOf(ctx)
	if !known || r != nil && (!r.known || r.epoch != word) {
		return nil
	}
	keys := []digest.Digest{dgst}
	if dgst != desc.Digest {
		keys = append(keys, desc.Digest)
	}
	_ = s.cache.do(ctx, func(ctx context.Context, conn *redis.Conn) error {
		text, err := json.Marshal(value{Version: version, Epoch: word, Run: conn.Run(), Descriptor: desc})
		if err != nil || len(text) > maxValue {
			return err
		}
		for _, k := range keys {
			if err := put(ctx, conn, s.key(k), string(text)); err != nil {
				return err
			}
		}
		return nil
	})
	return nil
}

// put writes a value where there is none, or one that nobody believes any more.
// A tombstone stays.
func put(ctx context.Context, conn *redis.Conn, key, text string) error {
	var there *goredis.StringCmd
	var written *goredis.BoolCmd
	_, err := conn.Pipelined(ctx, func(p goredis.Pipeliner) error {
		written = p.SetNX(ctx, key, text, lifetime)
		there = p.GetRange(ctx, key, 0, maxValue)
		return nil
	})
	if err != nil || written.Val() || !stale(there.Val(), text) {
		return err
	}
	return conn.Watch(ctx, func(tx *goredis.Tx) error {
		old, err := tx.GetRange(ctx, key, 0, maxValue).Result()
		if err != nil || !stale(old, text) {
			return err
		}
		_, err = tx.TxPipelined(ctx, func(p goredis.Pipeliner) error {
			p.Set(ctx, key, text, lifetime)
			return nil
		})
		return err
	}, key)
}

// Clear forgets a digest, in the repository and outside. What Redis does not
// confirm is forgotten by leaving everything behind. It fails only if nothing
// can be told to the other machines, and then nothing was deleted yet. A
// request that is cancelled is no way out, hence the context without one.
func (s scope) Clear(ctx context.Context, dgst digest.Digest) error {
	bury := func(ctx context.Context) error { return s.bury(context.WithoutCancel(ctx), dgst) }
	if d, ok := ctx.Value(deletionKey{}).(*deletion); ok {
		d.again = append(d.again, bury)
	}
	return bury(ctx)
}

func (s scope) bury(ctx context.Context, dgst digest.Digest) error {
	keys := []string{s.key(dgst), scope{cache: s.cache}.key(dgst)}
	err := s.cache.do(ctx, func(ctx context.Context, conn *redis.Conn) error {
		_, err := conn.Pipelined(ctx, func(p goredis.Pipeliner) error {
			for _, k := range keys {
				p.Set(ctx, k, tombstone, tombstoneLife)
			}
			return nil
		})
		return err
	})
	if err != nil {
		return s.cache.Forget(ctx)
	}
	return nil
}
