package scrub

import (
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/redoubt-registry/redoubt/appliance/storage/layout"
)

// repositories checks what tags and manifests need, several repositories at a time.
func (s *Scrub) repositories(ctx context.Context) error {
	s.Meter.Begin("manifests", 0, 0)
	group, inner := errgroup.WithContext(ctx)
	group.SetLimit(s.Parallel)
	err := layout.EachRepository(inner, s.Storage, func(name string) error {
		group.Go(func() error {
			r := &repository{Scrub: s, name: name, tags: map[digest.Digest][]string{}, parents: map[digest.Digest][]digest.Digest{}}
			return r.check(inner)
		})
		return nil
	})
	if failed := group.Wait(); failed != nil {
		return failed
	}
	return err
}

// repository is the check of one of them.
type repository struct {
	*Scrub
	name string

	own     sync.Mutex
	tags    map[digest.Digest][]string        // of each manifest
	parents map[digest.Digest][]digest.Digest // what leads to a manifest: an index, or the image that it signs
	links   sizes                             // of layers whose links are right
	found   []found
}

// found is a fault, and how to check that it is still there.
type found struct {
	Fault
	child   bool // it is about a manifest of an index
	confirm func(ctx context.Context) bool
}

// check reads the tags before the revisions: a push makes them in the opposite
// order, so that what a tag needs is there when it is checked.
func (r *repository) check(ctx context.Context) error {
	var tags []layout.Link
	err := layout.EachLink(ctx, r.Storage, r.name, layout.Tags, func(l layout.Link) error {
		if l.Current() {
			tags = append(tags, l)
		}
		return nil
	}, func(string) {})
	if err != nil {
		return err
	}
	slices.SortFunc(tags, func(a, b layout.Link) int { return compare(a.Tag, b.Tag) })
	tags = slices.CompactFunc(tags, func(a, b layout.Link) bool { return a.Tag == b.Tag })
	if err := r.each(len(tags), func(i int) error { return r.tag(ctx, tags[i]) }); err != nil {
		return err
	}
	group := r.group()
	err = layout.EachLink(ctx, r.Storage, r.name, layout.Revisions, func(l layout.Link) error {
		group.Go(func() error { return r.revision(ctx, l) })
		return nil
	}, func(string) {})
	if err := errors.Join(group.Wait(), err); err != nil {
		return err
	}
	r.report(ctx)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.summary.Repositories++
	r.summary.Tags += int64(len(tags))
	return nil
}

func compare(a, b string) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

func (r *repository) group() *errgroup.Group {
	var group errgroup.Group
	group.SetLimit(r.Parallel)
	return &group
}

func (r *repository) each(n int, f func(i int) error) error {
	group := r.group()
	for i := range n {
		group.Go(func() error { return f(i) })
	}
	return group.Wait()
}

// add keeps a fault until the repository has been read.
func (r *repository) add(f Fault, confirm func(ctx context.Context) bool) { r.addOf(f, false, confirm) }

// addOf is add, and tells whether the fault is about a manifest of an index.
func (r *repository) addOf(f Fault, child bool, confirm func(ctx context.Context) bool) {
	r.own.Lock()
	defer r.own.Unlock()
	f.Repository = r.name
	r.found = append(r.found, found{Fault: f, child: child, confirm: confirm})
}

// moment is longer than a registry takes between the steps of a deletion or of a push:
// the check may see one step without the other.
const moment = time.Second

// report reports the faults that are still there a moment later, with their tags.
func (r *repository) report(ctx context.Context) {
	if len(r.found) == 0 || !rest(ctx, moment) {
		return
	}
	for _, f := range r.found {
		if !f.confirm(ctx) || ctx.Err() != nil {
			continue // deleted or moved meanwhile
		}
		if f.Tags == nil {
			f.Tags = r.tagsOf(f.Manifest)
			if f.Manifest != f.Digest && (f.Kind == Missing || f.Kind == Unlinked) && !slices.ContainsFunc(f.Tags, names) {
				if f.child {
					continue // it was deleted
				}
				f.Warning = true
			}
		}
		r.fault(f.Fault)
	}
}

// referrers are the tags that list what refers to an image, where a registry has no
// API for that (OCI distribution, "Referrers Tag Schema"). Clients that delete a
// signature may leave it in the list.
var referrers = regexp.MustCompile(`^sha(256|512)-[0-9a-f]{64,128}$`)

// names tells whether a tag is one that people pull.
func names(tag string) bool { return !referrers.MatchString(tag) }

// tagsOf are the tags that lead to a manifest: its own, those of indexes that have
// it and of images that it signs, and so on.
func (r *repository) tagsOf(dgst digest.Digest) (tags []string) {
	seen := map[digest.Digest]bool{dgst: true}
	for next := []digest.Digest{dgst}; len(next) > 0; next = next[1:] {
		tags = append(tags, r.tags[next[0]]...)
		for _, parent := range r.parents[next[0]] {
			if !seen[parent] {
				seen[parent] = true
				next = append(next, parent)
			}
		}
	}
	slices.Sort(tags)
	return slices.Compact(tags)
}

const pushAgain = "push the image again"

// holds reads a link. It reports one that is damaged, and a storage that cannot be
// read; ok is false then, and if there is no link.
func (r *repository) holds(ctx context.Context, path string, f Fault) (dgst digest.Digest, gone, ok bool, stop error) {
	err := again(ctx, func() (err error) {
		dgst, gone, err = layout.Read(ctx, r.Storage, path)
		return err
	})
	if ctx.Err() != nil {
		return "", false, false, ctx.Err()
	}
	if damage, is := errors.AsType[*layout.Damage](err); is {
		f.Kind, f.Message, f.Do = Link, "link "+damage.Error(), pushAgain
		r.add(f, func(ctx context.Context) bool {
			_, gone, err := layout.Read(ctx, r.Storage, path)
			return !gone && err != nil
		})
		return "", false, false, r.note(nil)
	}
	if err != nil {
		f.Kind, f.Message, f.Do = Unreadable, err.Error(), "look at the storage itself"
		r.add(f, always)
	}
	return dgst, gone, err == nil && !gone, r.note(err)
}

func always(context.Context) bool { return true }

// tag checks what a tag points to.
func (r *repository) tag(ctx context.Context, l layout.Link) error {
	f := Fault{Tags: []string{l.Tag}}
	dgst, _, ok, err := r.holds(ctx, l.Path, f)
	if err != nil || !ok {
		return err
	}
	r.own.Lock()
	r.tags[dgst] = append(r.tags[dgst], l.Tag)
	r.own.Unlock()
	f.Digest = dgst
	revision := layout.LinkPath(r.name, layout.Revisions, dgst)
	if _, gone, _, err := r.holds(ctx, revision, f); err != nil || !gone {
		return err
	}
	f.Kind, f.Message, f.Do = Unlinked, "the tag points to manifest "+string(dgst)+", which the repository does not have", pushAgain+", or delete the tag"
	r.add(f, func(ctx context.Context) bool {
		now, _, err := layout.Read(ctx, r.Storage, l.Path)
		_, gone, _ := layout.Read(ctx, r.Storage, revision)
		return err == nil && now == dgst && gone
	})
	return nil
}

// revision checks a manifest and what it needs.
func (r *repository) revision(ctx context.Context, l layout.Link) error {
	defer r.Meter.Objects.Add(1)
	f := Fault{Manifest: l.Digest, Digest: l.Digest}
	holds, _, ok, err := r.holds(ctx, l.Path, f)
	if err != nil || !ok {
		return err
	}
	still := func(ctx context.Context) bool {
		_, gone, _ := layout.Read(ctx, r.Storage, l.Path)
		return !gone
	}
	if holds != l.Digest {
		f.Kind, f.Message, f.Do = Link, "link "+l.Path+" is damaged: it holds "+string(holds), pushAgain
		r.add(f, still)
		return nil
	}
	refs, why, err := r.load(ctx, l.Digest)
	if err != nil {
		return err
	}
	if why != nil {
		f.Kind, f.Message, f.Do = why.Kind, why.Message, why.Do
		r.add(f, still)
		return nil
	}
	r.manifest.Add(1)
	for _, ref := range refs {
		if err := r.reference(ctx, l.Digest, ref, still); err != nil {
			return err
		}
	}
	return nil
}

// load reads a manifest. The Fault says why it cannot be used.
func (r *repository) load(ctx context.Context, dgst digest.Digest) (refs []reference, why *Fault, stop error) {
	var data []byte
	err := again(ctx, func() error {
		reader, err := r.Storage.Reader(ctx, layout.Path(dgst), 0)
		if err != nil {
			return err
		}
		defer reader.Close()
		if data, err = io.ReadAll(io.LimitReader(reader, largest+1)); err == nil {
			err = r.paid(ctx, len(data))
		}
		return err
	})
	switch {
	case ctx.Err() != nil:
		return nil, nil, ctx.Err()
	case layout.Missing(err):
		return nil, &Fault{Kind: Missing, Message: "the manifest's blob is missing", Do: pushAgain + ", or delete it"}, r.note(nil)
	case err != nil:
		return nil, &Fault{Kind: Unreadable, Message: "cannot read the manifest: " + err.Error(), Do: "look at the storage itself"}, r.note(err)
	case len(data) > largest:
		return nil, &Fault{Kind: Manifest, Message: fmt.Sprintf("the manifest is larger than %d bytes, which no registry accepts", largest), Do: "delete it"}, r.note(nil)
	case dgst.Algorithm().FromBytes(data) != dgst:
		return nil, &Fault{Kind: Damaged, Message: "the manifest is damaged: its bytes have another digest",
			Do: "delete " + layout.Path(dgst)[1:] + " from the storage, reload the registry and " + pushAgain}, r.note(nil)
	}
	if refs, err = references(data); err != nil {
		return nil, &Fault{Kind: Manifest, Message: "the manifest cannot be used: " + err.Error(), Do: "delete it"}, r.note(nil)
	}
	return refs, nil, r.note(nil)
}
