package cert

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"slices"
)

// Trust is whose trust ends.
type Trust struct {
	Names  []string // clients that call the machine by these names
	Issuer string   // of the certificate that they need; empty: an authority that this machine hands out
}

// String says what the clients need.
func (t Trust) String() string {
	if t.Issuer != "" {
		return fmt.Sprintf("clients of %s need the CA of the new certificate: its issuer is %s", list(t.Names), t.Issuer)
	}
	return fmt.Sprintf("clients of %s must fetch their CA: redoubt ca trust", list(t.Names))
}

// trust notes the names of s whose clients trust another authority than the one
// that they need from now on.
func (d *decider) trust(s Serve) {
	if s.Keep != nil || len(d.have.Pairs) == 0 || d.want.Awaited {
		return
	}
	t := Trust{}
	for _, name := range s.Names {
		before := d.authorityOf(serving(d.have.Pairs, name))
		switch {
		case s.New > 0,
			s.By != nil && (before == nil || !before.Equal(s.By.Certificate)) && !d.inUse(s.By.Certificate),
			s.By != nil && before != nil && !before.Equal(s.By.Certificate),
			s.Given != nil && before != nil:
			t.Names = append(t.Names, name)
		}
	}
	if s.Given != nil {
		t.Issuer = s.Given.Leaf.Issuer.CommonName
	}
	if len(t.Names) > 0 {
		d.Trust = append(d.Trust, t)
	}
}

// authorityOf is the authority of this machine that signed p, or nil.
func (d *decider) authorityOf(p *tls.Certificate) *x509.Certificate {
	if p == nil {
		return nil
	}
	for _, a := range d.have.Authorities {
		if a.signed(p) {
			return a.Certificate
		}
	}
	if b := d.have.Brought; b != nil && p.Leaf.CheckSignatureFrom(b) == nil {
		return b
	}
	return nil
}

// inUse says whether an authority has signed anything that is in force.
func (d *decider) inUse(ca *x509.Certificate) bool {
	return slices.ContainsFunc(d.have.Pairs, func(p *tls.Certificate) bool { return p.Leaf.CheckSignatureFrom(ca) == nil })
}
