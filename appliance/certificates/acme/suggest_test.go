//go:build integration

package acme

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/redoubt-registry/redoubt/test/pebble"
)

func window(start, end time.Time) string {
	return fmt.Sprintf(`{"suggestedWindow":{"start":%q,"end":%q}}`, start.UTC().Format(time.RFC3339), end.UTC().Format(time.RFC3339))
}

func TestPastWindowRenewsNextTick(t *testing.T) {
	t.Parallel()
	w := newWorld(t, pebble.Options{}, "registry.example.com")
	p := w.front()
	m := w.issued()
	w.ca.Suggest([]byte(m.Chain), window(time.Now().Add(-48*time.Hour), time.Now().Add(-24*time.Hour)))
	w.idle() // it is not time to ask
	w.ask()
	var told string
	p.Meddle(func(_ http.ResponseWriter, r *http.Request) bool {
		if id, ok := replaces(t, r); ok {
			told = id
		}
		return false
	})
	w.issued()
	if told == "" {
		t.Error("the order does not say what it replaces")
	}
}

func TestUnusableWindows(t *testing.T) {
	t.Parallel()
	now := time.Now()
	for name, document := range map[string]string{
		"malformed": "{{",
		"empty":     "{}",
		"reversed":  window(now.Add(-24*time.Hour), now.Add(-48*time.Hour)),
		"no length": window(now.Add(-24*time.Hour), now.Add(-24*time.Hour)),
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, pebble.Options{}, "registry.example.com")
			w.front()
			w.ca.Suggest([]byte(w.issued().Chain), document)
			w.ask()
			w.idle()
			if s := w.memory().Suggestion; s.Window != nil || s.Problem == "" {
				t.Errorf("it is believed: %+v", s)
			}
			w.at(0.65)
			w.idle()
			w.at(0.68) // two thirds
			w.issued()
		})
	}
	t.Run("in 2099", func(t *testing.T) {
		w := newWorld(t, pebble.Options{}, "registry.example.com")
		w.front()
		far := time.Date(2099, 1, 1, 0, 0, 0, 0, time.UTC)
		w.ca.Suggest([]byte(w.issued().Chain), window(far, far.Add(time.Hour)))
		w.ask()
		w.at(0.8)
		w.idle()
		w.at(0.84) // five sixths
		w.issued()
	})
}

func TestSuggestionsFailOrdersWork(t *testing.T) {
	t.Parallel()
	w := newWorld(t, pebble.Options{}, "registry.example.com")
	p := w.front()
	w.issued()
	w.change(func(m *Memory) { m.Suggestion = Suggestion{} })
	p.Meddle(func(out http.ResponseWriter, r *http.Request) bool {
		if !strings.Contains(r.URL.Path, "renewalInfo") {
			return false
		}
		out.Header().Set("Date", w.Now().UTC().Format(http.TimeFormat))
		pebble.Problem(out, http.StatusInternalServerError, "serverInternal", "down")
		return true
	})
	w.at(0.5)
	w.idle()
	w.at(0.7)
	w.issued()
}

// The CA is asked as often as it says, and at least twice a day.
func TestSuggestionsAreAskedFor(t *testing.T) {
	t.Parallel()
	w := newWorld(t, pebble.Options{}, "registry.example.com")
	p := w.front()
	w.issued()
	p.Forget()
	for range 24 * 6 {
		w.late += 10 * time.Minute
		w.idle()
	}
	asked := len(p.Requests("renewalInfo"))
	t.Logf("asked %d times a day", asked)
	if asked < 2 || asked > 8 {
		t.Errorf("the CA was asked %d times in a day", asked)
	}
}
