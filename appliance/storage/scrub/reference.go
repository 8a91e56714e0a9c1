package scrub

import (
	"context"
	"errors"
	"fmt"

	"github.com/opencontainers/go-digest"

	"github.com/redoubt-registry/redoubt/appliance/storage/layout"
)

// reference checks one thing that a manifest needs.
func (r *repository) reference(ctx context.Context, parent digest.Digest, ref reference, still func(context.Context) bool) error {
	f := Fault{Manifest: parent, Digest: ref.digest, Warning: ref.kind == subject}
	parts := []string{layout.Layers}
	if ref.kind == manifest || ref.kind == subject {
		r.own.Lock()
		if ref.kind == manifest {
			r.parents[ref.digest] = append(r.parents[ref.digest], parent)
		} else {
			r.parents[parent] = append(r.parents[parent], ref.digest)
		}
		r.own.Unlock()
		parts = []string{layout.Revisions, layout.Layers} // an index of a build's cache has layers
	}
	holds, linked, err := r.linked(ctx, parts, ref.digest, f)
	if err != nil {
		return err
	}
	if linked == nil {
		return nil // reported
	}
	if holds == "" {
		holds = ref.digest
	}
	size, there, err := r.size(ctx, holds)
	if err != nil {
		f.Kind, f.Message, f.Do = Unreadable, fmt.Sprintf("cannot look for %s %s: %v", ref.kind, ref.digest, err), "look at the storage itself"
		r.add(f, always)
		return errors.Join(ctx.Err(), r.note(err))
	}
	what := ref.kind + " " + string(ref.digest)
	unchanged := func(ctx context.Context) bool {
		info, err := r.Storage.Stat(ctx, layout.Path(holds))
		return still(ctx) && (layout.Missing(err) || err == nil && ref.size >= 0 && info.Size() != ref.size)
	}
	switch {
	case ref.kind == subject && (!there || !*linked):
		f.Kind, f.Message, f.Do = Subject, "its "+what+" is gone", "delete it, if the image that it signs or describes is gone for good"
		r.add(f, still)
	case !there:
		f.Kind, f.Message, f.Do = Missing, what+" is missing", pushAgain
		r.addOf(f, ref.kind == manifest, unchanged)
	case r.isDamaged(holds):
		f.Kind, f.Message, f.Do = Damaged, what+" is damaged", "delete "+layout.Path(holds)[1:]+" from the storage, reload the registry and "+pushAgain
		r.add(f, still)
	case ref.size >= 0 && size != ref.size:
		f.Kind, f.Message, f.Do = Damaged, fmt.Sprintf("%s has %d bytes, and %d in the manifest", what, size, ref.size), "build the image again and push it"
		r.add(f, unchanged)
	case !*linked:
		f.Kind, f.Message, f.Do = Unlinked, what+" is there, but not in the repository", pushAgain
		r.addOf(f, ref.kind == manifest, func(ctx context.Context) bool {
			_, gone, _ := layout.Read(ctx, r.Storage, layout.LinkPath(r.name, parts[0], ref.digest))
			return gone && still(ctx)
		})
	}
	return nil
}

// linked tells whether the repository has a link to dgst in one of parts, and what it
// holds. It returns nil for a link that cannot be used, which was reported.
func (r *repository) linked(ctx context.Context, parts []string, dgst digest.Digest, f Fault) (digest.Digest, *bool, error) {
	yes, no := true, false
	if _, known := r.links.get(dgst); known {
		return dgst, &yes, nil
	}
	for _, part := range parts {
		holds, gone, ok, err := r.holds(ctx, layout.LinkPath(r.name, part, dgst), f)
		if err != nil {
			return "", nil, err
		}
		if ok {
			if holds == dgst {
				r.links.put(dgst, 0)
			}
			return holds, &yes, nil
		}
		if !gone {
			return "", nil, nil
		}
	}
	return "", &no, nil
}

// size is that of a blob.
func (r *repository) size(ctx context.Context, dgst digest.Digest) (size int64, there bool, err error) {
	if size, known := r.sizes.get(dgst); known {
		return size, true, nil
	}
	err = again(ctx, func() error {
		info, err := r.Storage.Stat(ctx, layout.Path(dgst))
		if err == nil {
			size = info.Size()
		}
		return err
	})
	if layout.Missing(err) {
		return 0, false, nil
	}
	if err == nil {
		r.sizes.put(dgst, size)
	}
	return size, err == nil, err
}

func (s *Scrub) isDamaged(dgst digest.Digest) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.damaged[dgst]
}
