package manifest

import (
	"context"
	"errors"
	"hash/maphash"
	"io"
	"net/http"

	"github.com/distribution/distribution/v3"
	"github.com/distribution/distribution/v3/registry/api/errcode"
	"github.com/distribution/distribution/v3/registry/storage/driver"
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"

	"github.com/redoubt-registry/redoubt/appliance/access/immutable"
	"github.com/redoubt-registry/redoubt/appliance/registry/etag"
	"github.com/redoubt-registry/redoubt/appliance/registry/links"
	"github.com/redoubt-registry/redoubt/appliance/registry/route"
	"github.com/redoubt-registry/redoubt/appliance/storage/fault"
)

// changed is told to a client whose condition does not hold any more.
var changed = errcode.Register("redoubt", errcode.ErrorDescriptor{
	Value: "PRECONDITION_FAILED", HTTPStatusCode: http.StatusPreconditionFailed,
	Message: "the tag is not what If-Match or If-None-Match says: another client has written it",
})

// tags are the tags of a repository.
type tags struct {
	distribution.TagService
	repository string
	links      *links.Links
	immutable  immutable.Rules
}

// Tag implements distribution.TagService. What is put by its digest has its tags
// already: upstream knows a digest that is not sha256 as a tag, see route.Stand. A
// condition is checked and the tag written in one step of this process; another machine
// on the same bucket may come in between.
func (t tags) Tag(ctx context.Context, tag string, desc v1.Descriptor) error {
	q := route.From(ctx)
	if q.Digest != "" {
		return nil
	}
	return t.put(ctx, tag, desc)
}

// put writes a tag under the conditions of the request.
func (t tags) put(ctx context.Context, tag string, desc v1.Descriptor) error {
	q := route.From(ctx)
	unlock, err := tagLocks.lock(ctx, t.repository+":"+tag)
	if err != nil {
		return err
	}
	defer unlock()
	if q.IfMatch != "" || q.IfNoneMatch != "" {
		have, err := t.Get(ctx, tag)
		if err != nil && !errors.As(err, new(distribution.ErrTagUnknown)) {
			return err
		}
		if !holds(q, have.Digest) {
			return fault.Refuse(ctx, changed.WithDetail(nil))
		}
	}
	if t.immutable.Holds(t.repository, tag) {
		return t.create(ctx, tag, desc.Digest)
	}
	return t.TagService.Tag(ctx, tag, desc)
}

// List implements distribution.TagService. A page that is full is the last one where
// there is nothing behind it.
func (t tags) List(ctx context.Context, limit int, last string) ([]string, error) {
	if limit <= 0 {
		return t.TagService.List(ctx, limit, last)
	}
	list, err := t.TagService.List(ctx, limit+1, last)
	if len(list) > limit {
		return list[:limit], nil
	}
	if err == nil {
		err = io.EOF
	}
	return list, err
}

// untagging is how many tags are deleted at a time.
const untagging = 32

// Lookup implements distribution.TagService. Upstream asks for the tags of a manifest
// that it has deleted, to delete them, two at a time: here they are gone already.
func (t tags) Lookup(ctx context.Context, desc v1.Descriptor) ([]string, error) {
	list, err := t.TagService.Lookup(ctx, desc)
	if err != nil {
		return nil, err
	}
	group := errgroup.Group{}
	group.SetLimit(untagging)
	for _, tag := range list {
		group.Go(func() error {
			err := t.Untag(ctx, tag)
			if errors.As(err, new(driver.PathNotFoundError)) { // by another client
				return nil
			}
			return err
		})
	}
	return nil, group.Wait()
}

// holds tells whether a tag that points to have, or to nothing, is what a client wants
// to replace (RFC 9110, 13.2.2).
func holds(q route.Request, have digest.Digest) bool {
	if q.IfMatch != "" {
		return have != "" && etag.Matches(q.IfMatch, have.String())
	}
	return have == "" || !etag.Matches(q.IfNoneMatch, have.String())
}

// keyed are locks by name. Two names may share one, so that who holds a lock takes no
// other of the same table.
type keyed struct {
	seed  maphash.Seed
	locks [256]*semaphore.Weighted
}

// Locks of manifests and of tags, for all configurations of the process. A tag's may be
// taken while a manifest's is held, never the other way round.
var manifestLocks, tagLocks = newKeyed(), newKeyed()

func newKeyed() *keyed {
	k := &keyed{seed: maphash.MakeSeed()}
	for i := range k.locks {
		k.locks[i] = semaphore.NewWeighted(1)
	}
	return k
}

// lock waits for the lock of a name, at most as long as the request lasts.
func (k *keyed) lock(ctx context.Context, name string) (unlock func(), err error) {
	l := k.locks[maphash.String(k.seed, name)%uint64(len(k.locks))]
	if err := l.Acquire(ctx, 1); err != nil {
		return nil, err
	}
	return func() { l.Release(1) }, nil
}
