package webhook

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/redoubt-registry/redoubt/appliance/access/audit"
)

func until(t *testing.T, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if f() {
			return
		}
	}
	t.Fatalf("waited in vain for %s", what)
}

func lane(t *testing.T, e Endpoint) *Lane {
	t.Helper()
	e.Spool = filepath.Join(t.TempDir(), "spool")
	if e.Limit == 0 {
		e.Limit = 1 << 20
	}
	l, err := Open(e)
	if err != nil {
		t.Fatal(err)
	}
	l.Courier.Least, l.Courier.Longest = time.Millisecond, 10*time.Millisecond
	t.Cleanup(l.spool.Close)
	return l
}

// run delivers until the test ends.
func run(t *testing.T, l *Lane) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); l.Courier.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
}

// desk is one with the lanes.
func desk(t *testing.T, lanes ...*Lane) *Desk {
	t.Helper()
	d := NewDesk()
	d.Change(func() []*Lane { return lanes })
	t.Cleanup(d.Close)
	return d
}

func ids(t *testing.T, all []request) string {
	t.Helper()
	var out []string
	for _, r := range all {
		var e cloudEvent
		if err := json.Unmarshal(r.body, &e); err != nil {
			t.Fatal(err)
		}
		out = append(out, e.ID)
	}
	return strings.Join(out, " ")
}

// Whatever an endpoint answers, it has each event in the end, in order.
func TestAnEndpointThatFails(t *testing.T) {
	t.Parallel()
	for _, status := range []int{500, 503, 410, 404, 401, 429, 302} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			t.Parallel()
			s, got := receiver(t, func(n int, w http.ResponseWriter) {
				if n <= 2 {
					w.WriteHeader(status)
				}
			})
			l := lane(t, Endpoint{URL: s.URL, Format: CloudEvents, CAs: string(authority(s))})
			d := desk(t, l)
			for i := range 5 {
				d.Put(pushed(fmt.Sprint("id-", i)), func() Request { return asked })
			}
			run(t, l)
			until(t, "the events", func() bool { return len(got()) >= 7 })
			until(t, "that all are delivered", func() bool { sent, _ := l.Courier.Stats(); return sent == 5 && l.spool.Waiting() == 0 })
			if got := ids(t, got()); got != "id-0 id-0 id-0 id-1 id-2 id-3 id-4" {
				t.Error(got)
			}
			if _, failed := l.Courier.Stats(); failed != 2 || l.Lost() != 0 {
				t.Errorf("%d failed, %d are lost", failed, l.Lost())
			}
		})
	}
}

// An event that the endpoint refuses is in the way of the others only for a while.
func TestAnEventThatIsRefused(t *testing.T) {
	t.Parallel()
	var l *Lane
	s, got := receiver(t, nil)
	s.Config.Handler = refuse(s.Config.Handler, "id-3")
	l = lane(t, Endpoint{URL: s.URL, Format: Distribution, CAs: string(authority(s))})
	l.patience = 20 * time.Millisecond
	d := desk(t, l)
	for i := range 10 {
		d.Put(pushed(fmt.Sprint("id-", i)), func() Request { return asked }).Wait()
	}
	run(t, l)
	until(t, "the rest", func() bool { return l.spool.Waiting() == 0 })
	if l.Lost() != 1 || len(l.Problems("a")) != 1 {
		t.Errorf("%d are lost: %v", l.Lost(), l.Problems("a"))
	}
	var all strings.Builder
	for _, r := range got() {
		all.Write(r.body)
	}
	for i := range 10 {
		if strings.Contains(all.String(), fmt.Sprintf("id-%d", i)) != (i != 3) {
			t.Errorf("id-%d: %s", i, all.String())
		}
	}
}

// A full spool loses what comes, and counts it.
func TestAFullLane(t *testing.T) {
	t.Parallel()
	l := lane(t, Endpoint{URL: "https://127.0.0.1:1/", Format: Distribution, Limit: 2000})
	d := desk(t, l)
	for i := range 50 {
		d.Put(pushed(fmt.Sprintf("id-%02d", i)), func() Request { return asked }).Wait()
	}
	kept := l.spool.Waiting() / int64(len(line(t, pushed("id-10")))+1)
	if l.Lost() != uint64(50-kept) || kept == 0 || len(l.Problems("a")) != 1 {
		t.Errorf("%d are lost, %d kept: %v", l.Lost(), kept, l.Problems("a"))
	}
}

// A push of several tags is an event of each; what nobody is told of costs nothing.
func TestWhoIsToldOfWhat(t *testing.T) {
	t.Parallel()
	e := pushed("a")
	e.Tag = "v1,v1.2,latest"
	var got []string
	for _, n := range From(e, asked) {
		got = append(got, n.ID+" "+n.Target.Tag)
	}
	if got := strings.Join(got, ", "); got != "a v1, a-2 v1.2, a-3 latest" {
		t.Error(got)
	}
	d := desk(t, lane(t, Endpoint{URL: "https://127.0.0.1:1/", Format: Distribution, Actions: []string{"delete"}}))
	for _, e := range []audit.Event{pushed("b"), {Action: audit.Login, Result: audit.OK}, {Action: audit.Delete, Result: audit.Denied, Repository: "a"}} {
		if kept := d.Put(e, func() Request { t.Error("asked"); return asked }); kept != nil {
			t.Errorf("%+v is taken", e)
		}
	}
}

// Where an endpoint may be, whatever its name leads to.
func TestGuard(t *testing.T) {
	for _, row := range []struct {
		url, address string
		want         bool
	}{
		{"https://ci.example.com", "192.0.2.7:443", true},
		{"http://ci.example.com", "192.0.2.7:80", false},
		{"http://ci.example.com", "10.1.2.3:80", true},
		{"http://ci.example.com", "[fd12::1]:80", true},
		{"https://ci.example.com", "127.0.0.1:443", false},
		{"https://ci.example.com", "[::ffff:127.0.0.1]:443", false},
		{"http://127.0.0.1", "127.0.0.1:80", true},
		{"http://localhost", "[::1]:80", true},
		{"https://ci.example.com", "169.254.169.254:443", false},
		{"https://localhost", "169.254.169.254:443", false},
	} {
		u, err := url.Parse(row.url)
		if err != nil {
			t.Fatal(err)
		}
		if err := guard(u, row.address); (err == nil) != row.want {
			t.Errorf("%s at %s: %v", row.url, row.address, err)
		}
		if err := guardProxy(u); (err == nil) != strings.HasPrefix(row.url, "https:") {
			t.Errorf("%s through a proxy: %v", row.url, err)
		}
	}
}

// An answer without an end costs a bounded time, and no memory.
func TestAnAnswerWithoutAnEnd(t *testing.T) {
	t.Parallel()
	ended := make(chan struct{})
	s, _ := receiver(t, func(_ int, w http.ResponseWriter) {
		defer close(ended)
		block := make([]byte, 1<<20)
		for {
			if _, err := w.Write(block); err != nil {
				return
			}
		}
	})
	if err := client(s, Distribution).Send(t.Context(), [][]byte{line(t, pushed("a"))}); err != nil {
		t.Error(err)
	}
	select {
	case <-ended:
	case <-time.After(time.Minute):
		t.Error("the answer is read on")
	}
}
