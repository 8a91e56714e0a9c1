package cert

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"slices"
	"time"
)

// Decide compares. What is in force stays where it can: a name keeps the authority
// that its clients trust as long as that permits it and can sign, and only names
// that none permits get a new one. An authority that is damaged is never replaced
// here: what it has signed goes on, and where that is not enough it is an error.
func Decide(want Want, have Have, now time.Time) (Decision, error) {
	if want.Keep {
		return keep(want, have)
	}
	d := &decider{Decision: Decision{Brought: want.Brought}, want: want, have: have, now: now}
	var rest []string
	for _, name := range want.Names {
		switch {
		case want.Given != nil && isFor(want.Given.Leaf, name):
			d.add(name, Serve{Given: want.Given})
		case want.Brought != nil:
			d.add(name, Serve{By: want.Brought})
		case want.Awaited && d.other(name) != nil:
			d.add(name, Serve{Keep: d.other(name)})
		default:
			rest = append(rest, name)
		}
	}
	for _, name := range rest {
		if err := d.own(name); err != nil {
			return Decision{}, err
		}
	}
	d.makeNew()
	d.settle()
	return d.Decision, nil
}

// keep leaves what is in force, if that is for all names.
func keep(want Want, have Have) (Decision, error) {
	for _, name := range want.Names {
		if serving(have.Pairs, name) == nil {
			return Decision{}, fmt.Errorf("no certificate in force is for %s", name)
		}
	}
	var d Decision
	for _, p := range have.Pairs {
		d.Serve = append(d.Serve, Serve{Keep: p})
	}
	return d, nil
}

type decider struct {
	Decision
	want  Want
	have  Have
	now   time.Time
	stray []string // names that no authority permits
}

// add makes a certificate serve one name more.
func (d *decider) add(name string, s Serve) {
	for i, have := range d.Serve {
		if have.Keep == s.Keep && have.Given == s.Given && have.By == s.By && have.New == s.New {
			d.Serve[i].Names = append(d.Serve[i].Names, name)
			return
		}
	}
	s.Names = []string{name}
	d.Serve = append(d.Serve, s)
}

// other is the certificate in force for a name that none of the machine's own
// authorities has signed.
func (d *decider) other(name string) *tls.Certificate {
	p := serving(d.have.Pairs, name)
	if p == nil || d.now.After(p.Leaf.NotAfter) {
		return nil
	}
	for _, a := range d.have.Authorities {
		if a.signed(p) || a.Certificate == nil && selfSigned(p) {
			return nil
		}
	}
	return p
}

// own finds the machine's own authority for a name: the one that signed what is in
// force, or else the first that permits it.
func (d *decider) own(name string) error {
	present := serving(d.have.Pairs, name)
	usable := slices.DeleteFunc(slices.Clone(d.have.Authorities), func(a Authority) bool { return !a.usable(name, d.now) })
	by := slices.IndexFunc(usable, func(a Authority) bool { return a.signed(present) })
	if by < 0 && len(usable) > 0 {
		by = 0
	}
	broken := d.broken(name, present)
	switch {
	case broken != nil && present != nil && (by < 0 || !usable[by].signed(present)):
		d.Problem = broken.trouble()
		d.add(name, Serve{Keep: present})
	case by >= 0:
		d.add(name, Serve{By: usable[by].CA})
	case broken != nil:
		return fmt.Errorf("no certificate in force is for %s: %w", name, broken.trouble())
	default:
		d.stray = append(d.stray, name)
	}
	return nil
}

// broken is a damaged authority that clients of a name may trust.
func (d *decider) broken(name string, present *tls.Certificate) *Authority {
	for i, a := range d.have.Authorities {
		switch {
		case a.Problem == nil:
		case a.Certificate == nil: // nobody knows what it permits
			known := func(o Authority) bool { return o.signed(present) }
			if !slices.ContainsFunc(d.have.Authorities, known) {
				return &d.have.Authorities[i]
			}
		case permits(a.Certificate, name) && !a.over(d.now):
			return &d.have.Authorities[i]
		}
	}
	return nil
}

// Damaged is an authority of the machine that cannot be used. Only a person can say
// what to do.
type Damaged struct{ Err error }

func (d *Damaged) Error() string {
	return d.Err.Error() + ": put the file back, or have a new authority made, which clients must then fetch: redoubt ca replace"
}

// Unwrap is why it cannot be used.
func (d *Damaged) Unwrap() error { return d.Err }

func (a Authority) trouble() error { return &Damaged{a.Problem} }

// makeNew puts the names that no authority permits under a new one.
func (d *decider) makeNew() {
	if len(d.stray) == 0 {
		return
	}
	number, why := 1, "there is none yet"
	for _, a := range d.have.Authorities {
		if a.Certificate != nil && a.over(d.now) && permits(a.Certificate, d.stray[0]) {
			number, why = a.Number, "the old one, which is put aside, ends at "+moment(a.Certificate.NotAfter)
			break
		}
		number, why = max(number, a.Number+1), "no authority of this machine permits "+plural(d.stray, "it", "them")
	}
	d.Authorities = []NewAuthority{{Number: number, Names: d.stray, Why: why}}
	for _, name := range d.stray {
		d.add(name, Serve{New: number})
	}
}

// settle orders the certificates, keeps those that are in force already and says
// why the others are not, and whose trust ends.
func (d *decider) settle() {
	first := d.want.Names[0]
	slices.SortStableFunc(d.Serve, func(a, b Serve) int {
		return boolCompare(slices.Contains(b.Names, first), slices.Contains(a.Names, first))
	})
	for i, s := range d.Serve {
		if s.Keep == nil {
			d.Serve[i] = d.compare(s)
		}
	}
	for _, p := range d.have.Pairs {
		if !slices.ContainsFunc(d.Serve, func(s Serve) bool { return s.Keep == p || s.replaces(p) }) {
			d.Gone = append(d.Gone, Names(p.Leaf)...)
		}
	}
	for _, s := range d.Serve {
		d.trust(s)
	}
	if !d.Publish() && len(d.Serve) > 0 {
		d.reordered = d.Serve[0].Keep != d.have.Pairs[0]
	}
}

// compare is s, with the pair in force if that will do.
func (d *decider) compare(s Serve) Serve {
	s.Why = d.have.Problem
	if s.Why == "" {
		s.Why = "there is none yet"
	}
	for _, p := range d.have.Pairs {
		why := d.differs(s, p)
		if why == "" {
			return Serve{Names: s.Names, Keep: p}
		}
		if s.replaces(p) {
			s.Why = why
		}
	}
	return s
}

// replaces says whether s is for a name that p is for.
func (s Serve) replaces(p *tls.Certificate) bool {
	return slices.ContainsFunc(s.Names, func(n string) bool { return isFor(p.Leaf, n) })
}

// differs is why p is not what s asks for, or nothing.
func (d *decider) differs(s Serve, p *tls.Certificate) string {
	switch leaf := p.Leaf; {
	case s.Given != nil && SamePair(p, *s.Given):
		return ""
	case s.Given != nil:
		return d.want.Origin
	case s.By == nil:
		return "it is of another authority"
	case leaf.CheckSignatureFrom(s.By.Certificate) != nil:
		return "it is of another authority"
	case !NamesAre(leaf, s.Names):
		return "the names have changed"
	case NeedsRenewal(leaf, d.now):
		return "it is due: it ends at " + moment(leaf.NotAfter)
	case lifetimeDiffers(leaf, s.By, d.want.Validity):
		return "its lifetime has been changed to " + d.want.Validity.String()
	}
	return ""
}

func lifetimeDiffers(leaf *x509.Certificate, ca *CA, validity time.Duration) bool {
	made := leaf.NotBefore.Add(backdate)
	difference := ca.leafEnd(made, validity).Sub(leaf.NotAfter).Abs()
	return difference > time.Minute
}

func (a Authority) signed(p *tls.Certificate) bool {
	return p != nil && a.Certificate != nil && p.Leaf.CheckSignatureFrom(a.Certificate) == nil
}

// over says whether an authority is about to end, so that it signs no more.
func (a Authority) over(now time.Time) bool { return now.Add(caMargin).After(a.Certificate.NotAfter) }

func (a Authority) usable(name string, now time.Time) bool {
	return a.CA != nil && !a.over(now) && permits(a.Certificate, name)
}

func permits(ca *x509.Certificate, name string) bool {
	set, err := parseNames([]string{name})
	return err == nil && set.permittedBy(ca)
}

// selfSigned says whether the chain of a pair ends in a root, which those of the
// machine's own authorities do.
func selfSigned(p *tls.Certificate) bool {
	top, err := x509.ParseCertificate(p.Certificate[len(p.Certificate)-1])
	return err == nil && bytes.Equal(top.RawSubject, top.RawIssuer)
}

// serving is the pair that clients of a name get, or nil.
func serving(pairs []*tls.Certificate, name string) *tls.Certificate {
	for _, p := range pairs {
		if isFor(p.Leaf, name) {
			return p
		}
	}
	return nil
}

func isFor(c *x509.Certificate, name string) bool { return NamesInclude(c, []string{name}) }

func moment(t time.Time) string { return t.UTC().Format(time.RFC3339) }

func plural(of []string, one, many string) string {
	if len(of) == 1 {
		return one
	}
	return many
}

func boolCompare(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	}
	return -1
}
