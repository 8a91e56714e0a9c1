package sharedstate

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
	"time"

	"github.com/redoubt-registry/redoubt/appliance/storage/bucket"
)

// Bucket is a Store of several machines: objects below a prefix of a bucket. A
// version is the ETag, and conditional writes (If-Match, If-None-Match) compare
// and swap. A service that ignores them is found by Probe.
type Bucket struct {
	objects *bucket.Bucket
	prefix  string // ends in a slash
}

var _ Store = Bucket{}

// Where objects are in a bucket, below its root.
const (
	bucketPrefix     = "redoubt/state/"
	challengesPrefix = bucketPrefix + "challenges/"
	probePrefix      = bucketPrefix + "probe/"
	machinesPrefix   = bucketPrefix + "machines/"
	tokensPrefix     = bucketPrefix + "tokens/"
)

const (
	// swaps is how often a Put is tried that was refused although nobody won.
	swaps     = 5
	swapPause = 100 * time.Millisecond
)

// InBucket keeps what machines share.
func InBucket(b *bucket.Bucket) Bucket { return Bucket{b, bucketPrefix} }

// ChallengesIn keeps the answers to a CA's challenges, which any machine gives.
func ChallengesIn(b *bucket.Bucket) Bucket { return Bucket{b, challengesPrefix} }

// MachinesIn keeps the heartbeats of the machines that use the bucket.
func MachinesIn(b *bucket.Bucket) Bucket { return Bucket{b, machinesPrefix} }

// TokensIn keeps the keys of tokens, and the robots.
func TokensIn(b *bucket.Bucket) Bucket { return Bucket{b, tokensPrefix} }

// Where is the address of an object, for messages.
func (b Bucket) Where(key string) string {
	at := b.objects.Settings()
	return "s3://" + path.Join(at.Bucket, at.Root, b.prefix, key)
}

// Time is the service's clock, by the Date of its answer.
func (b Bucket) Time(ctx context.Context) (time.Time, error) { return b.objects.Time(ctx) }

// Get reads an object. One that is shorter than announced is an error: the service's
// answer may be cut off.
func (b Bucket) Get(ctx context.Context, key string) ([]byte, string, error) {
	if !safeKey.MatchString(key) {
		return nil, "", fmt.Errorf("cannot read %q: not a name of an object", key)
	}
	body, object, err := b.objects.Get(ctx, b.prefix+key, 0, -1)
	if errors.Is(err, bucket.ErrNotFound) {
		return nil, "", ErrNotFound
	}
	if err != nil {
		return nil, "", err
	}
	defer body.Close()
	if object.Size > maxObject {
		return nil, "", &Damaged{b.Where(key), "it is larger than any that is written here"}
	}
	data, err := io.ReadAll(io.LimitReader(body, maxObject+1))
	if err == nil && int64(len(data)) != object.Size {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return nil, "", fmt.Errorf("cannot read %s: %w", b.Where(key), err)
	}
	return data, object.ETag, nil
}

// Put replaces an object. A refusal may be caused by our own write, whose answer was
// lost and which was sent again: the object that is there tells. That is why objects
// that must be distinguished have something random in them.
func (b Bucket) Put(ctx context.Context, key string, data []byte, ifVersion string) (string, error) {
	if !safeKey.MatchString(key) {
		return "", fmt.Errorf("cannot write %q: not a name of an object", key)
	}
	condition := bucket.Condition{IfMatch: ifVersion}
	if ifVersion == "" {
		condition = bucket.Condition{IfNoneMatch: "*"}
	}
	for range swaps {
		version, err := b.objects.Put(ctx, b.prefix+key, data, condition)
		switch {
		case err == nil:
			return version, nil
		case errors.Is(err, bucket.ErrConflict):
		case errors.Is(err, bucket.ErrNotFound) && ifVersion != "": // as AWS says it
		default:
			return "", err
		}
		have, version, err := b.Get(ctx, key)
		switch {
		case errors.Is(err, ErrNotFound) && ifVersion != "":
			return "", ErrConflict
		case errors.Is(err, ErrNotFound): // the winner's object was removed
		case err != nil:
			return "", err
		case bytes.Equal(have, data):
			return version, nil
		case version != ifVersion:
			return "", ErrConflict
		}
		// AWS may refuse (409) all that write at the same moment.
		select {
		case <-ctx.Done():
			return "", ctx.Err()
		case <-time.After(swapPause):
		}
	}
	return "", ErrConflict
}

// Overwrite replaces an object whatever is there: it is for objects that one machine alone
// writes, and for services without conditional writes.
func (b Bucket) Overwrite(ctx context.Context, key string, data []byte) (string, error) {
	if !safeKey.MatchString(key) {
		return "", fmt.Errorf("cannot write %q: not a name of an object", key)
	}
	return b.objects.Put(ctx, b.prefix+key, data, bucket.Condition{})
}

// Delete removes an object.
func (b Bucket) Delete(ctx context.Context, key string) error {
	if !safeKey.MatchString(key) {
		return fmt.Errorf("cannot remove %q: not a name of an object", key)
	}
	return b.objects.Delete(ctx, b.prefix+key)
}

// Sweep removes old objects, by the service's clock.
func (b Bucket) Sweep(ctx context.Context, age time.Duration) error {
	var old []string
	now, err := b.Time(ctx)
	if err != nil {
		return err
	}
	for o, err := range b.objects.List(ctx, b.prefix, "", "/") {
		if err != nil {
			return err
		}
		if !o.Prefix && now.Sub(o.Modified).Abs() >= age {
			old = append(old, o.Key)
		}
	}
	return b.objects.Delete(ctx, old...)
}

// Versions are the objects with their versions, at most limit of them.
func (b Bucket) Versions(ctx context.Context, limit int) (map[string]string, error) {
	versions := map[string]string{}
	for o, err := range b.objects.List(ctx, b.prefix, "", "/") {
		switch {
		case err != nil:
			return nil, err
		case o.Prefix:
		case len(versions) == limit:
			return versions, nil
		default:
			versions[strings.TrimPrefix(o.Key, b.prefix)] = o.ETag
		}
	}
	return versions, nil
}
