package acme

import (
	"context"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/mholt/acmez/v3/acme"

	"github.com/redoubt-registry/redoubt/appliance/certificates/renewal"
)

// When the CA is asked again: as it says, but at least twice a day, and soon after a
// failure to ask it (RFC 9773, 4.3).
const (
	askUsual = 6 * time.Hour
	askMost  = 12 * time.Hour
	askLeast = 10 * time.Minute
	askSoon  = time.Hour
)

// ask gets the CA's suggested window (ARI). A failure is noted and is no error: then the
// lifetime decides.
func (t *tick) ask(ctx context.Context) {
	m := t.memory
	s := Suggestion{Window: m.Suggestion.Window, Asked: t.now, AskAt: t.now.Add(askSoon)}
	answer, err := t.renewalInfo(ctx)
	switch {
	case errors.Is(err, acme.ErrUnsupported) || m.Directory != t.Want.Directory:
		s = Suggestion{Asked: t.now, AskAt: t.now.Add(askMost)}
	case err != nil:
		s.Problem = explain(err).Error()
		if hold := t.ca.seen.hold(); hold > askSoon {
			s.AskAt = t.now.Add(min(hold, askMost))
		}
	case !answer.Window.End.After(answer.Window.Start) || answer.Window.Start.IsZero():
		s.Window, s.Problem = nil, "the CA's suggestion makes no sense"
	default:
		s = suggestion(t.now, answer.Window.Start, answer.Window.End, answer.ExplanationURL, m.Suggestion.Window)
		if hold := t.ca.seen.hold(); hold > 0 {
			s.AskAt = t.now.Add(min(max(hold, askLeast), askMost))
		}
	}
	if s.Problem != "" {
		t.logf("the CA's suggestion when to renew cannot be had, so the lifetime decides: %s", s.Problem)
	}
	m.Suggestion = s
}

// info is the document of RFC 9773, 4.2.
type info struct {
	Window struct {
		Start time.Time `json:"start"`
		End   time.Time `json:"end"`
	} `json:"suggestedWindow"`
	ExplanationURL string `json:"explanationURL"`
}

func (t *tick) renewalInfo(ctx context.Context) (info, error) {
	var answer info
	dir, err := t.ca.offer(ctx)
	if err != nil {
		return answer, err
	}
	leaf := t.memory.leaf()
	if dir.RenewalInfo == "" || leaf == nil {
		return answer, acme.ErrUnsupported
	}
	id, err := acme.ARIUniqueIdentifier(leaf)
	if err != nil {
		return answer, err
	}
	data, err := t.ca.get(ctx, dir.RenewalInfo+"/"+id)
	if err != nil {
		return answer, err
	}
	if err := json.Unmarshal(data, &answer); err != nil {
		return info{}, nil // it makes no sense
	}
	return answer, nil
}

// suggestion draws a moment in a window. It keeps the moment while the window is the
// same.
func suggestion(now, start, end time.Time, explanation string, old *renewal.Window) Suggestion {
	w := &renewal.Window{Start: start, End: end, Selected: start.Add(rand.N(end.Sub(start)))}
	if old != nil && old.Start.Equal(start) && old.End.Equal(end) {
		w.Selected = old.Selected
	}
	return Suggestion{Window: w, Explanation: explanation, Asked: now, AskAt: now.Add(askUsual)}
}
