package quota

import (
	"cmp"
	"context"
	"slices"
	"time"
)

// share is which part of what is left a push sets aside at most before it needs it: near
// the limit pushes must not keep space from each other.
const share = 16

// Push is one upload, mount or manifest under way, under the rules for its repository.
type Push struct {
	ledger *Ledger
	rules  []Rule
	id     string
}

// Push begins or goes on with a push; nil where no rule is for the repository. Requests
// that belong to one push have one id.
func (l *Ledger) Push(repository, id string) *Push {
	if l == nil {
		return nil
	}
	rules := l.Rules.of(repository)
	if len(rules) == 0 {
		return nil
	}
	return &Push{l, rules, id}
}

// Except leaves out the rules that are for another repository too: what that has counts
// already.
func (p *Push) Except(repository string) *Push {
	both := p.ledger.Rules.of(repository)
	p.rules = slices.DeleteFunc(p.rules, func(r Rule) bool {
		return slices.ContainsFunc(both, func(b Rule) bool { return b.key() == r.key() })
	})
	return p
}

// Set sets aside total bytes for the push, instead of what was set aside for it, and some
// more, but no more than most; it returns how many. It returns an *Exceeded if total does
// not fit, and changes nothing then.
func (p *Push) Set(ctx context.Context, total, most int64) (got int64, err error) {
	if len(p.rules) == 0 {
		return max(total, most), nil
	}
	var out struct { // the change may be made after this has returned
		got     int64
		missing bool
	}
	err = p.ledger.change(ctx, func(all accounts) error {
		out.got, out.missing = max(total, most), false
		for _, r := range p.rules {
			a := all[r.key()]
			out.missing = out.missing || !a.Counted
			had := a.Open[p.id].Bytes
			left := r.Size - a.used() + had
			if total > had && total > left {
				return &Exceeded{r, a.used(), total - had}
			}
			out.got = min(out.got, total+max((left-total)/share, 0))
		}
		p.put(all, func(a account) account {
			a.Open[p.id] = opened{out.got, p.ledger.Now().UTC()}
			return a.fold()
		})
		return nil
	})
	if ctx.Err() != nil {
		return 0, cmp.Or(err, ctx.Err())
	}
	if out.missing && p.ledger.Uncounted != nil {
		p.ledger.Uncounted()
	}
	return out.got, err
}

// Room returns an *Exceeded if nothing fits any more.
func (p *Push) Room(ctx context.Context) error {
	all, _, err := p.ledger.read(ctx)
	if err != nil {
		return err
	}
	for _, r := range p.rules {
		if used := all[r.key()].used(); used >= r.Size {
			return &Exceeded{r, used, 1}
		}
	}
	return nil
}

// End ends the push: stored bytes are in the storage now that were not before. It counts
// them even where they were not set aside.
func (p *Push) End(ctx context.Context, stored int64) error {
	if len(p.rules) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	return p.ledger.change(ctx, func(all accounts) error {
		p.put(all, func(a account) account {
			delete(a.Open, p.id)
			a.Since += stored
			return a
		})
		return nil
	})
}

// put changes the account of each rule.
func (p *Push) put(all accounts, f func(account) account) {
	for _, r := range p.rules {
		a := all[r.key()]
		if a.Open == nil {
			a.Open = map[string]opened{}
		}
		all[r.key()] = f(a)
	}
}

// fold counts the oldest of too many pushes as stored.
func (a account) fold() account {
	for len(a.Open) > mostOpen {
		oldest, at := "", time.Time{}
		for id, o := range a.Open {
			if oldest == "" || o.At.Before(at) {
				oldest, at = id, o.At
			}
		}
		a.Since += a.Open[oldest].Bytes
		delete(a.Open, oldest)
	}
	return a
}

// Fresh is the time since when links count, whether a manifest needs them or not; zero:
// all do. It is that of the rule that leaves out most.
func (p *Push) Fresh(ctx context.Context) (cut time.Time, err error) {
	all, _, err := p.ledger.read(ctx)
	for _, r := range p.rules {
		if a := all[r.key()]; a.Cut.After(cut) {
			cut = a.Cut
		}
	}
	return cut, err
}
