package referrers

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/redoubt-registry/redoubt/appliance/storage/layout"
)

const (
	// makeWait is how long a request waits until a repository's files are made.
	makeWait = 20 * time.Second
	// makeTime is for one repository, of however many manifests.
	makeTime = time.Hour
)

// ErrMaking says that the files of a repository are being made. It is over by itself.
var ErrMaking = errors.New("the repository's referrers are being looked for")

// make makes the files of a repository once: one that another registry has filled
// has none. Manifests that are put meanwhile get theirs when they are put.
func (i *Index) make(ctx context.Context, repository string) error {
	if i.whole.Contains(repository) {
		return nil
	}
	_, err := i.links.Driver.Stat(ctx, layout.ReferrersWhole(repository))
	if err == nil {
		i.whole.Add(repository, true)
		return nil
	}
	if !layout.Missing(err) {
		return fmt.Errorf("cannot look for referrers: %w", err)
	}
	done := i.making.DoChan(repository, func() (any, error) { return nil, i.makeAll(repository) })
	select {
	case result := <-done:
		return result.Err
	case <-time.After(makeWait):
		return ErrMaking
	case <-ctx.Done():
		return ctx.Err()
	}
}

// makeAll outlives the request that asks for it first.
func (i *Index) makeAll(repository string) error {
	ctx, cancel := context.WithTimeout(context.Background(), makeTime)
	defer cancel()
	group, inner := errgroup.WithContext(ctx)
	group.SetLimit(parallel)
	manifests, began := 0, time.Now()
	err := layout.EachLink(inner, i.links.Driver, repository, layout.Revisions, func(l layout.Link) error {
		manifests++
		group.Go(func() error {
			data, err := i.links.Read(inner, repository, l.Digest)
			if err != nil {
				return err
			}
			return i.Add(inner, repository, l.Digest, data)
		})
		return nil
	}, func(string) {})
	// What has failed first ends the other.
	if failed := group.Wait(); failed != nil {
		err = failed
	}
	if err == nil && manifests > 0 {
		err = i.links.Driver.PutContent(ctx, layout.ReferrersWhole(repository), []byte(time.Now().UTC().Format(time.RFC3339)))
	}
	if err != nil {
		i.log("cannot look for the referrers of "+repository+"; the next request tries again", err)
		return err
	}
	if manifests > 0 {
		i.whole.Add(repository, true)
	}
	if took := time.Since(began); took > time.Second {
		i.log(fmt.Sprintf("looked for the referrers of %s: %d manifests in %v", repository, manifests, took.Round(time.Millisecond)), nil)
	}
	return nil
}
