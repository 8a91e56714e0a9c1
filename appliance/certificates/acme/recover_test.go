//go:build integration

package acme

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/redoubt-registry/redoubt/appliance/certificates/renewal"
	"github.com/redoubt-registry/redoubt/test/pebble"
)

func TestReplacedOrForeign(t *testing.T) {
	t.Parallel()
	w := newWorld(t, pebble.Options{}, "registry.example.com")
	p := w.front()
	old := *w.issued()
	w.due()
	w.issued()
	p.Forget()
	w.change(func(m *Memory) { m.Chain, m.Key = old.Chain, old.Key })
	w.due()
	w.issued()
	if n := len(p.Requests(newOrder)); n != 2 {
		t.Errorf("replaced before: %d orders, want one refused and one more", n)
	}
	p.Forget()
	w.change(func(m *Memory) { m.Account = nil })
	w.due()
	w.issued()
	if n := len(p.Requests(newOrder)); n != 2 {
		t.Errorf("of another account: %d orders, want one refused and one more", n)
	}
}

func TestDatabaseLost(t *testing.T) {
	t.Parallel()
	w := newWorld(t, pebble.Options{}, "registry.example.com")
	p := w.front()
	before := w.issued().Account.Location
	w.ca.Restart()
	p.Forget()
	w.due()
	if m := w.issued(); m.Account.Location == before {
		t.Error("the account is the old one")
	}
	if n := len(p.Requests("/sign-me-up")); n != 1 {
		t.Errorf("registered %d times", n)
	}
}

func TestRetryAfterIsHonoured(t *testing.T) {
	t.Parallel()
	w := newWorld(t, pebble.Options{}, "registry.example.com")
	p := w.front()
	w.issued()
	w.due()
	limit := func(out http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path != newOrder {
			return false
		}
		out.Header().Set("Retry-After", "7200")
		pebble.Problem(out, http.StatusTooManyRequests, "rateLimited", "too many certificates")
		return true
	}
	p.Meddle(limit)
	w.fails("the CA limits the rate", "too many certificates")
	if n := len(p.Requests(newOrder)); n != 2 { // the first certificate's, and the one that was refused
		t.Errorf("%d orders", n)
	}
	p.Forget()
	p.Meddle(nil)
	w.ask()
	w.patient()
	w.late = 119 * time.Minute
	w.Force = true
	w.idle()
	w.Force = false
	w.idle()
	if r := p.Requests(""); len(r) > 0 {
		t.Errorf("requests before it was time: %q", r)
	}
	w.late = 121 * time.Minute
	w.due()
	w.issued()
}

func TestChallengeUnreachable(t *testing.T) {
	t.Parallel()
	w := newMachine(t, "registry.example.com")
	w.ca = pebble.Start(t, pebble.Options{}) // asks where nobody is
	p := w.front()
	orders := func(want int, when string) {
		t.Helper()
		if n := len(p.Requests(newOrder)); n != want {
			t.Errorf("%s: %d orders, want %d", when, n, want)
		}
	}
	w.fails("could not find out that registry.example.com is this machine's", "port 80", "http://registry.example.com/")
	orders(1, "at first")
	for i, pause := range []time.Duration{time.Minute, 10 * time.Minute, 100 * time.Minute, 24 * time.Hour, 24 * time.Hour} {
		other := *w.Renewer // of another machine
		other.Owner = "another"
		w.late += pause - 10*time.Second
		w.idle()
		if _, err := other.Tick(t.Context()); err != nil {
			t.Error(err)
		}
		orders(i+1, "before "+pause.String())
		w.late += 11 * time.Second
		w.fails("could not find out")
		orders(i+2, "after "+pause.String())
	}
}

func TestDownThroughTheWindow(t *testing.T) {
	t.Parallel()
	w := newWorld(t, pebble.Options{}, "registry.example.com")
	before := w.issued()
	w.ca.Stop()
	w.due()
	m := w.fails("cannot be reached")
	if m.Chain != before.Chain || m.Key != before.Key {
		t.Error("the pair that was in force is not there any more")
	}
	if alert := renewal.Alert(m.Certificate(), m.Failures, w.Now()); alert != "" {
		t.Errorf("an alert at once: %s", alert)
	}
	if alert := renewal.Alert(m.Certificate(), m.Failures, w.Now().Add(73*time.Hour)); !strings.Contains(alert, "has failed since") {
		t.Errorf("no alert after three days: %q", alert)
	}
	w.ca.Restart()
	w.late = 2 * time.Minute
	w.issued()
	if n := w.memory().Failures.Count; n != 0 {
		t.Errorf("%d failures after a success", n)
	}
}

func TestKeyOfAnother(t *testing.T) {
	t.Parallel()
	w := newWorld(t, pebble.Options{}, "registry.example.com")
	w.issued()
	key, err := newKey()
	if err != nil {
		t.Fatal(err)
	}
	w.change(func(m *Memory) { m.Key = key })
	w.issued()
	if !strings.Contains(w.out.String(), "does not belong to the certificate") {
		t.Errorf("no reason is given: %s", w.out.String())
	}
}

func TestClockIsWrong(t *testing.T) {
	t.Parallel()
	w := newWorld(t, pebble.Options{}, "registry.example.com")
	p := pebble.Front(t, w.ca) // whose clock stays right
	w.Want.Directory, w.Want.Roots = p.Directory, p.Roots
	w.issued()
	p.Forget()
	w.late = -33 * 24 * time.Hour
	w.fails("before the certificate was made", "timedatectl")
	if r := p.Requests(""); len(r) > 0 {
		t.Errorf("a clock that is late asks: %q", r)
	}
	w.late = 30 * 24 * time.Hour
	w.change(func(m *Memory) { m.Suggestion = Suggestion{Asked: w.Now(), AskAt: w.Now().Add(time.Hour)} })
	w.late += 24 * time.Hour
	w.fails("the clock says", "the CA says", "nothing is ordered")
	if r := p.Requests(newOrder); len(r) > 0 {
		t.Error("a clock that is early orders")
	}
	w.late = 0 // fixed
	w.idle()
	w.due()
	w.issued() // without a pause
}

func TestExpired(t *testing.T) {
	t.Parallel()
	w := newWorld(t, pebble.Options{Profiles: map[string]pebble.Profile{"default": {Description: "short", ValidityPeriod: 2}}}, "registry.example.com")
	m := w.issued()
	for time.Now().Before(m.leaf().NotAfter.Add(time.Second)) {
		time.Sleep(50 * time.Millisecond)
	}
	w.issued()
}
