package inventory

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"github.com/redoubt-registry/redoubt/appliance/storage/layout"
)

// Image is a tag of a repository, or a manifest that no tag, index or subject holds.
type Image struct {
	Repository   string        `json:"repository"`
	Tag          string        `json:"tag,omitempty"`
	Digest       digest.Digest `json:"digest"`
	MediaType    string        `json:"mediaType"`
	ArtifactType string        `json:"artifactType,omitempty"`
	Size         int64         `json:"size"` // bytes of all that it leads to, each blob once
	Own          int64         `json:"own"`  // of these, what no other image of the registry has
	Pushed       time.Time     `json:"pushed"`
	Platforms    []string      `json:"platforms,omitempty"`
	Referrers    int           `json:"referrers"`
}

// Usage is the space of a repository.
type Usage struct {
	Repository string `json:"repository"`
	Tags       int    `json:"tags"`
	Manifests  int    `json:"manifests"`
	Size       int64  `json:"size"` // bytes, each blob once
	Own        int64  `json:"own"`  // of these, what no other repository has
}

// owners tells which of several things has a blob alone.
type owners[K comparable] struct {
	of     map[digest.Digest]K
	shared map[digest.Digest]bool
}

func newOwners[K comparable]() owners[K] {
	return owners[K]{map[digest.Digest]K{}, map[digest.Digest]bool{}}
}

func (o owners[K]) add(who K, blobs map[digest.Digest]int64) {
	for dgst := range blobs {
		if before, ok := o.of[dgst]; ok && before != who {
			o.shared[dgst] = true
		}
		o.of[dgst] = who
	}
}

// sum is the size of blobs, and of those that only one has.
func (o owners[K]) sum(blobs map[digest.Digest]int64) (all, own int64) {
	for dgst, size := range blobs {
		all += size
		if !o.shared[dgst] {
			own += size
		}
	}
	return all, own
}

// root is a manifest that an image begins with.
type root struct {
	repository string
	digest     digest.Digest
}

// Images are those of the repositories that match takes, sorted. All repositories are
// read, since they share blobs.
func (r Reader) Images(ctx context.Context, match func(name string) bool) ([]Image, error) {
	type found struct {
		image Image
		blobs map[digest.Digest]int64
		repo  *Repository
	}
	var all []found
	who := newOwners[root]()
	err := r.Each(ctx, nil, func(repo *Repository) error {
		for dgst, names := range repo.roots() {
			blobs := repo.blobs(dgst)
			who.add(root{repo.Name, dgst}, blobs)
			if match != nil && !match(repo.Name) {
				continue
			}
			for _, t := range names {
				image := Image{Repository: repo.Name, Tag: t.Name, Digest: dgst, Pushed: t.Pushed.UTC(), Referrers: len(repo.Referrers[dgst])}
				if m := repo.Manifests[dgst]; m != nil {
					image.MediaType, image.ArtifactType, image.Platforms = m.MediaType, m.ArtifactType, platforms(m)
				}
				all = append(all, found{image, blobs, repo})
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	group, inner := errgroup.WithContext(ctx)
	group.SetLimit(max(r.Parallel, 1))
	for i := range all {
		f := &all[i]
		f.image.Size, f.image.Own = who.sum(f.blobs)
		m := f.repo.Manifests[f.image.Digest]
		if m == nil || m.Config == nil || !strings.Contains(m.Config.MediaType, "image") {
			continue
		}
		group.Go(func() (err error) {
			f.image.Platforms, err = r.platform(inner, m.Config.Digest)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	images := make([]Image, 0, len(all))
	for _, f := range all {
		images = append(images, f.image)
	}
	slices.SortFunc(images, func(a, b Image) int {
		return strings.Compare(a.Repository+"\x00"+a.Tag+"\x00"+string(a.Digest), b.Repository+"\x00"+b.Tag+"\x00"+string(b.Digest))
	})
	return images, nil
}

// Usage is the space of each repository, and of all together, where each blob counts once.
func (r Reader) Usage(ctx context.Context) (list []Usage, total Usage, err error) {
	who := newOwners[string]()
	each := map[string]map[digest.Digest]int64{}
	all := map[digest.Digest]int64{}
	err = r.Each(ctx, nil, func(repo *Repository) error {
		blobs := map[digest.Digest]int64{}
		for dgst := range repo.Manifests {
			maps.Copy(blobs, repo.blobs(dgst))
		}
		who.add(repo.Name, blobs)
		maps.Copy(all, blobs)
		each[repo.Name] = blobs
		list = append(list, Usage{Repository: repo.Name, Tags: len(repo.Tags), Manifests: len(repo.Manifests)})
		return nil
	})
	for i := range list {
		list[i].Size, list[i].Own = who.sum(each[list[i].Repository])
		total.Tags += list[i].Tags
		total.Manifests += list[i].Manifests
	}
	for _, size := range all {
		total.Size += size
	}
	slices.SortFunc(list, func(a, b Usage) int { return strings.Compare(a.Repository, b.Repository) })
	return list, total, err
}

// roots are the manifests with tags, and those that nothing in the repository holds, with
// one tag that has no name.
func (r *Repository) roots() map[digest.Digest][]Tag {
	roots := map[digest.Digest][]Tag{}
	for _, t := range r.Tags {
		roots[t.Digest] = append(roots[t.Digest], t)
	}
	held := map[digest.Digest]bool{}
	for _, m := range r.Manifests {
		for _, c := range m.Children {
			held[c.Digest] = true
		}
	}
	for dgst, m := range r.Manifests {
		if roots[dgst] == nil && !held[dgst] && r.Manifests[m.Subject] == nil {
			roots[dgst] = []Tag{{Digest: dgst, Pushed: m.Pushed}}
		}
	}
	return roots
}

// blobs are all that a manifest leads to, and itself, with their sizes in bytes.
func (r *Repository) blobs(root digest.Digest) map[digest.Digest]int64 {
	all := map[digest.Digest]int64{}
	r.Below(root, func(m *Manifest) {
		all[m.Digest] = m.Size
		for _, b := range m.Blobs {
			all[b.Digest] = b.Size
		}
	})
	return all
}

// platforms are those that an index says.
func platforms(m *Manifest) (list []string) {
	for _, c := range m.Children {
		if c.Platform != nil && c.Platform.OS != "unknown" {
			list = append(list, name(*c.Platform))
		}
	}
	return list
}

func name(p v1.Platform) string {
	text := p.OS + "/" + p.Architecture
	if p.Variant != "" {
		text += "/" + p.Variant
	}
	return text
}

// platform is the one that the configuration of an image says; empty: it says none.
func (r Reader) platform(ctx context.Context, config digest.Digest) ([]string, error) {
	f, err := r.Storage.Reader(ctx, layout.Path(config), 0)
	if layout.Missing(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read the configuration of an image: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, largest))
	if err != nil {
		return nil, fmt.Errorf("cannot read the configuration of an image: %w", err)
	}
	var p v1.Platform
	if json.Unmarshal(data, &p) != nil || p.OS == "" || p.Architecture == "" {
		return nil, nil
	}
	return []string{name(p)}, nil
}
