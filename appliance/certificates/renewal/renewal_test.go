package renewal

import (
	"testing"
	"time"
)

func life(d time.Duration) Certificate {
	return Certificate{NotBefore: start, NotAfter: start.Add(d)}
}

func TestDue(t *testing.T) {
	at := func(d time.Duration) time.Time { return start.Add(d) }
	window := func(from, to, selected time.Duration) *Window { return &Window{at(from), at(to), at(selected)} }
	for name, tc := range map[string]struct {
		life   time.Duration
		window *Window
		want   time.Duration
	}{
		"two thirds":         {90 * day, nil, 60 * day},
		"half of a short":    {6 * day, nil, 3 * day},
		"a window":           {90 * day, window(50*day, 52*day, 51*day), 51 * day},
		"a past window":      {90 * day, window(-2*day, -day, -day), -day},
		"a far window":       {90 * day, window(9000*day, 9001*day, 9000*day), 75 * day},
		"a reversed window":  {90 * day, window(52*day, 50*day, 51*day), 60 * day},
		"an empty window":    {90 * day, &Window{}, 60 * day},
		"outside the window": {90 * day, window(50*day, 52*day, 53*day), 60 * day},
	} {
		got, why := Due(life(tc.life), tc.window)
		if !got.Equal(at(tc.want)) || why == "" {
			t.Errorf("%s: due on day %v (%s), want %v", name, got.Sub(start).Hours()/24, why, tc.want.Hours()/24)
		}
	}
}

func TestDecide(t *testing.T) {
	c := life(90 * day)
	now := start.Add(10 * day)
	late := start.Add(70 * day)
	never := start.Add(1000 * day)
	failed := func(last time.Time) Failures { return Failures{}.Add(last, &c, 0, "x") }
	held := Failures{}.Add(late, &c, 5*time.Hour, "x")
	for name, tc := range map[string]struct {
		in   Input
		want Action
	}{
		"nothing to do":              {Input{Now: now, Certificate: &c, AskAt: never}, Wait},
		"time to ask":                {Input{Now: now, Certificate: &c, AskAt: now}, Ask},
		"asked in the future":        {Input{Now: now, Certificate: &c, AskAt: never, AskedAt: late}, Ask},
		"due":                        {Input{Now: late, Certificate: &c, AskAt: never}, Order},
		"due, just failed":           {Input{Now: late.Add(time.Second), Certificate: &c, AskAt: never, Failures: failed(late)}, Wait},
		"due, failed a minute ago":   {Input{Now: late.Add(time.Minute), Certificate: &c, AskAt: never, Failures: failed(late)}, Order},
		"due, failed in the future":  {Input{Now: late, Certificate: &c, AskAt: never, Failures: failed(late.Add(day))}, Order},
		"none":                       {Input{Now: now}, Order},
		"none, just failed":          {Input{Now: now, Failures: failed(now)}, Wait},
		"changed":                    {Input{Now: now, Certificate: &c, Change: "names", AskAt: never}, Order},
		"before it was made":         {Input{Now: start.Add(-day), Certificate: &c}, Distrust},
		"the CA said not to ask":     {Input{Now: late.Add(4 * time.Hour), Certificate: &c, Failures: held}, Wait},
		"the CA's pause is over":     {Input{Now: late.Add(5 * time.Hour), Certificate: &c, AskAt: never, Failures: held}, Order},
		"in a pause, a question":     {Input{Now: late.Add(time.Second), Certificate: &c, Failures: failed(late)}, Ask},
		"expired":                    {Input{Now: start.Add(91 * day), Certificate: &c, AskAt: never}, Order},
		"none, and the clock is odd": {Input{Now: start.Add(-9000 * day)}, Order},
	} {
		if got := Decide(tc.in); got.Action != tc.want {
			t.Errorf("%s: %d (%s), want %d", name, got.Action, got.Why, tc.want)
		}
	}
}

func TestFailures(t *testing.T) {
	var f Failures
	for i, want := range []time.Duration{time.Minute, 10 * time.Minute, 100 * time.Minute, day, day} {
		f = f.Add(start, nil, 0, "x")
		if got := f.Next.Sub(start); got != want {
			t.Errorf("after %d failures: %v, want %v", i+1, got, want)
		}
	}
	for left, want := range map[time.Duration]time.Duration{30 * day: day, day: 6 * time.Hour, time.Hour: time.Hour, -day: time.Hour} {
		c := Certificate{start.Add(-90 * day), start.Add(left)}
		if got := f.Add(start, &c, 0, "x").Next.Sub(start); got != want {
			t.Errorf("with %v left: %v, want %v", left, got, want)
		}
	}
	if got := f.Add(start, nil, 3*day, "x").Next.Sub(start); got != 3*day {
		t.Errorf("the CA says three days: %v", got)
	}
	if got := f.Add(start, nil, 400*day, "x").Next.Sub(start); got != maxHold {
		t.Errorf("the CA says a year: %v", got)
	}
	if got := (Failures{}).Add(start, nil, 3*time.Hour, "x").Retry().Next.Sub(start); got != 3*time.Hour {
		t.Errorf("a retry by hand forgets what the CA said: %v", got)
	}
}

func TestClock(t *testing.T) {
	for skew, ok := range map[time.Duration]bool{0: true, 59 * time.Minute: true, -59 * time.Minute: true, 2 * time.Hour: false, -2 * time.Hour: false} {
		if err := Clock(start.Add(skew), start); (err == nil) != ok {
			t.Errorf("%v: %v", skew, err)
		}
	}
	if err := Clock(start, time.Time{}); err != nil {
		t.Errorf("a CA without a clock: %v", err)
	}
}

func TestProfile(t *testing.T) {
	encrypt := map[string]string{"classic": "", "tlsserver": "", "shortlived": ""}
	for name, tc := range map[string]struct {
		configured, kept string
		addresses        bool
		offered          map[string]string
		want             string
		bad              bool
	}{
		"names":                     {offered: encrypt, want: "tlsserver"},
		"addresses":                 {addresses: true, offered: encrypt, want: "shortlived"},
		"kept":                      {kept: "classic", offered: encrypt, want: "classic"},
		"kept, now with an address": {kept: "classic", addresses: true, offered: encrypt, want: "shortlived"},
		"kept, not offered":         {kept: "old", offered: encrypt, want: "tlsserver"},
		"configured":                {configured: "classic", kept: "tlsserver", addresses: true, offered: encrypt, want: "classic"},
		"configured, not offered":   {configured: "nope", offered: encrypt, bad: true},
		"configured, none offered":  {configured: "nope", bad: true},
		"none offered":              {kept: "classic"},
		"only others":               {offered: map[string]string{"b": "", "a": ""}, want: "a"},
	} {
		got, err := Profile(tc.configured, tc.kept, tc.addresses, tc.offered)
		if got != tc.want || (err != nil) != tc.bad {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}

func TestAlert(t *testing.T) {
	c := life(40 * day)
	failing := Failures{Count: 9, First: start}
	for name, tc := range map[string]struct {
		after time.Duration
		f     Failures
		alert bool
	}{
		"fresh": {day, Failures{}, false}, "a quarter left": {30 * day, Failures{}, true}, "over": {41 * day, Failures{}, true},
		"failing": {2 * day, failing, false}, "failing for long": {3 * day, failing, true},
	} {
		if got := Alert(&c, tc.f, start.Add(tc.after)); (got != "") != tc.alert {
			t.Errorf("%s: %q", name, got)
		}
	}
}
