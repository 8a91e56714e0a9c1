package retention

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/redoubt-registry/redoubt/appliance/storage/inventory"
	"github.com/redoubt-registry/redoubt/appliance/storage/pulls"
)

// Image is a tag of a repository that a rule is for, and what becomes of it.
type Image struct {
	Repository string
	Verdict
	// Bytes is what goes with it that no image needs which stays, nor one that stands
	// before it in the plan.
	Bytes int64
}

// Manifest is one of a repository.
type Manifest struct {
	Repository string        `json:"repository"`
	Digest     digest.Digest `json:"digest"`
}

// Plan is what becomes of the tags of all repositories that rules are for.
type Plan struct {
	Images []Image    // sorted by repository and tag
	Gone   []Manifest // manifests that nothing holds when the tags are gone
	Bytes  int64      // of them and their blobs that nothing else needs
}

// Make makes a plan of what is in a storage. Nothing is changed.
func (p *Policy) Make(ctx context.Context, r inventory.Reader, known pulls.Known, now time.Time) (*Plan, error) {
	m := &making{policy: p, known: known, now: now, needed: map[digest.Digest]bool{}}
	if err := r.Each(ctx, nil, func(repo *inventory.Repository) error { m.add(repo); return nil }); err != nil {
		return nil, err
	}
	m.weigh()
	return &m.plan, nil
}

// making is a plan on its way.
type making struct {
	policy *Policy
	known  pulls.Known
	now    time.Time
	plan   Plan
	needed map[digest.Digest]bool // blobs of what stays
	going  []going
}

// going is a tag that goes, and what goes with it.
type going struct {
	image int // in the plan
	blobs []v1.Descriptor
}

func (m *making) add(repo *inventory.Repository) {
	var gone map[digest.Digest]bool
	if m.policy.Covers(repo.Name) {
		gone = m.judge(repo)
	}
	for dgst, manifest := range repo.Manifests {
		if gone[dgst] {
			m.plan.Gone = append(m.plan.Gone, Manifest{repo.Name, dgst})
			continue
		}
		m.needed[dgst] = true
		for _, b := range manifest.Blobs {
			m.needed[b.Digest] = true
		}
	}
}

// judge decides on the tags of a repository, and returns which manifests go with them.
func (m *making) judge(repo *inventory.Repository) map[digest.Digest]bool {
	var tags []Tag
	for _, t := range repo.Tags {
		tags = append(tags, Tag{t.Name, t.Digest, t.Pushed, LastPull(m.known, repo, t)})
	}
	verdicts := m.policy.Decide(repo.Name, tags, m.known.Since, m.now)
	tagged, ends := map[digest.Digest]bool{}, map[digest.Digest]bool{}
	var stay []digest.Digest
	for _, v := range verdicts {
		tagged[v.Digest] = true
		if v.Kept {
			stay = append(stay, v.Digest)
		} else {
			reach(repo, ends, false, v.Digest)
		}
	}
	for dgst := range repo.Manifests {
		if !tagged[dgst] && !ends[dgst] {
			stay = append(stay, dgst)
		}
	}
	kept := map[digest.Digest]bool{}
	reach(repo, kept, true, stay...)
	gone := map[digest.Digest]bool{}
	for dgst := range ends {
		if !kept[dgst] && repo.Manifests[dgst] != nil {
			gone[dgst] = true
		}
	}
	for _, v := range verdicts {
		m.plan.Images = append(m.plan.Images, Image{Repository: repo.Name, Verdict: v})
		if !v.Kept {
			m.going = append(m.going, going{len(m.plan.Images) - 1, blobsOf(repo, gone, v.Digest)})
		}
	}
	return gone
}

// blobsOf are the manifests that go with one, and their blobs.
func blobsOf(repo *inventory.Repository, gone map[digest.Digest]bool, root digest.Digest) []v1.Descriptor {
	with := map[digest.Digest]bool{}
	reach(repo, with, false, root)
	var list []v1.Descriptor
	for dgst := range with {
		if manifest := repo.Manifests[dgst]; gone[dgst] {
			list = append(append(list, manifest.Blobs...), v1.Descriptor{Digest: dgst, Size: manifest.Size})
		}
	}
	return list
}

// reach adds what manifests lead to: what an index lists, what refers to one, and with
// subjects what one refers to.
func reach(repo *inventory.Repository, found map[digest.Digest]bool, subjects bool, roots ...digest.Digest) {
	for next := slices.Clone(roots); len(next) > 0; {
		dgst := next[len(next)-1]
		next = next[:len(next)-1]
		if found[dgst] {
			continue
		}
		found[dgst] = true
		next = append(next, repo.Referrers[dgst]...)
		manifest := repo.Manifests[dgst]
		if manifest == nil {
			continue
		}
		for _, c := range manifest.Children {
			next = append(next, c.Digest)
		}
		if subjects && manifest.Subject != "" {
			next = append(next, manifest.Subject)
		}
	}
}

// weigh counts what goes, each blob once, where all that stays is known.
func (m *making) weigh() {
	for _, g := range m.going {
		for _, b := range g.blobs {
			if !m.needed[b.Digest] {
				m.needed[b.Digest] = true
				m.plan.Images[g.image].Bytes += b.Size
				m.plan.Bytes += b.Size
			}
		}
	}
	slices.SortFunc(m.plan.Gone, func(a, b Manifest) int {
		return cmp.Or(strings.Compare(a.Repository, b.Repository), strings.Compare(string(a.Digest), string(b.Digest)))
	})
}

// LastPull is when a tag was pulled last: by its name, or what it leads to by its digest.
func LastPull(known pulls.Known, repo *inventory.Repository, t inventory.Tag) time.Time {
	last := known.Last(repo.Name + ":" + t.Name)
	repo.Below(t.Digest, func(m *inventory.Manifest) {
		if at := known.Last(repo.Name + "@" + string(m.Digest)); at.After(last) {
			last = at
		}
	})
	return last
}
