// Package inventory reads what images a registry has: tags, manifests and what they are
// made of. It changes nothing.
package inventory

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/distribution/distribution/v3/registry/storage/driver"
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"github.com/redoubt-registry/redoubt/appliance/storage/layout"
)

// Repository is one of a registry.
type Repository struct {
	Name      string
	Tags      []Tag // sorted by name
	Manifests map[digest.Digest]*Manifest
	Referrers map[digest.Digest][]digest.Digest // of a subject, sorted
}

// Tag is what a tag points to.
type Tag struct {
	Name   string
	Digest digest.Digest
	Pushed time.Time
}

// Manifest is an image, an index or an artifact.
type Manifest struct {
	Digest       digest.Digest
	MediaType    string
	ArtifactType string
	Size         int64 // bytes of the manifest itself
	Pushed       time.Time
	Config       *v1.Descriptor
	Blobs        []v1.Descriptor // its config and its layers that are kept here
	Children     []v1.Descriptor // manifests that an index lists
	Subject      digest.Digest
	Broken       bool // it cannot be read
}

// Reader reads inventories.
type Reader struct {
	Storage  driver.StorageDriver
	Parallel int // objects that are read at a time
}

// Each calls f with each repository that match takes, by name. A nil match takes all.
func (r Reader) Each(ctx context.Context, match func(name string) bool, f func(*Repository) error) error {
	return layout.EachRepository(ctx, r.Storage, func(name string) error {
		if match != nil && !match(name) {
			return nil
		}
		repo, err := r.Repository(ctx, name)
		if err != nil {
			return err
		}
		return f(repo)
	})
}

// Repository reads one. It reads the manifests before the tags, so that no tag that is
// pushed meanwhile points to what is not known unless it is new.
func (r Reader) Repository(ctx context.Context, name string) (*Repository, error) {
	repo := &Repository{Name: name, Manifests: map[digest.Digest]*Manifest{}, Referrers: map[digest.Digest][]digest.Digest{}}
	var mu sync.Mutex
	group, inner := errgroup.WithContext(ctx)
	group.SetLimit(max(r.Parallel, 1))
	var links []layout.Link
	keep := func(l layout.Link) error { links = append(links, l); return nil }
	if err := layout.EachLink(ctx, r.Storage, name, layout.Revisions, keep, func(string) {}); err != nil {
		return nil, err
	}
	for _, l := range links {
		group.Go(func() error {
			m, gone, err := r.manifest(inner, l)
			if err != nil || gone {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			repo.Manifests[l.Digest] = m
			if m.Subject != "" {
				repo.Referrers[m.Subject] = append(repo.Referrers[m.Subject], m.Digest)
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	for _, list := range repo.Referrers {
		slices.Sort(list)
	}
	return repo, r.tags(ctx, repo)
}

func (r Reader) tags(ctx context.Context, repo *Repository) error {
	var current []layout.Link
	err := layout.EachLink(ctx, r.Storage, repo.Name, layout.Tags, func(l layout.Link) error {
		if l.Current() {
			current = append(current, l)
		}
		return nil
	}, func(string) {})
	if err != nil {
		return err
	}
	var mu sync.Mutex
	group, inner := errgroup.WithContext(ctx)
	group.SetLimit(max(r.Parallel, 1))
	for _, l := range current {
		group.Go(func() error {
			dgst, gone, err := layout.Read(inner, r.Storage, l.Path)
			if gone || errors.As(err, new(*layout.Damage)) {
				return nil // scrub tells of it
			}
			if err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			repo.Tags = append(repo.Tags, Tag{l.Tag, dgst, l.Modified})
			return nil
		})
	}
	err = group.Wait()
	slices.SortFunc(repo.Tags, func(a, b Tag) int { return strings.Compare(a.Name, b.Name) })
	repo.Tags = slices.CompactFunc(repo.Tags, func(a, b Tag) bool { return a.Name == b.Name })
	return err
}

// largest is the size in bytes of the largest manifest.
const largest = 4 << 20

func (r Reader) manifest(ctx context.Context, l layout.Link) (m *Manifest, gone bool, err error) {
	target, gone, err := layout.Read(ctx, r.Storage, l.Path)
	if errors.As(err, new(*layout.Damage)) {
		return &Manifest{Digest: l.Digest, Pushed: l.Modified, Broken: true}, false, nil
	}
	if gone || err != nil {
		return nil, gone, err
	}
	m = &Manifest{Digest: l.Digest, Pushed: l.Modified}
	f, err := r.Storage.Reader(ctx, layout.Path(target), 0)
	if layout.Missing(err) {
		m.Broken = true
		return m, false, nil
	}
	if err != nil {
		return nil, false, fmt.Errorf("cannot read a manifest: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, largest))
	if err != nil {
		return nil, false, fmt.Errorf("cannot read a manifest: %w", err)
	}
	m.Size = int64(len(data))
	m.parse(data)
	return m, false, nil
}

func (m *Manifest) parse(data []byte) {
	var in struct {
		MediaType    string          `json:"mediaType"`
		ArtifactType string          `json:"artifactType"`
		Config       *v1.Descriptor  `json:"config"`
		Layers       []v1.Descriptor `json:"layers"`
		Blobs        []v1.Descriptor `json:"blobs"`
		Manifests    []v1.Descriptor `json:"manifests"`
		Subject      *v1.Descriptor  `json:"subject"`
	}
	if json.Unmarshal(data, &in) != nil {
		m.Broken = true
		return
	}
	m.MediaType, m.ArtifactType, m.Config = in.MediaType, in.ArtifactType, in.Config
	switch {
	case m.MediaType != "":
	case in.Manifests != nil:
		m.MediaType = v1.MediaTypeImageIndex
	default:
		m.MediaType = v1.MediaTypeImageManifest
	}
	if in.Subject != nil && in.Subject.Digest.Validate() == nil {
		m.Subject = in.Subject.Digest
	}
	if in.Config != nil {
		in.Layers = append([]v1.Descriptor{*in.Config}, in.Layers...)
	}
	for _, d := range append(in.Layers, in.Blobs...) {
		if d.Digest.Validate() == nil && len(d.URLs) == 0 {
			m.Blobs = append(m.Blobs, d)
		}
	}
	for _, d := range in.Manifests {
		if d.Digest.Validate() == nil {
			m.Children = append(m.Children, d)
		}
	}
}

// Below calls f once for each manifest that a manifest leads to: itself, and what an
// index lists, in the repository.
func (r *Repository) Below(root digest.Digest, f func(*Manifest)) {
	seen := map[digest.Digest]bool{}
	for next := []digest.Digest{root}; len(next) > 0; {
		dgst := next[0]
		next = next[1:]
		m := r.Manifests[dgst]
		if m == nil || seen[dgst] {
			continue
		}
		seen[dgst] = true
		f(m)
		for _, c := range m.Children {
			next = append(next, c.Digest)
		}
	}
}
