package quota

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/distribution/distribution/v3/registry/storage/driver"
	"github.com/distribution/distribution/v3/registry/storage/driver/filesystem"
	"github.com/opencontainers/go-digest"

	"github.com/redoubt-registry/redoubt/appliance/files"
	"github.com/redoubt-registry/redoubt/appliance/storage/layout"
	"github.com/redoubt-registry/redoubt/appliance/storage/sharedstate"
)

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func team(size int64) Rule { return Rule{[]string{"team/**"}, size} }

func ledger(t *testing.T, root string, rules ...Rule) *Ledger {
	t.Helper()
	r, err := New(rules)
	check(t, err)
	return &Ledger{Store: sharedstate.Beside(root), Rules: r, Now: time.Now}
}

func used(t *testing.T, l *Ledger, want ...int64) {
	t.Helper()
	list, err := l.Usage(t.Context())
	check(t, err)
	for i, u := range list {
		if u.Used != want[i] {
			t.Errorf("%s: %d bytes are used, want %d", u.Name(), u.Used, want[i])
		}
	}
}

// Of what many push side by side in two processes no more is stored than fits, and all of
// it is where sizes are known.
func TestParallelPushes(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	var stored atomic.Int64
	var pushes sync.WaitGroup
	for range 2 {
		l := ledger(t, root, team(1000))
		for i := range 16 {
			p := l.Push("team/app", fmt.Sprintf("%p-%d", l, i))
			pushes.Go(func() {
				_, err := p.Set(t.Context(), 100, 0)
				if errors.As(err, new(*Exceeded)) {
					return
				}
				if err == nil {
					err = p.End(t.Context(), 100)
				}
				if err != nil {
					t.Error(err)
				}
				stored.Add(100)
			})
		}
	}
	pushes.Wait()
	if stored.Load() != 1000 {
		t.Errorf("%d bytes were stored", stored.Load())
	}
	used(t, ledger(t, root, team(1000)), 1000)
}

// What is set aside grows and shrinks with a push, whichever process goes on with it, and
// is given back when it ends without having stored anything.
func TestPush(t *testing.T) {
	t.Parallel()
	ctx, root := t.Context(), t.TempDir()
	both := []Rule{team(1000), {[]string{"**"}, 1500}}
	l, other := ledger(t, root, both...), ledger(t, root, both...)
	if l.Push("team", "x") == nil || ledger(t, root, team(1)).Push("team", "x") != nil {
		t.Error("the rules are for other repositories")
	}
	p := l.Push("team/app", "upload")
	got, err := p.Set(ctx, 100, 1000)
	check(t, err)
	if got < 100 || got > 200 {
		t.Errorf("%d bytes are set aside for 100 of 1000", got)
	}
	used(t, l, got, got)
	_, err = other.Push("team/app", "upload").Set(ctx, 950, 0)
	check(t, err)
	over, ok := errors.AsType[*Exceeded](func() error { _, err := l.Push("team/b", "b").Set(ctx, 51, 0); return err }())
	if !ok || over.Used != 950 || over.Asked != 51 || over.Size != 1000 {
		t.Fatalf("it is told %+v", over)
	}
	_, err = p.Set(ctx, 300, 0)
	check(t, err)
	used(t, other, 300, 300)
	// A blob of another repository of the second quota: only the first counts it.
	m := l.Push("team/b", "mount").Except("elsewhere")
	_, err = m.Set(ctx, 500, 0)
	check(t, err)
	check(t, m.End(ctx, 500))
	used(t, l, 800, 300)
	check(t, p.End(ctx, 0))
	used(t, l, 500, 0)
	if err := l.Push("team/b", "").Room(ctx); err != nil {
		t.Error(err)
	}
	check(t, l.Push("team/b", "forced").End(ctx, 600))
	if err := l.Push("team/b", "").Room(ctx); !errors.As(err, new(*Exceeded)) {
		t.Errorf("1100 of 1000 bytes leave room: %v", err)
	}
	if _, err := l.Push("team/b", "none").Set(ctx, 0, 0); err != nil {
		t.Errorf("what needs nothing is refused: %v", err)
	}
}

// Too many pushes that nobody ends count as stored.
func TestManyPushes(t *testing.T) {
	t.Parallel()
	a := account{Open: map[string]opened{}}
	now := time.Now()
	for i := range mostOpen + 5 {
		a.Open[fmt.Sprint(i)] = opened{2, now.Add(time.Duration(i))}
	}
	a = a.fold()
	if _, ok := a.Open["4"]; ok || len(a.Open) != mostOpen || a.Since != 10 || a.used() != 2*(mostOpen+5) {
		t.Errorf("%d are open, %d bytes stored, %d used", len(a.Open), a.Since, a.used())
	}
}

// store is a registry that a test writes.
type store struct {
	t *testing.T
	driver.StorageDriver
	root string
}

func newStore(t *testing.T) store {
	root := t.TempDir()
	return store{t, filesystem.New(filesystem.DriverParameters{RootDirectory: root, MaxThreads: 100}), root}
}

func (s store) put(p, text string) {
	s.t.Helper()
	check(s.t, s.PutContent(s.t.Context(), p, []byte(text)))
}

func (s store) layer(repo, data string) digest.Digest {
	s.t.Helper()
	dgst := digest.FromString(data)
	s.put(layout.Path(dgst), data)
	s.put(layout.LinkPath(repo, layout.Layers, dgst), dgst.String())
	return dgst
}

func (s store) image(repo string, layers ...digest.Digest) (size int64) {
	s.t.Helper()
	text := `{"schemaVersion":2,"layers":[`
	for i, l := range layers {
		if i > 0 {
			text += ","
		}
		text += fmt.Sprintf(`{"digest":%q,"size":1}`, l) // which is a lie
	}
	text += `]}`
	dgst := digest.FromString(text)
	s.put(layout.Path(dgst), text)
	s.put(layout.LinkPath(repo, layout.Revisions, dgst), dgst.String())
	return int64(len(text))
}

func beat(ctx context.Context) error { return ctx.Err() }

// A count finds what repositories have, each blob once, by its true size; what is under
// way meanwhile counts on top, and what ended long ago without a word does not.
func TestCount(t *testing.T) {
	t.Parallel()
	ctx, s := t.Context(), newStore(t)
	shared, own := s.layer("team/a", "0123456789"), s.layer("team/b", "01234")
	s.layer("team/b", "0123456789")
	s.layer("other", "not counted by the first")
	n := s.image("team/a", shared) + s.image("team/b", shared, own)
	s.layer("team/b", "under way") // 9 bytes
	l := ledger(t, s.root, team(1000), Rule{[]string{"none"}, 10})
	needed, err := l.Prepare(ctx)
	if check(t, err); !needed {
		t.Error("nobody says that a count is needed")
	}
	check(t, l.Push("team/a", "before").End(ctx, 700))
	_, err = l.Push("team/a", "forgotten").Set(ctx, 50, 0)
	check(t, err)
	count := func(grace time.Duration, meanwhile func()) {
		t.Helper()
		first := true
		check(t, l.Count(ctx, s, grace, 2, func(ctx context.Context) error {
			if first {
				first = false
				meanwhile()
			}
			return ctx.Err()
		}))
	}
	count(time.Hour, func() {
		check(t, l.Push("team/a", "meanwhile").End(ctx, 100))
		_, err := l.Push("team/a", "open").Set(ctx, 30, 0)
		check(t, err)
	})
	used(t, l, n+24+100+50+30, 0)
	count(time.Hour, func() {})
	used(t, l, n+24+50+30, 0)
	if needed, err = l.Prepare(ctx); err != nil || needed {
		t.Errorf("a count is needed again: %v", err)
	}
	// A day later, and without what is young.
	l.Now = func() time.Time { return time.Now().Add(26 * time.Hour) }
	count(time.Hour, func() {})
	used(t, l, n+15, 0)
	// Another size keeps the count, a rule that goes does not.
	l = ledger(t, s.root, team(2000))
	used(t, l, n+15)
	check(t, l.Recount(ctx))
	if needed, err = l.Prepare(ctx); err != nil || !needed {
		t.Errorf("no count is needed after a restore: %v", err)
	}
	used(t, l, n+15)
	none := ledger(t, s.root)
	if needed, err = none.Prepare(ctx); err != nil || needed {
		t.Errorf("a count is needed for nothing: %v", err)
	}
	used(t, l, 0)
}

// An object that cannot be read as a count is counted again, and what waits for a count
// says so once it pushes.
func TestDamagedCount(t *testing.T) {
	t.Parallel()
	ctx, s := t.Context(), newStore(t)
	n := s.image("team/a", s.layer("team/a", "01234"))
	l := ledger(t, s.root, team(1000))
	check(t, l.Count(ctx, s, time.Hour, 1, beat))
	used(t, l, n+5)
	check(t, files.Write(filepath.Join(s.root, "redoubt/lease", object), []byte(`{"team/**":[]`), 0o640, -1))
	asked := false
	l.Uncounted = func() { asked = true }
	_, err := l.Push("team/a", "x").Set(ctx, 10, 0)
	if check(t, err); !asked {
		t.Error("nobody is told that nothing was counted")
	}
	check(t, l.Count(ctx, s, time.Hour, 1, beat))
	used(t, l, n+5+10)
	if err := l.Count(ctx, s, time.Hour, 1, func(context.Context) error { return errors.New("enough") }); err == nil {
		t.Error("a count cannot be stopped")
	}
}

func TestRules(t *testing.T) {
	t.Parallel()
	for _, rules := range [][]Rule{{{[]string{"A"}, 1}}, {{nil, 1}}, {team(0)}, {team(1), team(2)}} {
		if _, err := New(rules); err == nil {
			t.Errorf("%v is taken", rules)
		}
	}
	if _, err := Parse("text"); err == nil {
		t.Error("text is taken for rules")
	}
	if r, err := Parse(nil); err != nil || !r.None() {
		t.Errorf("no rules: %v", err)
	}
	r, err := Parse([]any{map[string]any{"repositories": []any{"a", "b/**"}, "size": 7}})
	if err != nil || len(r.of("b/c")) != 1 || len(r.of("c")) != 0 || r.of("a")[0].Size != 7 {
		t.Errorf("%v, %v", r, err)
	}
	text := (&Exceeded{Rule{[]string{"a", "b"}, 10 << 30}, 9 << 30, 2 << 30}).Error()
	if want := "the quota of a, b is 10 GiB: 9 GiB are used, and the push needs 2 GiB more; "; text[:len(want)] != want {
		t.Error(text)
	}
}
