package registry

import (
	"context"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/redoubt-registry/redoubt/appliance/registry/links"
	"github.com/redoubt-registry/redoubt/appliance/registry/referrers"
	"github.com/redoubt-registry/redoubt/appliance/registry/route"
	"github.com/redoubt-registry/redoubt/appliance/registry/space"
	"github.com/redoubt-registry/redoubt/appliance/storage/mount"
	"github.com/redoubt-registry/redoubt/appliance/storage/trash"
)

// mounting puts manifests by reference.
type mounting struct {
	links     *links.Links
	referrers *referrers.Index
	guard     *trash.Guard
	space     *space.Keeper // nil: no quotas
}

// mount finds what an image of another repository consists of, and links the repository of
// q to its blobs. Tags of signatures that the repository has already are left out.
func (m mounting) mount(ctx context.Context, q route.Request) ([]mount.Manifest, error) {
	d := m.links.Driver
	from := mount.Source{Storage: d, Repository: q.From}
	if q.Referrers {
		from.Referrers = func(ctx context.Context, subject digest.Digest) (all []digest.Digest, err error) {
			return m.of(ctx, q.From, subject)
		}
	}
	list, err := from.Find(ctx, q.Mount)
	if err != nil {
		return nil, err
	}
	to := mount.Target{Storage: d, Repository: q.Name, Ensure: m.guard.Ensure}
	for i := range list {
		if list[i].Tag == "" {
			continue
		}
		have, err := to.Have(ctx, list[i].Tag)
		if err != nil {
			return nil, err
		}
		if have != "" {
			list[i].Tag = ""
		}
	}
	var blobs []digest.Digest
	for _, part := range list {
		for _, b := range part.Blobs {
			blobs = append(blobs, b.Digest)
		}
	}
	end, err := m.space.Mount(ctx, q.Name, q.From, blobs...)
	if err != nil {
		return nil, err
	}
	err = to.Blobs(ctx, q.From, list)
	if failed := end(ctx, true); err == nil { // some may be there
		err = failed
	}
	return list, err
}

// of are the manifests of a repository that refer to a subject.
func (m mounting) of(ctx context.Context, repository string, subject digest.Digest) (all []digest.Digest, err error) {
	for more := true; more; {
		var list []v1.Descriptor
		after := digest.Digest("")
		if len(all) > 0 {
			after = all[len(all)-1]
		}
		if list, more, err = m.referrers.List(ctx, repository, subject, "", after, referrersAtOnce); err != nil {
			return nil, err
		}
		for _, desc := range list {
			all = append(all, desc.Digest)
		}
	}
	return all, nil
}

const referrersAtOnce = 1000
