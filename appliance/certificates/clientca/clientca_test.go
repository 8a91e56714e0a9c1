package clientca_test

import (
	"crypto/tls"
	"crypto/x509"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/redoubt-registry/redoubt/appliance/access/clients"
	"github.com/redoubt-registry/redoubt/appliance/certificates/clientca"
)

const day = 24 * time.Hour

var start = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)

// place is a store, and a clock that the test moves.
type place struct {
	*testing.T
	dir string
	now time.Time
}

func newPlace(t *testing.T) *place { return &place{t, filepath.Join(t.TempDir(), "client-ca"), start} }

func (p *place) open() (*clientca.Store, error) {
	return clientca.Open(p.dir, "registry.example.com", p.now, -1)
}

// tick is what renew does every ten minutes.
func (p *place) tick() {
	p.Helper()
	s, err := p.open()
	if err != nil {
		p.Fatal(err)
	}
	s.Close()
}

func (p *place) issue(name string, days int) *x509.Certificate {
	p.Helper()
	s, err := p.open()
	if err != nil {
		p.Fatal(err)
	}
	defer s.Close()
	issued, err := s.Issue(name, days)
	if err != nil {
		p.Fatal(err)
	}
	return issued.Certificate
}

func (p *place) revoke(name string) {
	p.Helper()
	s, err := p.open()
	if err != nil {
		p.Fatal(err)
	}
	defer s.Close()
	if _, err := s.Revoke(name); err != nil {
		p.Fatal(err)
	}
}

// counts says why a registry that starts now refuses a client's certificate.
func (p *place) counts(c *x509.Certificate) error {
	p.Helper()
	files := clients.Files{CAs: []string{filepath.Join(p.dir, clientca.CertificateFile)}, CRLs: []string{filepath.Join(p.dir, clientca.CRLFile)}}
	checker, err := clients.Open(files, false, nil, func() time.Time { return p.now }, func(err error) { p.Error(err) })
	if err != nil {
		p.Fatal(err)
	}
	_, err = checker.Verify(&tls.ConnectionState{PeerCertificates: []*x509.Certificate{c}})
	return err
}

func (p *place) authorities() int {
	p.Helper()
	data, err := os.ReadFile(filepath.Join(p.dir, clientca.CertificateFile))
	if err != nil {
		p.Fatal(err)
	}
	return strings.Count(string(data), "BEGIN CERTIFICATE")
}

// The authority is replaced before it ends, and goes on for the certificates that it
// has issued until the last of them has ended; those can still be revoked.
func TestTheOldAuthorityCountsUntilItsLastCertificateHasEnded(t *testing.T) {
	p := newPlace(t)
	p.tick()
	end := start.Add(10 * 365 * day)
	p.now = end.Add(-401 * day)
	old, gone := p.issue("old", 365), p.issue("gone", 365)
	p.now = end.Add(-399 * day)
	p.tick()
	next := p.issue("next", 365)
	if next.CheckSignatureFrom(old) == nil || string(next.AuthorityKeyId) == string(old.AuthorityKeyId) {
		t.Fatal("there is no new authority")
	}
	p.revoke("gone")
	for days := 398; days > 37; days -= 60 {
		p.now = end.Add(-time.Duration(days) * day)
		p.tick()
		if err := p.counts(old); err != nil {
			t.Errorf("%d days before the end: of the old authority: %v", days, err)
		}
		if err := p.counts(gone); err == nil || !strings.Contains(err.Error(), "revoked") {
			t.Errorf("%d days before the end: revoked, of the old authority: %v", days, err)
		}
		if err := p.counts(next); days > 60 && err != nil {
			t.Errorf("%d days before the end: of the new authority: %v", days, err)
		}
		if n := p.authorities(); n != 2 {
			t.Errorf("%d days before the end: %d authorities", days, n)
		}
	}
	p.now = old.NotAfter.Add(25 * time.Hour)
	p.tick()
	if p.counts(old) == nil || p.authorities() != 1 {
		t.Errorf("when its last certificate has ended: %v, %d authorities", p.counts(old), p.authorities())
	}
}

// What a power cut leaves of the change to another authority is finished.
func TestAPowerCutWhileTheAuthorityChanges(t *testing.T) {
	for name, cut := range map[string]func(dir, aside string) error{
		"the certificate alone is put aside": func(dir, aside string) error {
			return os.Rename(filepath.Join(dir, "ca.crt"), filepath.Join(dir, "ca.crt"+aside))
		},
		"both are": func(dir, aside string) error {
			if err := os.Rename(filepath.Join(dir, "ca.crt"), filepath.Join(dir, "ca.crt"+aside)); err != nil {
				return err
			}
			return os.Rename(filepath.Join(dir, "ca.key"), filepath.Join(dir, "ca.key"+aside))
		},
	} {
		p := newPlace(t)
		p.now = start.Add(10*365*day - 401*day)
		first := newPlace(t)
		first.dir, first.T = p.dir, t
		first.tick()
		old := p.issue("old", 365)
		p.now = p.now.Add(2 * day)
		if err := cut(p.dir, ".kept-20360101T000000Z"); err != nil {
			t.Fatal(err)
		}
		next := p.issue("next", 10)
		if err := p.counts(old); err != nil {
			t.Errorf("%s: of the old authority: %v", name, err)
		}
		if err := p.counts(next); err != nil {
			t.Errorf("%s: of the new authority: %v", name, err)
		}
	}
}

// A store that is damaged is left as it is, and is never a new one.
func TestADamagedStoreIsLeftAlone(t *testing.T) {
	for _, file := range []string{"clients.json", "ca.key", "ca.crt"} {
		for name, harm := range map[string]func(path string) error{
			"torn":    func(path string) error { return os.WriteFile(path, []byte("{torn"), 0o600) },
			"missing": os.Remove,
		} {
			p := newPlace(t)
			c := p.issue("ci-1", 30)
			p.revoke("ci-1")
			path := filepath.Join(p.dir, file)
			whole, err := os.ReadFile(path)
			if err == nil {
				err = harm(path)
			}
			if err != nil {
				t.Fatal(err)
			}
			p.now = start.Add(8 * day) // the list is half over
			if s, err := p.open(); err == nil {
				s.Close()
				t.Errorf("%s is %s: it is used", file, name)
			} else if !strings.Contains(err.Error(), file) {
				t.Errorf("%s is %s: %v", file, name, err)
			}
			if err := os.WriteFile(path, whole, 0o600); err != nil {
				t.Fatal(err)
			}
			p.tick()
			if err := p.counts(c); err == nil || !strings.Contains(err.Error(), "revoked") {
				t.Errorf("%s was %s and is back: %v", file, name, err)
			}
		}
	}
}
