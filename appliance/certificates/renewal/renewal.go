// Package renewal decides when a certificate is renewed: a pure function of the
// certificate, its CA's suggestion, the failures so far, and the time.
package renewal

import (
	"cmp"
	"fmt"
	"time"
)

const day = 24 * time.Hour

// Certificate is what the decision needs of a certificate.
type Certificate struct {
	NotBefore, NotAfter time.Time
}

func (c Certificate) lifetime() time.Duration { return c.NotAfter.Sub(c.NotBefore) }

// LastThird is when a third of the lifetime is left, and why c is renewed then.
func (c Certificate) LastThird() (time.Time, string) {
	return c.NotAfter.Add(-c.lifetime() / 3), "two thirds of the lifetime are over"
}

// Window is the CA's suggested window (ARI, RFC 9773), with the moment in it that was
// drawn at random.
type Window struct {
	Start    time.Time `json:"start"`
	End      time.Time `json:"end"`
	Selected time.Time `json:"selected"`
}

// usable tells whether the window makes sense (RFC 9773, 4.2).
func (w *Window) usable() bool {
	return w != nil && !w.Start.IsZero() && w.End.After(w.Start) && !w.Selected.Before(w.Start) && !w.Selected.After(w.End)
}

// Due is when c is renewed, and why then: at the moment drawn from the CA's
// window, or else when a third of the lifetime is left, half of one that is
// shorter than ten days. Whatever the CA suggests, it is before the last sixth.
func Due(c Certificate, w *Window) (time.Time, string) {
	floor := c.NotAfter.Add(-c.lifetime() / 6)
	switch {
	case w.usable() && w.Selected.Before(floor):
		return w.Selected, "the CA suggests it"
	case w.usable():
		return floor, "the last sixth of the lifetime begins, whatever the CA suggests"
	case c.lifetime() < 10*day:
		return c.NotAfter.Add(-c.lifetime() / 2), "half of the lifetime is over"
	default:
		return c.LastThird()
	}
}

// Action is what there is to do.
type Action int

// The actions.
const (
	Wait     Action = iota // nothing
	Ask                    // ask the CA when it suggests a renewal
	Order                  // order a certificate
	Distrust               // the clock is wrong: do nothing, and say so
)

// Input is what a decision is made from.
type Input struct {
	Now         time.Time
	Certificate *Certificate // nil: none
	Change      string       // why the certificate is not the one that is wanted, or empty
	Window      *Window      // nil: the CA suggested none
	AskAt       time.Time    // when the CA may be asked again
	AskedAt     time.Time    // when it was asked
	Failures    Failures
}

// Decision is what to do now.
type Decision struct {
	Action Action
	Why    string
	Next   time.Time // when something will be due, as far as is known
	Plan   Plan
}

// Plan is when a certificate that fits is renewed, as far as is known.
type Plan struct {
	Renews time.Time `json:"renews,omitzero"`
	Reason string    `json:"reason,omitempty"` // for that moment
	Asks   time.Time `json:"asks,omitzero"`    // when the CA is asked again for its suggestion
}

// Decide says what to do. Times of the state that lie in the future are ignored: the clock
// was set back meanwhile.
func Decide(in Input) Decision {
	d := decide(in)
	if in.Certificate != nil && in.Change == "" {
		d.Plan.Renews, d.Plan.Reason = Due(*in.Certificate, in.Window)
		d.Plan.Asks = in.AskAt
	}
	return d
}

func decide(in Input) Decision {
	held, waiting := in.Failures.held(in.Now), in.Failures.waiting(in.Now)
	retry := Decision{Action: Wait, Why: "after " + in.Failures.String(), Next: in.Failures.Next}
	switch {
	case in.Certificate == nil || in.Change != "":
		if waiting {
			return retry
		}
		return Decision{Action: Order, Why: cmp.Or(in.Change, "there is none yet"), Next: in.Now}
	case in.Now.Before(in.Certificate.NotBefore):
		return Decision{Action: Distrust, Why: fmt.Sprintf("the clock says %s, which is before the certificate was made (%s)",
			stamp(in.Now), stamp(in.Certificate.NotBefore)), Next: in.Now}
	case held:
		return retry
	case !in.Now.Before(in.AskAt) || in.AskedAt.After(in.Now):
		return Decision{Action: Ask, Why: "it is time to ask the CA", Next: in.Now}
	}
	due, why := Due(*in.Certificate, in.Window)
	switch {
	case in.Now.Before(due) && in.AskAt.Before(due):
		return Decision{Action: Wait, Why: "the CA is asked again", Next: in.AskAt}
	case in.Now.Before(due):
		return Decision{Action: Wait, Why: why, Next: due}
	case waiting:
		return retry
	}
	return Decision{Action: Order, Why: why, Next: in.Now}
}

// clockTolerance is how far a clock may be from the CA's.
const clockTolerance = time.Hour

// Clock is an error if the machine's clock and the CA's disagree, so that nobody can tell
// whether a certificate is due. Either may be wrong.
func Clock(now, ca time.Time) error {
	if ca.IsZero() || now.Sub(ca).Abs() <= clockTolerance {
		return nil
	}
	return fmt.Errorf("the clock says %s and the CA says %s: nothing is ordered before they agree; see: timedatectl", stamp(now), stamp(ca))
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }
