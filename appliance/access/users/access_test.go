package users

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/distribution/distribution/v3/registry/auth"
	"golang.org/x/crypto/bcrypt"

	"github.com/redoubt-registry/redoubt/appliance/access/limit"
)

func hash(t testing.TB, password string, cost int) string {
	t.Helper()
	h, err := bcrypt.GenerateFromPassword([]byte(password), cost)
	if err != nil {
		t.Fatal(err)
	}
	return string(h)
}

// write replaces the file as redoubt apply does, by a rename.
func write(t testing.TB, path string, lines ...string) {
	t.Helper()
	temp := path + ".new"
	if err := os.WriteFile(temp, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(temp, path); err != nil {
		t.Fatal(err)
	}
}

// remote is where the clients of most tests are.
const remote = "192.0.2.1:1234"

// work counts bcrypt comparisons and their rounds.
type work struct{ calls, rounds, most, now atomic.Int64 }

func newTable(t testing.TB, lines ...string) (*Table, *work, *[]error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "htpasswd")
	write(t, path, lines...)
	var logged []error
	table := NewTable(path, func(err error) { logged = append(logged, err) })
	w := &work{}
	table.checks.compare = func(h, p []byte) error {
		w.calls.Add(1)
		if n := w.now.Add(1); n > w.most.Load() {
			w.most.Store(n)
		}
		defer w.now.Add(-1)
		cost, err := bcrypt.Cost(h)
		if err != nil {
			t.Errorf("a hash that is none was compared: %v", err)
		}
		w.rounds.Add(1 << cost)
		return bcrypt.CompareHashAndPassword(h, p)
	}
	return table, w, &logged
}

func check(t testing.TB, table *Table, name, password string, want bool) {
	t.Helper()
	if err := table.Check(t.Context(), remote, name, password); (err == nil) != want {
		t.Errorf("Check(%s, …) = %v, want allowed %v", name, err, want)
	}
}

func TestCheck(t *testing.T) {
	table, _, _ := newTable(t, "# users", "", "alice:"+hash(t, "right", 4), "bob:"+strings.Replace(hash(t, "other", 5), "$2a$", "$2y$", 1))
	check(t, table, "alice", "right", true)
	check(t, table, "bob", "other", true)
	check(t, table, "alice", "other", false)
	check(t, table, "alice", "", false)
	check(t, table, "carol", "right", false)
	check(t, table, "", "", false)
	check(t, table, "# users", "right", false)
}

// One computation for each login, also for one that is refused: a client that
// repeats a stale password costs nothing.
func TestOutcomesAreRemembered(t *testing.T) {
	table, w, _ := newTable(t, "alice:"+hash(t, "right", 4))
	for range 10 {
		check(t, table, "alice", "right", true)
		check(t, table, "alice", "wrong", false)
		check(t, table, "nobody", "wrong", false)
	}
	if n := w.calls.Load(); n != 3 {
		t.Errorf("%d computations for three logins", n)
	}
}

// A refusal takes as many rounds whoever the user is, and whether there is
// one: time tells nothing of who has an account.
func TestRefusalsCostTheSame(t *testing.T) {
	table, w, _ := newTable(t, "cheap:"+hash(t, "a", 4), "middle:"+hash(t, "b", 6), "dear:"+hash(t, "c", 8))
	for _, name := range []string{"cheap", "middle", "dear", "nobody", ""} {
		w.rounds.Store(0)
		check(t, table, name, "wrong", false)
		if got := w.rounds.Load(); got != 1<<8 {
			t.Errorf("a refusal of %q took %d rounds, want %d", name, got, 1<<8)
		}
	}
}

func TestEmptyTableRefusesAtFullCost(t *testing.T) {
	table, w, _ := newTable(t)
	check(t, table, "nobody", "x", false)
	if got := w.rounds.Load(); got != 1<<bcrypt.DefaultCost {
		t.Errorf("%d rounds", got)
	}
}

func TestRevocationIsImmediate(t *testing.T) {
	alice, bob := "alice:"+hash(t, "right", 4), "bob:"+hash(t, "right", 4)
	table, w, _ := newTable(t, alice, bob)
	check(t, table, "alice", "right", true)
	check(t, table, "bob", "right", true)
	write(t, table.path, bob)
	check(t, table, "alice", "right", false)
	calls := w.calls.Load()
	check(t, table, "bob", "right", true)
	if w.calls.Load() != calls {
		t.Error("a change of one user made another log in again")
	}
	write(t, table.path, "alice:"+hash(t, "changed", 4), bob)
	check(t, table, "alice", "right", false)
	check(t, table, "alice", "changed", true)
}

// An edit in place, of the same size and within one tick of the clock.
func TestQuickEditIsSeen(t *testing.T) {
	one, two := hash(t, "one", 4), hash(t, "two", 4)
	table, _, _ := newTable(t, "alice:"+one)
	info, err := os.Stat(table.path)
	if err != nil {
		t.Fatal(err)
	}
	check(t, table, "alice", "one", true)
	if err := os.WriteFile(table.path, []byte("alice:"+two+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(table.path, time.Time{}, info.ModTime()); err != nil {
		t.Fatal(err)
	}
	check(t, table, "alice", "one", false)
	check(t, table, "alice", "two", true)
}

func TestBadEditKeepsTheTable(t *testing.T) {
	good := "alice:" + hash(t, "right", 4)
	secret := "hunter2hunter2"
	for name, tc := range map[string]struct{ bad, want string }{
		"no colon":   {secret, "line 2 is not name:hash"},
		"plain":      {"bob:" + secret, "line 2 has no bcrypt hash"},
		"md5":        {"bob:$apr1$" + secret, "line 2 has no bcrypt hash"},
		"cut off":    {("bob:" + hash(t, secret, 4))[:40], "line 2 has no bcrypt hash"},
		"no name":    {":" + hash(t, secret, 4), "line 2 is not name:hash"},
		"twice":      {good, "line 2 names a user a second time"},
		"too costly": {"bob:$2a$31$" + strings.Repeat("a", 53), "line 2 has a hash of cost 31"},
		"long line":  {strings.Repeat("x", 70_000), "cannot read its lines"},
	} {
		t.Run(name, func(t *testing.T) {
			table, _, logged := newTable(t, good)
			write(t, table.path, good, tc.bad)
			for range 3 {
				check(t, table, "alice", "right", true)
			}
			err := table.Err()
			if err == nil || !strings.Contains(err.Error(), tc.want) || !strings.Contains(err.Error(), table.path) {
				t.Errorf("Err() = %v, want %q and the path", err, tc.want)
			}
			if strings.Contains(fmt.Sprint(err), "hunter2") {
				t.Error("the error shows what is in the file")
			}
			if len(*logged) != 1 {
				t.Errorf("logged %d times: %v", len(*logged), *logged)
			}
			write(t, table.path, good)
			if err := table.Err(); err != nil {
				t.Errorf("after the fix: %v", err)
			}
		})
	}
}

func TestMissingFile(t *testing.T) {
	table, _, logged := newTable(t, "alice:"+hash(t, "right", 4))
	check(t, table, "alice", "right", true)
	if err := os.Remove(table.path); err != nil {
		t.Fatal(err)
	}
	if err := table.Check(t.Context(), remote, "alice", "right"); !errors.Is(err, ErrUnavailable) || table.Ready() {
		t.Errorf("Check = %v, Ready = %v without a file", err, table.Ready())
	}
	if len(*logged) != 1 {
		t.Errorf("logged %v", *logged)
	}
	if _, err := os.Stat(table.path); !os.IsNotExist(err) {
		t.Error("a file was made up")
	}
	write(t, table.path, "alice:"+hash(t, "right", 4))
	check(t, table, "alice", "right", true)
}

func TestNeverATableAtTheStart(t *testing.T) {
	table := NewTable(filepath.Join(t.TempDir(), "none"), func(error) {})
	if err := table.Check(t.Context(), remote, "docker", ""); !errors.Is(err, ErrUnavailable) {
		t.Errorf("Check = %v", err)
	}
}

func TestComputationsAreBounded(t *testing.T) {
	table, w, _ := newTable(t, "alice:"+hash(t, "right", 6))
	var wg sync.WaitGroup
	for i := range 50 {
		wg.Go(func() {
			_ = table.Check(context.Background(), fmt.Sprintf("192.0.2.%d:1", i), "alice", fmt.Sprint("wrong", i))
		})
	}
	wg.Wait()
	if n := w.most.Load(); n > int64(runtime.GOMAXPROCS(0)) {
		t.Errorf("%d computations at a time, want at most %d", n, runtime.GOMAXPROCS(0))
	}
	if n := w.calls.Load(); n != 50 {
		t.Errorf("%d computations", n)
	}
}

// hold makes all bcrypt work wait until the function it returns is called.
func hold(t *testing.T, table *Table) (release func()) {
	t.Helper()
	let := make(chan struct{})
	compare := table.checks.compare
	table.checks.compare = func(h, p []byte) error { <-let; return compare(h, p) }
	return func() { close(let) }
}

// A known login does not wait behind a flood of wrong ones, and neither does one
// that is known to be wrong.
func TestKnownLoginPassesAFlood(t *testing.T) {
	table, _, _ := newTable(t, "alice:"+hash(t, "right", 4))
	check(t, table, "alice", "right", true)
	check(t, table, "alice", "stale", false)
	release := hold(t, table)
	var wg sync.WaitGroup
	for i := range 100 {
		wg.Go(func() { _ = table.Check(context.Background(), remote, "alice", fmt.Sprint("wrong", i)) })
	}
	for table.Stats().Waiting == 0 {
		time.Sleep(time.Millisecond)
	}
	check(t, table, "alice", "right", true)
	check(t, table, "alice", "stale", false)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := table.Check(ctx, remote, "alice", "wrong"); !errors.Is(err, context.Canceled) {
		t.Errorf("a client that left: %v", err)
	}
	release()
	wg.Wait()
	var limited *limit.Refused
	if err := table.Check(t.Context(), remote, "alice", "one more"); !errors.As(err, &limited) {
		t.Errorf("after a flood: %v", err)
	}
	check(t, table, "alice", "right", true)
	check(t, table, "alice", "stale", false)
}

// Who sends the same password many times at once, as a pull does, waits for one
// computation.
func TestOneComputationForTheSamePassword(t *testing.T) {
	table, w, _ := newTable(t, "alice:"+hash(t, "right", 4))
	release := hold(t, table)
	var wg sync.WaitGroup
	for i := range 100 {
		wg.Go(func() {
			if err := table.Check(context.Background(), fmt.Sprintf("192.0.2.1:%d", 1+i), "alice", "right"); err != nil {
				t.Errorf("login %d: %v", i, err)
			}
		})
	}
	time.Sleep(20 * time.Millisecond) // so that most of them wait
	release()
	wg.Wait()
	if n := w.calls.Load(); n != 1 {
		t.Errorf("%d computations", n)
	}
}

// bcrypt takes a NUL for the end of a password, and repeats what is before it:
// what it takes for the same password is not.
func TestPasswordsWithNULAreRefused(t *testing.T) {
	table, w, _ := newTable(t, "alice:"+hash(t, "right", 4))
	for _, confused := range []string{"right\x00right", "right\x00", "\x00"} {
		check(t, table, "alice", confused, false)
	}
	if n := w.calls.Load(); n != 0 {
		t.Errorf("%d computations", n)
	}
	check(t, table, "alice", "right", true)
}

// htpasswd -B makes a hash of the first 72 bytes of a password, without a word.
func TestLongPasswordsAreThoseOfHtpasswd(t *testing.T) {
	long := strings.Repeat("x", 72)
	table, _, _ := newTable(t, "alice:"+hash(t, long, 4))
	check(t, table, "alice", long, true)
	check(t, table, "alice", long+" and more", true)
	check(t, table, "alice", long[1:], false)
}

func TestRememberedIsBounded(t *testing.T) {
	c := newChecks([]byte("key"))
	first := c.outcome([]byte("a good one"))
	c.remember(first, true)
	for i := range maxRemembered + 100 {
		c.remember(c.outcome(fmt.Append(nil, i)), false)
	}
	if n := c.failed.Len(); n != maxRemembered {
		t.Errorf("%d wrong ones are remembered", n)
	}
	if known, ok := c.lookup(first); !known || !ok {
		t.Error("wrong passwords have pushed out a right one")
	}
}

// The parts of a MAC cannot be shifted into one another.
func TestMACParts(t *testing.T) {
	c := newChecks([]byte("key"))
	if c.outcome([]byte("ab"), []byte("c")) == c.outcome([]byte("a"), []byte("bc")) {
		t.Error("two logins have one MAC")
	}
}

func TestController(t *testing.T) {
	Register()
	Register() // as a second server in one process does
	table, _, _ := newTable(t, "alice:"+hash(t, "right", 4))
	options := map[string]any{"realm": `Red"oubt`, "path": table.path, TableOption: table}
	for _, name := range []string{Name, "htpasswd"} {
		c, err := auth.GetAccessController(name, options)
		if err != nil {
			t.Fatal(err)
		}
		r := httptest.NewRequest(http.MethodGet, "/v2/", nil)
		r.RemoteAddr = remote
		_, err = c.Authorized(r)
		var ch auth.Challenge
		if !errors.As(err, &ch) {
			t.Fatalf("Authorized = %v, want a challenge", err)
		}
		w := httptest.NewRecorder()
		ch.SetHeaders(r, w)
		if got := w.Header().Get("WWW-Authenticate"); got != `Basic realm="Red\"oubt"` {
			t.Errorf("challenge %s", got)
		}
		r.SetBasicAuth("alice", "wrong-hunter2")
		if _, err := c.Authorized(r); !errors.As(err, &ch) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("Authorized = %v", err)
		}
		r.SetBasicAuth("alice", "right")
		if grant, err := c.Authorized(r); err != nil || grant.User.Name != "alice" {
			t.Errorf("Authorized = %v, %v", grant, err)
		}
	}
	for _, missing := range []string{"realm", TableOption} {
		bad := map[string]any{"realm": "r", "path": "p", TableOption: table}
		delete(bad, missing)
		if _, err := auth.GetAccessController(Name, bad); err == nil {
			t.Errorf("a controller without %s", missing)
		}
	}
	if _, err := Path(map[string]any{"path": ""}); err == nil {
		t.Error("no path, no error")
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("alice:$2y$05$926C3y10Quzn/LnqQH86VOEVh/18T6RnLaS.khre96jLNL/7e.K5W\n"))
	f.Add([]byte("#\n:\nx"))
	f.Fuzz(func(t *testing.T, data []byte) {
		users, err := parse(data)
		if err != nil {
			return
		}
		for name, u := range users {
			if name == "" || u.cost < bcrypt.MinCost || u.cost > maxCost || len(u.hash) != 60 {
				t.Errorf("%q: %+v", name, u)
			}
		}
	})
}

func BenchmarkKnownLogin(b *testing.B) {
	table, _, _ := newTable(b, "alice:"+hash(b, "right", 10))
	check(b, table, "alice", "right", true)
	for b.Loop() {
		if table.Check(b.Context(), remote, "alice", "right") != nil {
			b.Fatal("refused")
		}
	}
}

func BenchmarkFirstLogin(b *testing.B) {
	table, _, _ := newTable(b, "alice:"+hash(b, "right", 10))
	for i := 0; b.Loop(); i++ {
		_ = table.Check(b.Context(), fmt.Sprintf("10.%d.%d.%d:1", i>>16, i>>8&255, i&255), "alice", fmt.Sprint(i))
	}
}
