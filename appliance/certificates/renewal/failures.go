package renewal

import (
	"fmt"
	"time"
)

// Failures are the failed tries in a row. The zero value is none.
type Failures struct {
	Count int       `json:"count"`
	First time.Time `json:"first,omitzero"`
	Last  time.Time `json:"last,omitzero"`
	Next  time.Time `json:"next,omitzero"` // no try before
	Hold  time.Time `json:"hold,omitzero"` // no request before: the CA said so
	Error string    `json:"error,omitempty"`
}

// Backoff is the pause after so many failures in a row: 1, 10 and 100 minutes,
// then a day.
func Backoff(failures int) time.Duration {
	switch failures {
	case 1:
		return time.Minute
	case 2:
		return 10 * time.Minute
	case 3:
		return 100 * time.Minute
	}
	return day
}

const (
	// urgent is the longest pause after a certificate expired.
	urgent = time.Hour
	// maxHold is the longest Retry-After that is obeyed.
	maxHold = 8 * day
)

// Add returns f with one more failure. A pause is at most a quarter of the time left of c
// (but at least an hour), so that a CA that recovers in time is asked in time. hold is the
// CA's Retry-After; zero is none.
func (f Failures) Add(now time.Time, c *Certificate, hold time.Duration, problem string) Failures {
	if f.Count == 0 || f.First.After(now) {
		f.First = now
	}
	f.Count++
	f.Last, f.Error, f.Hold = now, problem, time.Time{}
	pause := Backoff(f.Count)
	if c != nil {
		pause = min(pause, max(urgent, c.NotAfter.Sub(now)/4))
	}
	f.Next = now.Add(pause)
	if hold = min(hold, maxHold); hold > 0 {
		f.Hold = now.Add(hold)
		if f.Hold.After(f.Next) {
			f.Next = f.Hold
		}
	}
	return f
}

// Retry is f for an operator who asks for a try now. The CA's Retry-After stays.
func (f Failures) Retry() Failures {
	f.Next = f.Hold
	return f
}

func (f Failures) waiting(now time.Time) bool {
	return f.Count > 0 && now.Before(f.Next) && !now.Before(f.Last)
}

func (f Failures) held(now time.Time) bool {
	return f.waiting(now) && now.Before(f.Hold)
}

func (f Failures) String() string {
	if f.Count == 1 {
		return "a failure: " + f.Error
	}
	return fmt.Sprintf("%d failures, the last one: %s", f.Count, f.Error)
}

const failingLong = 3 * day

// Alert is the reason for an alert, or empty: a quarter of the lifetime is left, or the
// tries have failed for three days.
func Alert(c *Certificate, f Failures, now time.Time) string {
	switch {
	case c != nil && !now.Before(c.NotAfter):
		return "the certificate expired at " + stamp(c.NotAfter)
	case c != nil && c.NotAfter.Sub(now) <= c.lifetime()/4:
		return "a quarter of the certificate's lifetime is left: it ends at " + stamp(c.NotAfter)
	case f.Count > 0 && now.Sub(f.First) >= failingLong:
		return "the renewal has failed since " + stamp(f.First)
	}
	return ""
}
