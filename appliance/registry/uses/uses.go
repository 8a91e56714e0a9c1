// Package uses finds what needs a blob or a manifest, so that nothing is deleted that an
// image in the repository is made of.
package uses

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/distribution/distribution/v3/registry/api/errcode"
	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/redoubt-registry/redoubt/appliance/registry/links"
	"github.com/redoubt-registry/redoubt/appliance/storage/fault"
	"github.com/redoubt-registry/redoubt/appliance/storage/layout"
)

const (
	// parallel is how many manifests are read at a time.
	parallel = 16
	// known is how many manifests it is remembered of what they need.
	known = 20_000
	// wait bounds one search. What was found until then is not looked for again.
	wait = 20 * time.Second
)

var (
	inUse = errcode.Register("redoubt", errcode.ErrorDescriptor{
		Value: "IN_USE", HTTPStatusCode: http.StatusConflict,
		Message: "cannot delete it: another manifest of the repository needs it; delete that first",
	})
	busy = errcode.Register("redoubt", errcode.ErrorDescriptor{
		Value: "UNAVAILABLE_YET", HTTPStatusCode: http.StatusServiceUnavailable,
		Message: "cannot delete it yet: whether another manifest needs it is still looked for; try again",
	})
)

// Index finds what needs what. Its methods may be called side by side.
type Index struct {
	links *links.Links
	known *lru.Cache[digest.Digest, []digest.Digest]
}

// New makes an index of the storage that l writes to.
func New(l *links.Links) *Index {
	known, _ := lru.New[digest.Digest, []digest.Digest](known) // fails for sizes below one
	return &Index{links: l, known: known}
}

// Free refuses a request that would delete what a manifest of the repository needs. A
// manifest that is pushed meanwhile may not be seen.
func (i *Index) Free(ctx context.Context, repository string, dgst digest.Digest) error {
	by, err := i.of(ctx, repository, dgst)
	switch {
	case errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil:
		return fault.Refuse(ctx, busy.WithDetail(nil))
	case err != nil:
		return err
	case by != "":
		return fault.Refuse(ctx, inUse.WithDetail(map[string]string{"by": by.String()}))
	}
	return nil
}

// Needed tells whether a manifest of the repository needs a blob. Where it takes too long
// to find out the answer is no.
func (i *Index) Needed(ctx context.Context, repository string, dgst digest.Digest) (bool, error) {
	by, err := i.of(ctx, repository, dgst)
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		return false, nil
	}
	return by != "", err
}

// of is a manifest that needs dgst, "" if none does.
func (i *Index) of(ctx context.Context, repository string, dgst digest.Digest) (by digest.Digest, err error) {
	bounded, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	group, inner := errgroup.WithContext(bounded)
	group.SetLimit(parallel)
	var mu sync.Mutex
	err = layout.EachLink(inner, i.links.Driver, repository, layout.Revisions, func(l layout.Link) error {
		group.Go(func() error {
			needed, err := i.needs(inner, repository, l.Digest)
			if err == nil && l.Digest != dgst && slices.Contains(needed, dgst) {
				mu.Lock()
				defer mu.Unlock()
				by = l.Digest
			}
			return err
		})
		return nil
	}, func(string) {})
	if failed := group.Wait(); failed != nil {
		err = failed
	}
	if bounded.Err() != nil {
		err = bounded.Err()
	}
	return by, err
}

// needs is what a manifest is made of.
func (i *Index) needs(ctx context.Context, repository string, dgst digest.Digest) ([]digest.Digest, error) {
	if list, ok := i.known.Get(dgst); ok {
		return list, nil
	}
	data, err := i.links.Read(ctx, repository, dgst)
	if err != nil || data == nil {
		return nil, err
	}
	list := parts(data)
	i.known.Add(dgst, list)
	return list, nil
}

// parts reads what a manifest is made of: not what it refers to as its subject.
func parts(data []byte) (list []digest.Digest) {
	refs := layout.ReferencesOf(data)
	for _, d := range slices.Concat(refs.Blobs, refs.Manifests) {
		list = append(list, d.Digest)
	}
	slices.Sort(list)
	return slices.Clip(slices.Compact(list))
}
