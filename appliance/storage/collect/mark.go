package collect

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/distribution/distribution/v3/registry/storage/driver"
	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/redoubt-registry/redoubt/appliance/storage/layout"
)

// marking finds out what is needed. What it finds in several looks at the storage adds
// up; each manifest is read once.
type marking struct {
	storage  driver.StorageDriver
	parallel int
	untagged bool                                        // whether manifests without a tag may go
	may      func(repository string, l layout.Link) bool // whether one may all the same; nil: none
	young    time.Time                                   // what is younger is needed

	mu     sync.Mutex
	known  map[key]*references
	needed map[key]struct{} // blobs
	links  map[string]bool  // of manifests that something holds, by their paths
	free   map[string]bool  // of manifests that nothing holds; of the last look
	broken int64            // tags and links that lead nowhere, of the last look
	seen   int64            // manifests, of the last look
}

func newMarking(d driver.StorageDriver, parallel int, untagged bool, young time.Time) *marking {
	return &marking{storage: d, parallel: parallel, untagged: untagged, young: young,
		known: map[key]*references{}, needed: map[key]struct{}{}, links: map[string]bool{}}
}

// look goes through all repositories.
func (m *marking) look(ctx context.Context) error {
	m.free, m.broken, m.seen = map[string]bool{}, 0, 0
	return layout.EachRepository(ctx, m.storage, func(name string) error {
		r := &repository{marking: m, name: name, links: map[digest.Digest]layout.Link{}, kept: map[digest.Digest]bool{}}
		return r.mark(ctx)
	})
}

func (m *marking) needs(dgst digest.Digest) bool {
	_, ok := m.needed[keyOf(dgst)]
	return ok
}

// repository is one of them.
type repository struct {
	*marking
	name      string
	links     map[digest.Digest]layout.Link
	referrers map[digest.Digest][]digest.Digest // of a subject
	kept      map[digest.Digest]bool
}

// mark reads the manifests before the tags: a tag that comes in between keeps what it
// points to.
func (r *repository) mark(ctx context.Context) error {
	err := layout.EachLink(ctx, r.storage, r.name, layout.Revisions, func(l layout.Link) error {
		r.links[l.Digest] = l
		return nil
	}, func(string) {})
	if err != nil {
		return err
	}
	if err := r.loadAll(ctx); err != nil {
		return err
	}
	roots, unsure, err := r.tags(ctx)
	if err != nil {
		return err
	}
	for dgst, l := range r.links {
		free := r.untagged || r.may != nil && r.may(r.name, l)
		if !free || unsure || l.Modified.After(r.young) {
			roots = append(roots, dgst)
		}
	}
	for _, root := range roots {
		if err := r.keep(ctx, root); err != nil {
			return err
		}
	}
	r.seen += int64(len(r.links))
	for dgst, l := range r.links {
		if !r.kept[dgst] {
			r.free[l.Path] = true
		}
	}
	return nil
}

// loadAll reads the manifests.
func (r *repository) loadAll(ctx context.Context) error {
	group, inner := errgroup.WithContext(ctx)
	group.SetLimit(r.parallel)
	var mu sync.Mutex
	r.referrers = map[digest.Digest][]digest.Digest{}
	for dgst := range r.links {
		group.Go(func() error {
			refs, err := r.of(inner, dgst)
			if err == nil && refs.subject != "" {
				mu.Lock()
				defer mu.Unlock()
				r.referrers[refs.subject] = append(r.referrers[refs.subject], dgst)
			}
			return err
		})
	}
	return group.Wait()
}

// of reads a manifest of the repository, which another registry may keep under a digest
// of its own.
func (r *repository) of(ctx context.Context, dgst digest.Digest) (*references, error) {
	refs, err := r.load(ctx, dgst)
	if err != nil || refs.there || dgst.Algorithm() == digest.Canonical {
		return refs, err
	}
	target, ok, err := r.target(ctx, layout.LinkPath(r.name, layout.Revisions, dgst))
	if err != nil || !ok {
		return refs, err
	}
	return r.load(ctx, target)
}

// tags are what the tags point to. unsure means that one cannot be read.
func (r *repository) tags(ctx context.Context) (roots []digest.Digest, unsure bool, err error) {
	var current []string
	err = layout.EachLink(ctx, r.storage, r.name, layout.Tags, func(l layout.Link) error {
		if l.Current() {
			current = append(current, l.Path)
		}
		return nil
	}, func(string) {})
	if err != nil {
		return nil, false, err
	}
	group, inner := errgroup.WithContext(ctx)
	group.SetLimit(r.parallel)
	var mu sync.Mutex
	for _, p := range current {
		group.Go(func() error {
			dgst, gone, err := layout.Read(inner, r.storage, p)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case gone:
			case errors.As(err, new(*layout.Damage)):
				unsure = true
				r.broken++
			case err != nil:
				return err
			default:
				roots = append(roots, dgst)
			}
			return nil
		})
	}
	return roots, unsure, group.Wait()
}

// keep keeps a manifest, what it leads to, and what refers to it.
func (r *repository) keep(ctx context.Context, root digest.Digest) error {
	for next := []digest.Digest{root}; len(next) > 0; {
		dgst := next[len(next)-1]
		next = next[:len(next)-1]
		if r.kept[dgst] {
			continue
		}
		r.kept[dgst] = true
		refs, err := r.of(ctx, dgst)
		if err != nil {
			return err
		}
		if err := r.need(ctx, dgst, refs); err != nil {
			return err
		}
		next = append(append(next, refs.children...), r.referrers[dgst]...)
		if _, ok := r.links[refs.subject]; ok {
			next = append(next, refs.subject)
		}
	}
	return nil
}

// need notes what a manifest that is kept needs.
func (r *repository) need(ctx context.Context, dgst digest.Digest, refs *references) error {
	if _, linked := r.links[dgst]; linked && !refs.there {
		r.broken++
	}
	foreign := refs.foreign
	if dgst.Algorithm() != digest.Canonical {
		foreign = append([]digest.Digest{dgst}, foreign...)
	}
	r.needed[keyOf(dgst)] = struct{}{}
	r.marking.links[layout.LinkPath(r.name, layout.Revisions, dgst)] = true
	for _, k := range refs.blobs {
		r.needed[k] = struct{}{}
	}
	for _, f := range foreign {
		for _, part := range []string{layout.Layers, layout.Revisions} {
			target, ok, err := r.target(ctx, layout.LinkPath(r.name, part, f))
			if err != nil {
				return err
			}
			if ok {
				r.needed[keyOf(target)] = struct{}{}
			}
		}
	}
	return nil
}

// target reads a link. One that is damaged leads nowhere.
func (r *repository) target(ctx context.Context, p string) (digest.Digest, bool, error) {
	dgst, gone, err := layout.Read(ctx, r.storage, p)
	if errors.As(err, new(*layout.Damage)) {
		return "", false, nil
	}
	return dgst, !gone && err == nil, err
}
