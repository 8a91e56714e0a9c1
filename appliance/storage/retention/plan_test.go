package retention_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/distribution/distribution/v3/registry/storage/driver"
	"github.com/distribution/distribution/v3/registry/storage/driver/inmemory"
	"github.com/opencontainers/go-digest"

	"github.com/redoubt-registry/redoubt/appliance/storage/collect"
	"github.com/redoubt-registry/redoubt/appliance/storage/inventory"
	"github.com/redoubt-registry/redoubt/appliance/storage/layout"
	"github.com/redoubt-registry/redoubt/appliance/storage/pulls"
	"github.com/redoubt-registry/redoubt/appliance/storage/retention"
)

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// store is a registry that a test writes.
type store struct {
	t *testing.T
	driver.StorageDriver
	random *rand.Rand
	made   map[string][]digest.Digest // by repository
}

func (s *store) put(p, text string) {
	s.t.Helper()
	check(s.t, s.PutContent(s.t.Context(), p, []byte(text)))
}

func (s *store) blob(data string) map[string]any {
	dgst := digest.FromString(data)
	s.put(layout.Path(dgst), data)
	return map[string]any{"digest": dgst, "size": len(data), "mediaType": "application/octet-stream"}
}

func (s *store) manifest(repo string, m any) digest.Digest {
	data, err := json.Marshal(m)
	check(s.t, err)
	dgst := digest.FromBytes(data)
	s.put(layout.Path(dgst), string(data))
	s.put(layout.LinkPath(repo, layout.Revisions, dgst), dgst.String())
	s.made[repo] = append(s.made[repo], dgst)
	return dgst
}

// fill puts random images, indexes and artifacts with random tags, which share layers.
func (s *store) fill(repos ...string) {
	some := func(repo string) digest.Digest {
		if list := s.made[repo]; len(list) > 0 {
			return list[s.random.IntN(len(list))]
		}
		return digest.FromString("not there")
	}
	for i := range 40 {
		repo := repos[s.random.IntN(len(repos))]
		m := map[string]any{"schemaVersion": 2, "annotations": map[string]any{"n": fmt.Sprint(i)}}
		switch s.random.IntN(4) {
		case 0:
			m["manifests"] = []any{map[string]any{"digest": some(repo), "size": 1}, map[string]any{"digest": some(repo), "size": 1}}
		case 1:
			m["subject"] = map[string]any{"digest": some(repo), "size": 1}
			fallthrough
		default:
			m["config"] = s.blob(fmt.Sprint("config ", i))
			m["layers"] = []any{s.blob(fmt.Sprint("layer ", s.random.IntN(20)))}
		}
		dgst := s.manifest(repo, m)
		if s.random.IntN(3) > 0 {
			s.put(layout.TagPath(repo, fmt.Sprintf("t%02d", s.random.IntN(30))), dgst.String())
		}
	}
}

// state is every tag and every manifest, as text.
func (s *store) state() (all []string) {
	s.t.Helper()
	check(s.t, inventory.Reader{Storage: s, Parallel: 4}.Each(s.t.Context(), nil, func(r *inventory.Repository) error {
		for _, t := range r.Tags {
			all = append(all, r.Name+":"+t.Name+"="+string(t.Digest))
		}
		for dgst := range r.Manifests {
			all = append(all, r.Name+"@"+string(dgst))
		}
		return nil
	}))
	slices.Sort(all)
	return all
}

func (s *store) blobs() (n int64) {
	s.t.Helper()
	check(s.t, layout.Walk(s.t.Context(), s, layout.Blobs, func(info driver.FileInfo) error { n += info.Size(); return nil }))
	return n
}

// What is gone after a collection is what the plan says, to the byte: no more, so nothing
// that a kept index or subject needs, and no less. A second plan has nothing to delete.
func TestPlanIsWhatGoes(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	rules := retention.Rules{Rules: []retention.Rule{
		{Repositories: []string{"team/*"}, Tags: []string{"t0*"}, Keep: 2, Protect: []string{"t03"}},
		{Repositories: []string{"team/*"}, Tags: []string{"t*"}, Keep: 1},
	}}
	policy, err := retention.New(rules)
	check(t, err)
	went := 0
	for seed := range uint64(15) {
		s := &store{t, inmemory.New(), rand.New(rand.NewPCG(seed, 1)), map[string][]digest.Digest{}}
		s.fill("team/a", "team/b", "other")
		later := time.Now().Add(time.Hour)
		plan := func() *retention.Plan {
			p, err := policy.Make(ctx, inventory.Reader{Storage: s, Parallel: 4}, pulls.Of(later, nil), later)
			check(t, err)
			return p
		}
		collected := func(may func(string, layout.Link) bool) int64 {
			c := collect.Collector{Storage: s, Parallel: 4, May: may, Now: func() time.Time { return later }, Trash: time.Hour, Beat: func(context.Context) error { return nil }}
			_, err := c.Run(ctx)
			check(t, err)
			return s.blobs()
		}
		before := collected(nil) // what was garbage already
		want := s.state()
		first := plan()
		for _, i := range first.Images {
			if !i.Kept {
				want = slices.DeleteFunc(want, func(x string) bool { return x == i.Repository+":"+i.Name+"="+string(i.Digest) })
			}
		}
		for _, m := range first.Gone {
			want = slices.DeleteFunc(want, func(x string) bool { return x == m.Repository+"@"+string(m.Digest) })
		}
		tags, left, err := first.Apply(ctx, s, later, func(context.Context) error { return nil })
		check(t, err)
		after := collected(left.May())
		check(t, left.Settle(ctx, s, later))
		if got := s.state(); !slices.Equal(got, want) {
			t.Errorf("seed %d: there is\n%v\nand not\n%v", seed, got, want)
		}
		if before-after != first.Bytes {
			t.Errorf("seed %d: %d bytes went, and not %d", seed, before-after, first.Bytes)
		}
		for _, i := range plan().Images {
			if !i.Kept {
				t.Errorf("seed %d: %s:%s goes only with a second run", seed, i.Repository, i.Name)
			}
		}
		went += tags
	}
	if went < 50 {
		t.Errorf("only %d tags went", went)
	}
}

// A run that is killed after the tags went leaves manifests that the next one takes, and
// one that was pushed again stays.
func TestKilledRunIsMadeWhole(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	s := &store{t, inmemory.New(), rand.New(rand.NewPCG(7, 7)), map[string][]digest.Digest{}}
	var images []digest.Digest
	for i := range 3 {
		images = append(images, s.manifest("a", map[string]any{"schemaVersion": 2, "config": s.blob(fmt.Sprint(i)), "layers": []any{}}))
		s.put(layout.TagPath("a", fmt.Sprint("t", i)), images[i].String())
	}
	policy, err := retention.New(retention.Rules{Rules: []retention.Rule{{Repositories: []string{"a"}, Tags: []string{"*"}, PushedWithin: time.Hour}}})
	check(t, err)
	soon := time.Now().Add(2 * time.Hour)
	nobody := func(context.Context) error { return nil }
	plan, err := policy.Make(ctx, inventory.Reader{Storage: s}, pulls.Of(soon, nil), soon)
	check(t, err)
	if n, _, err := plan.Apply(ctx, s, time.Now().Add(time.Minute), nobody); n != 3 || err != nil {
		t.Fatalf("%d %v", n, err)
	}
	// Killed here. Then one is pushed again, by its digest alone, and the next run comes.
	pushed := time.Now().Add(2 * time.Minute)
	empty := retention.Plan{}
	_, left, err := empty.Apply(ctx, s, time.Now(), nobody)
	check(t, err)
	may := left.May()
	for i, dgst := range images {
		l := layout.Link{Digest: dgst, Modified: time.Now()}
		if i == 0 {
			l.Modified = pushed
		}
		if got := may("a", l); got != (i > 0) {
			t.Errorf("image %d may go: %v", i, got)
		}
	}
}
