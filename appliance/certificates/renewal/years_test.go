package renewal

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"text/tabwriter"
	"time"
)

// world is a machine and its CA for some years. Nobody sleeps.
type world struct {
	random *rand.Rand
	now    time.Time     // the true time
	skew   time.Duration // of the machine's clock
	life   func(time.Time) time.Duration

	outages, deaf []span // of the CA; when it cannot reach the machine
	off           []span // the machine is
	jumps         []jump

	// What the machine knows.
	certificate *Certificate
	window      *Window
	askAt       time.Time
	askedAt     time.Time
	failures    Failures

	// What is counted.
	issued, asked, reboots int
	orders, refused        []time.Time // reached the CA; of those, failed to validate
	plain                  []time.Time // without replaces
	least                  time.Duration
	expired                time.Duration
}

type span struct{ from, to time.Time }

type jump struct {
	span
	skew time.Duration
}

func in(spans []span, t time.Time) bool {
	for _, s := range spans {
		if !t.Before(s.from) && t.Before(s.to) {
			return true
		}
	}
	return false
}

// spans are count of them, each in its own part of the years and with two days
// after it: what goes on for weeks is one trouble and not many, and no renewer's
// to fix.
func (w *world) spans(count int, least, most time.Duration) []span {
	var all []span
	part := years / time.Duration(count)
	for i := range count {
		long := least + time.Duration(w.random.Int64N(int64(most-least)))
		from := start.Add(time.Duration(i)*part + time.Duration(w.random.Int64N(int64(part-long-2*day))))
		all = append(all, span{from, from.Add(long)})
	}
	return all
}

// tick does with this package what the renewer does with it.
func (w *world) tick() {
	decide := func() Decision {
		return Decide(Input{Now: w.clock(), Certificate: w.certificate, Window: w.window, AskAt: w.askAt, AskedAt: w.askedAt, Failures: w.failures})
	}
	d := decide()
	if d.Action == Ask {
		w.ask()
		d = decide()
	}
	if d.Action != Order {
		return
	}
	switch {
	case in(w.outages, w.now):
		w.failures = w.failures.Add(w.clock(), w.certificate, 0, "down")
	case w.certificate != nil && Clock(w.clock(), w.now) != nil:
		w.failures = w.failures.Add(w.clock(), w.certificate, 0, "the clock")
	default:
		w.order()
	}
}

func (w *world) order() {
	w.orders = append(w.orders, w.now)
	if w.certificate == nil {
		w.plain = append(w.plain, w.now)
	}
	if in(w.deaf, w.now) {
		w.refused = append(w.refused, w.now)
		w.failures = w.failures.Add(w.clock(), w.certificate, 0, "unreachable")
		return
	}
	if w.certificate != nil {
		w.least = min(w.least, w.certificate.NotAfter.Sub(w.now))
	}
	w.certificate = &Certificate{NotBefore: w.now.Add(-time.Hour), NotAfter: w.now.Add(w.life(w.now))}
	w.window, w.failures = nil, Failures{}
	w.askAt, w.askedAt = w.clock(), w.clock()
	w.issued++
}

// ask gets a window about two thirds of the way, or now and then one in the past
// (a revocation), or none.
func (w *world) ask() {
	w.asked++
	w.askedAt, w.askAt = w.clock(), w.clock().Add(6*time.Hour)
	if in(w.outages, w.now) || w.random.IntN(20) == 0 {
		w.askAt = w.clock().Add(time.Hour)
		return
	}
	life := w.certificate.lifetime()
	begin := w.certificate.NotAfter.Add(-life / 3)
	if w.random.IntN(1500) == 0 {
		begin = w.now.Add(-48 * time.Hour)
	}
	next := &Window{Start: begin, End: begin.Add(life / 30)}
	if w.window != nil && w.window.Start.Equal(begin) {
		return
	}
	next.Selected = begin.Add(time.Duration(w.random.Int64N(int64(life / 30))))
	w.window = next
}

func (w *world) clock() time.Time { return w.now.Add(w.skew) }

var start = time.Date(2026, 11, 21, 0, 0, 0, 0, time.UTC)

const years = 3 * 365 * day

// live goes through the years tick by tick.
func (w *world) live() {
	w.now, w.least = start, 1<<62
	for w.now.Before(start.Add(years)) {
		step := 10*time.Minute + time.Duration(w.random.Int64N(int64(5*time.Minute)))
		off := in(w.off, w.now)
		if off {
			step = time.Minute // until it boots, and a minute later it looks
		} else {
			w.skew = 0
			for _, j := range w.jumps {
				if in([]span{j.span}, w.now) {
					w.skew = j.skew
				}
			}
			w.tick()
		}
		next := w.now.Add(step)
		if c := w.certificate; c != nil && !off && next.After(c.NotAfter) {
			w.expired += step
		}
		if off && !in(w.off, next) {
			w.reboots++
			next = next.Add(time.Minute)
		}
		w.now = next
	}
}

// most is how many of times fall into any span of d.
func most(times []time.Time, d time.Duration) int {
	best := 0
	for i := range times {
		n := 0
		for _, t := range times[i:] {
			if t.Sub(times[i]) < d {
				n++
			}
		}
		best = max(best, n)
	}
	return best
}

func constant(d time.Duration) func(time.Time) time.Duration {
	return func(time.Time) time.Duration { return d }
}

// shrinking is what Let's Encrypt has announced for its classic profile.
func shrinking(t time.Time) time.Duration {
	switch {
	case t.Before(time.Date(2027, 2, 10, 0, 0, 0, 0, time.UTC)):
		return 90 * day
	case t.Before(time.Date(2028, 2, 16, 0, 0, 0, 0, time.UTC)):
		return 64 * day
	}
	return 45 * day
}

// Nobody looks after the machine for three years in which the CA goes down and
// comes back, the machine is off now and then or cannot be reached, and its clock
// goes wrong. No hour is served on an expired certificate, and the CA's limits
// are kept.
func TestUnattendedYears(t *testing.T) {
	var table strings.Builder
	out := tabwriter.NewWriter(&table, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(out, "profile\tseed\tcertificates\torders\tfailed\tquestions\treboots\tleast left\tin 7 days\tfailed in 1 h\thours expired\t")
	for _, p := range []struct {
		name string
		life func(time.Time) time.Duration
		// longest is what the machine can be cut off for, one way or another.
		longest time.Duration
	}{
		{"45 days", constant(45 * day), 7 * day},
		{"90, 64, 45 days", shrinking, 7 * day},
		{"160 hours", constant(160 * time.Hour), 30 * time.Hour},
	} {
		for seed := range uint64(5) {
			w := &world{random: rand.New(rand.NewPCG(seed, 7)), life: p.life}
			w.outages = w.spans(60, time.Hour, p.longest)
			w.deaf = w.spans(20, time.Hour, p.longest/2)
			w.off = w.spans(40, time.Minute, p.longest/4)
			for i, s := range w.spans(40, time.Hour, 20*time.Hour) {
				w.jumps = append(w.jumps, jump{s, []time.Duration{-33 * day, 30 * day, -7 * time.Hour, 3 * time.Hour, -30 * time.Minute}[i%5]})
			}
			w.live()
			fmt.Fprintf(out, "%s\t%d\t%d\t%d\t%d\t%d\t%d\t%v\t%d\t%d\t%.1f\t\n", p.name, seed, w.issued, len(w.orders), len(w.refused), w.asked,
				w.reboots, w.least.Round(time.Hour), most(w.orders, 7*day), most(w.refused, time.Hour), w.expired.Hours())
			if w.expired > 0 {
				t.Errorf("%s, seed %d: %v on an expired certificate", p.name, seed, w.expired)
			}
			// Rate limits of Let's Encrypt; those for a set of names count what
			// renews nothing.
			if n := most(w.plain, 7*day); n > 5 {
				t.Errorf("%s, seed %d: %d certificates in 7 days that renew nothing", p.name, seed, n)
			}
			if n := most(w.refused, time.Hour); n > 5 {
				t.Errorf("%s, seed %d: %d validations failed in an hour", p.name, seed, n)
			}
			if n := most(w.orders, 3*time.Hour); n > 300 {
				t.Errorf("%s, seed %d: %d orders in 3 hours", p.name, seed, n)
			}
			if w.issued < 10 {
				t.Errorf("%s, seed %d: %d certificates in three years", p.name, seed, w.issued)
			}
		}
	}
	out.Flush()
	t.Log("\n" + table.String())
}
