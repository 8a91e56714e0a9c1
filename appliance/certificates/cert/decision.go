package cert

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Want is what the server's certificates are to be.
type Want struct {
	Names    []string // that clients call the machine by, the first one first
	Validity time.Duration
	Brought  *CA      // signs for all names; nil: the machine's own authorities
	Given    *Checked // a certificate that somebody else made; it serves the names that it is for
	Origin   string   // of Given, in words
	// Awaited says that a certificate of another CA is on its way: until it is there,
	// the machine's own authorities serve, and one in force that is of none of them
	// stays for the names that it is for.
	Awaited bool
	// Keep leaves everything as it is, since of what is wanted something cannot be
	// used.
	Keep bool
}

// Have is what there is.
type Have struct {
	Pairs       []*tls.Certificate // in force; nil: none
	Problem     string             // why they cannot be read
	Authorities []Authority        // the machine's own
	Brought     *x509.Certificate  // the one that was brought last; nil: none
}

// Decision is what is to be done, and why.
type Decision struct {
	Authorities []NewAuthority
	Serve       []Serve  // in the order of the pairs
	Gone        []string // names of certificates that are dropped
	Trust       []Trust
	Brought     *CA   // of Want
	Problem     error // why something is not what it should be, while what is in force goes on
	reordered   bool  // another one is the first
}

// NewAuthority is an authority to make.
type NewAuthority struct {
	Number int
	Names  []string
	Why    string
}

// Serve is a certificate for some of the names: one of Keep, Given and an
// authority (of Brought, Own or New) that issues it.
type Serve struct {
	Names []string
	Keep  *tls.Certificate
	Given *Checked
	By    *CA
	New   int    // the number of the authority to make; 0: none
	Why   string // it is another one than before
}

// Publish says whether the certificates in force change.
func (d Decision) Publish() bool {
	changed := func(s Serve) bool { return s.Keep == nil }
	return d.reordered || len(d.Gone) > 0 || slices.ContainsFunc(d.Serve, changed)
}

// Lines are the decision as a person reads it before it is carried out.
func (d Decision) Lines() string {
	var b strings.Builder
	line := func(verb, format string, args ...any) {
		fmt.Fprintf(&b, "%-8s %s\n", verb, fmt.Sprintf(format, args...))
	}
	for _, a := range d.Authorities {
		line("make", "a certificate authority for %s: %s", list(a.Names), a.Why)
	}
	for _, s := range d.Serve {
		switch {
		case s.Keep != nil:
		case s.Given != nil:
			line("take", "the certificate for %s: %s", list(s.Names), s.Why)
		default:
			line("make", "a certificate for %s: %s", list(s.Names), s.Why)
		}
	}
	if d.reordered {
		line("serve", "the certificate for %s to clients that ask for no name", list(d.Serve[0].Names))
	}
	if len(d.Gone) > 0 {
		line("drop", "the certificate for %s: the machine is not called so any more", list(d.Gone))
	}
	for _, t := range d.Trust {
		line("trust", "%s", t)
	}
	return b.String()
}

func list(names []string) string { return strings.Join(names, ", ") }
