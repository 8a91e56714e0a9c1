package neighbours

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/redoubt-registry/redoubt/appliance/storage/sharedstate"
)

// shelf is a store in memory.
type shelf struct {
	data     map[string]string
	versions map[string]string
	n        int
	plain    bool // it knows no conditions, and says so
	broken   bool
}

var errBroken = errors.New("denied")

func newShelf() *shelf { return &shelf{data: map[string]string{}, versions: map[string]string{}} }

func (s *shelf) Get(_ context.Context, key string) ([]byte, string, error) {
	if s.broken {
		return nil, "", errBroken
	}
	if s.versions[key] == "" {
		return nil, "", sharedstate.ErrNotFound
	}
	return []byte(s.data[key]), s.versions[key], nil
}

func (s *shelf) Put(ctx context.Context, key string, data []byte, ifVersion string) (string, error) {
	switch {
	case s.plain:
		return "", errors.New("not implemented")
	case s.versions[key] != ifVersion:
		return "", sharedstate.ErrConflict
	}
	return s.Overwrite(ctx, key, data)
}

func (s *shelf) Overwrite(_ context.Context, key string, data []byte) (string, error) {
	if s.broken {
		return "", errBroken
	}
	s.n++
	s.data[key], s.versions[key] = string(data), fmt.Sprint(s.n)
	return s.versions[key], nil
}

func (s *shelf) Delete(_ context.Context, key string) error {
	delete(s.data, key)
	delete(s.versions, key)
	return nil
}

func (s *shelf) Versions(context.Context, int) (map[string]string, error) {
	out := map[string]string{}
	for k, v := range s.versions {
		out[k] = v
	}
	return out, nil
}

// box is a machine.
type box struct {
	me    Machine
	state State
	skew  time.Duration // of its clock
}

func machine(id string, nodes int) *box {
	return &box{me: Machine{ID: id, Name: id + ".test", Nodes: nodes}, state: State{Storage: "bucket b", Run: "run of " + id}}
}

func (b *box) beat(s *shelf, now time.Time) string {
	b.state = b.state.Look(context.Background(), s, b.me, 10*time.Second, now.Add(b.skew))
	return b.state.Problem()
}

var start = time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)

// run lets boxes beat in turn for some minutes, and returns when.
func run(s *shelf, now time.Time, minutes int, boxes ...*box) time.Time {
	for range minutes {
		now = now.Add(time.Minute)
		for _, b := range boxes {
			b.beat(s, now)
		}
	}
	return now
}

// Two machines on one bucket find each other, whatever their clocks say; when one is gone
// the other one is content again.
func TestTwoMachines(t *testing.T) {
	for _, plain := range []bool{false, true} {
		s, a, b := newShelf(), machine("a", 1), machine("b", 1)
		s.plain, b.skew = plain, -37*time.Hour
		now := run(s, start, 3, a, b)
		for me, other := range map[*box]string{a: "b.test", b: "a.test"} {
			if p := me.state.Problem(); !strings.Contains(p, other+" uses the same storage (bucket b) and nodes is 1") {
				t.Errorf("%s finds %q", me.me.ID, p)
			}
		}
		now = run(s, now, 6, a)
		if p := a.state.Problem(); p != "" {
			t.Errorf("b is gone: %s", p)
		}
		run(s, now, 25*60, a)
		if _, there := s.data["b"]; there {
			t.Error("the object of a machine that is gone stays for ever")
		}
	}
}

// The machine that takes the place of another one is content from the beginning.
func TestReplacedMachine(t *testing.T) {
	s, old, young := newShelf(), machine("old", 1), machine("young", 1)
	now := run(s, start, 5, old)
	for range 30 {
		now = now.Add(time.Minute)
		if p := young.beat(s, now); p != "" {
			t.Fatalf("after %v: %s", now.Sub(start), p)
		}
	}
	if old.state.Problem() != "" {
		t.Error("the old one")
	}
}

// A reboot, or a heartbeat whose end was not kept, is no other machine.
func TestItself(t *testing.T) {
	s, a := newShelf(), machine("a", 1)
	now := run(s, start, 3, a)
	before := a.state
	now = run(s, now, 1, a)
	a.state = before
	now = run(s, now, 2, a)
	if p := a.state.Problem(); p != "" {
		t.Errorf("killed: %s", p)
	}
	a.state = State{Storage: "bucket b", Run: "another boot"}
	run(s, now, 5, a)
	if p := a.state.Problem(); p != "" {
		t.Errorf("booted: %s", p)
	}
}

// A copy of a machine has its identity; both find it.
func TestCopiedMachine(t *testing.T) {
	s, a, c := newShelf(), machine("a", 1), machine("a", 1)
	c.state.Run = "run of the copy"
	now := run(s, start, 3, a, c)
	for _, b := range []*box{a, c} {
		if p := b.state.Problem(); !strings.Contains(p, "a.test (a copy of this machine) uses") {
			t.Errorf("%s: %q", b.state.Run, p)
		}
	}
	run(s, now, 6, a)
	if p := a.state.Problem(); p != "" {
		t.Errorf("the copy is gone: %s", p)
	}
}

// As many as nodes says are meant to be there.
func TestNodes(t *testing.T) {
	s, a, b, c := newShelf(), machine("a", 2), machine("b", 2), machine("c", 1)
	now := run(s, start, 3, a, b)
	if a.state.Problem() != "" || b.state.Problem() != "" {
		t.Errorf("two of two: %s %s", a.state.Problem(), b.state.Problem())
	}
	run(s, now, 3, a, b, c)
	for _, me := range []*box{a, b, c} {
		if me.state.Problem() == "" {
			t.Errorf("three, and %s expects %d", me.me.ID, me.me.Nodes)
		}
	}
}

// A heartbeat is sent once a minute, whatever the interval is; what fails is said and does
// no harm.
func TestPauseAndTrouble(t *testing.T) {
	s, a := newShelf(), machine("a", 1)
	for i := range 60 {
		a.beat(s, start.Add(time.Duration(i)*10*time.Second))
	}
	if s.n != 10 {
		t.Errorf("%d heartbeats in ten minutes", s.n)
	}
	s.broken = true
	a.state.Version = ""
	if a.beat(s, start.Add(time.Hour)); !strings.Contains(a.state.Error, "denied") {
		t.Errorf("what fails is not said: %+v", a.state)
	}
	s.broken = false
	if a.beat(s, start.Add(2*time.Hour)); a.state.Error != "" {
		t.Errorf("it is well again: %+v", a.state)
	}
}

func TestDueAndKept(t *testing.T) {
	s, a, b := newShelf(), machine("a", 1), machine("b", 1)
	run(s, start, 3, a, b)
	now := start.Add(time.Hour)
	if !a.state.Due(now) || a.state.Due(now.Add(23*time.Hour)) || !a.state.Due(now.Add(25*time.Hour)) {
		t.Error("people are told at once, and once a day")
	}
	path := filepath.Join(t.TempDir(), "machines.json")
	if err := a.state.Write(path); err != nil {
		t.Fatal(err)
	}
	if back := Read(path, "bucket b"); back.Run != a.state.Run || back.Problem() != a.state.Problem() {
		t.Errorf("%+v", back)
	}
	if p, _ := Problem(path, "bucket b"); p == "" {
		t.Error("the problem is not read")
	}
	if p, _ := Problem(path, "bucket c"); p != "" || Read(path, "bucket c").Run == a.state.Run {
		t.Error("it is of another storage")
	}
}
