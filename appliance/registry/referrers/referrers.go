// Package referrers keeps, beside the manifests of a repository, what refers to them:
// signatures, bills of materials and the like (OCI distribution specification 1.1,
// "Listing Referrers").
//
// Each referrer is a file of its own, so that machines which share a storage lose
// nothing by writing at the same time. The files can be made again from the manifests:
// that is done when a repository is asked that another registry has filled. What a
// client lists itself, in a tag of the form sha256-HEX, is shown as well.
package referrers

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/singleflight"

	"github.com/redoubt-registry/redoubt/appliance/registry/links"
	"github.com/redoubt-registry/redoubt/appliance/storage/layout"
)

const (
	// parallel is how many files are read at a time.
	parallel = 16
	// known is how many descriptors are kept in memory, each of at most knownSize bytes.
	known, knownSize = 4096, 2 << 10
	// largest is the size in bytes of the largest list, as of a manifest.
	largest = 4 << 20
)

// Index finds what refers to a manifest. Its methods may be called side by side.
type Index struct {
	links  *links.Links
	log    func(text string, err error)
	known  *lru.Cache[digest.Digest, v1.Descriptor]
	whole  *lru.Cache[string, bool] // repositories whose files are all there
	making singleflight.Group
}

// New makes an index of the storage that l writes to. The log function is told what is
// made again, and why that failed.
func New(l *links.Links, log func(text string, err error)) *Index {
	i := &Index{links: l, log: log}
	i.known, _ = lru.New[digest.Digest, v1.Descriptor](known) // fails for sizes below one
	i.whole, _ = lru.New[string, bool](known)
	return i
}

// Subject is what the manifest in data refers to, "" for nothing.
func Subject(data []byte) digest.Digest { return layout.ReferencesOf(data).Subject }

// Add notes what a manifest of a repository refers to, if it does.
func (i *Index) Add(ctx context.Context, repository string, dgst digest.Digest, data []byte) error {
	desc, subject := layout.Describe(dgst, data)
	if subject == "" {
		return nil
	}
	return i.write(ctx, repository, subject, desc)
}

func (i *Index) write(ctx context.Context, repository string, subject digest.Digest, desc v1.Descriptor) error {
	data, err := json.Marshal(desc)
	if err != nil {
		return fmt.Errorf("cannot describe a referrer: %w", err)
	}
	if err := i.links.Driver.PutContent(ctx, layout.ReferrerPath(repository, subject, desc.Digest), data); err != nil {
		return fmt.Errorf("cannot note a referrer: %w", err)
	}
	return nil
}

// Remove forgets that a manifest with the content data refers to another one.
func (i *Index) Remove(ctx context.Context, repository string, dgst digest.Digest, data []byte) error {
	subject := Subject(data)
	if subject == "" {
		return nil
	}
	err := i.links.Driver.Delete(ctx, layout.ReferrerPath(repository, subject, dgst))
	if err != nil && !layout.Missing(err) {
		return fmt.Errorf("cannot forget a referrer: %w", err)
	}
	return nil
}

// List returns what refers to a subject in a repository, sorted by digest: those behind
// after, of one artifact type if that is not empty, at most most of them, and as many
// as an index of largest bytes holds. more tells whether there are others. An error is
// ErrMaking, or the storage's.
func (i *Index) List(ctx context.Context, repository string, subject digest.Digest, artifactType string, after digest.Digest, most int) (list []v1.Descriptor, more bool, err error) {
	if err := i.make(ctx, repository); err != nil {
		return nil, false, err
	}
	digests, err := i.digests(ctx, repository, subject)
	if err != nil {
		return nil, false, err
	}
	at, found := slices.BinarySearch(digests, after)
	if found {
		at++
	}
	room := largest / 2
	for digests = digests[at:]; len(digests) > 0; {
		n := min(parallel, len(digests))
		descs, err := i.descriptors(ctx, repository, subject, digests[:n])
		if err != nil {
			return nil, false, err
		}
		digests = digests[n:]
		for _, desc := range descs {
			if artifactType != "" && desc.ArtifactType != artifactType {
				continue
			}
			size := sizeOf(desc)
			if len(list) == most || len(list) > 0 && size > room {
				return list, true, nil
			}
			list, room = append(list, desc), room-size
		}
	}
	return list, false, nil
}

// digests are what may refer to a subject, by the files and by the tag that clients
// keep, sorted.
func (i *Index) digests(ctx context.Context, repository string, subject digest.Digest) ([]digest.Digest, error) {
	files, err := i.links.Driver.List(ctx, layout.ReferrersPath(repository, subject))
	if err != nil && !layout.Missing(err) {
		return nil, fmt.Errorf("cannot list referrers: %w", err)
	}
	list, err := i.fallback(ctx, repository, subject)
	if err != nil {
		return nil, err
	}
	for _, file := range files {
		if dgst, ok := layout.ReferrerAt(file); ok {
			list = append(list, dgst)
		}
	}
	slices.Sort(list)
	return slices.Compact(list), nil
}

// fallback is what the tag lists that clients keep. A tag that holds something else
// lists nothing.
func (i *Index) fallback(ctx context.Context, repository string, subject digest.Digest) ([]digest.Digest, error) {
	dgst, gone, err := layout.Read(ctx, i.links.Driver, layout.TagPath(repository, layout.FallbackTag(subject)))
	if _, damaged := errors.AsType[*layout.Damage](err); gone || damaged {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	data, err := i.links.Read(ctx, repository, dgst)
	if err != nil || data == nil {
		return nil, err
	}
	var index v1.Index
	if json.Unmarshal(data, &index) != nil {
		return nil, nil
	}
	var list []digest.Digest
	for _, m := range index.Manifests {
		if m.Digest.Validate() == nil {
			list = append(list, m.Digest)
		}
	}
	return list, nil
}

// descriptors describes those that are in the repository, in their order: another
// registry may have deleted some.
func (i *Index) descriptors(ctx context.Context, repository string, subject digest.Digest, digests []digest.Digest) ([]v1.Descriptor, error) {
	all := make([]v1.Descriptor, len(digests))
	group, inner := errgroup.WithContext(ctx)
	for n, dgst := range digests {
		group.Go(func() (err error) {
			all[n], err = i.descriptor(inner, repository, subject, dgst)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	return slices.DeleteFunc(all, func(d v1.Descriptor) bool { return d.Digest == "" }), nil
}

// descriptor describes one, if it is in the repository.
func (i *Index) descriptor(ctx context.Context, repository string, subject, dgst digest.Digest) (v1.Descriptor, error) {
	target, gone, err := layout.Read(ctx, i.links.Driver, layout.LinkPath(repository, layout.Revisions, dgst))
	if _, damaged := errors.AsType[*layout.Damage](err); gone || damaged {
		return v1.Descriptor{}, nil
	}
	if err != nil {
		return v1.Descriptor{}, err
	}
	if desc, ok := i.known.Get(dgst); ok {
		return desc, nil
	}
	var desc v1.Descriptor
	data, err := i.links.Driver.GetContent(ctx, layout.ReferrerPath(repository, subject, dgst))
	if err == nil && json.Unmarshal(data, &desc) == nil && desc.Digest == dgst {
		return i.keep(desc, len(data)), nil
	}
	if err != nil && !layout.Missing(err) {
		return v1.Descriptor{}, fmt.Errorf("cannot read a referrer: %w", err)
	}
	if data, err = i.links.Content(ctx, target); err != nil || data == nil {
		return v1.Descriptor{}, err
	}
	desc, _ = layout.Describe(dgst, data)
	return i.keep(desc, sizeOf(desc)), nil
}

func (i *Index) keep(desc v1.Descriptor, size int) v1.Descriptor {
	if size <= knownSize && desc.Digest != "" {
		i.known.Add(desc.Digest, desc)
	}
	return desc
}

// sizeOf is about how many bytes a descriptor has in an index.
func sizeOf(desc v1.Descriptor) int {
	size := 256 + len(desc.MediaType) + len(desc.ArtifactType)
	for name, value := range desc.Annotations {
		size += len(name) + len(value) + 8
	}
	return cmp.Or(size, 1)
}
