package registry

import (
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"net"
	"testing"
	"time"

	"github.com/redoubt-registry/redoubt/appliance/certificates/cert"
)

// A client gets the certificate of the name that it calls, or else of the address
// that it reaches: the one that was there before and the ones that came later are
// each served under the authority that their clients trust. A reload changes them
// all at once.
func TestCertificatesByNameAndAddress(t *testing.T) {
	m := newMachine(t)
	all, err := net.Listen("tcp4", "0.0.0.0:0")
	check(t, err)
	m.tls.Close()
	m.tls = all.(*net.TCPListener)
	m.config(t, "info")
	m.start(t)
	_, port, err := net.SplitHostPort(m.host())
	check(t, err)
	reaches := func(ca *cert.CA, name, address string) error {
		pool := x509.NewCertPool()
		pool.AddCert(ca.Certificate)
		c, err := tls.Dial("tcp", net.JoinHostPort(address, port), &tls.Config{RootCAs: pool, ServerName: name})
		if err == nil {
			c.Close()
		}
		return err
	}
	must := func(err error, what string) {
		t.Helper()
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	must(reaches(m.ca, "localhost", "127.0.0.1"), "before")

	further, err := cert.MakeAuthority(m.path("ca"), 2, []string{"mirror.example.org", "127.0.0.9"}, time.Now(), rand.Reader)
	check(t, err)
	first, err := m.ca.IssuePair([]string{"localhost", "127.0.0.1"}, time.Now(), 1000*time.Hour, rand.Reader)
	check(t, err)
	second, err := further.IssuePair([]string{"mirror.example.org", "127.0.0.9"}, time.Now(), 500*time.Hour, rand.Reader)
	check(t, err)
	check(t, cert.Publish(m.path("certificates"), -1, first, second))
	m.reload(t)
	must(reaches(m.ca, "localhost", "127.0.0.1"), "the name with the old authority")
	must(reaches(m.ca, "127.0.0.1", "127.0.0.1"), "the address with the old authority")
	must(reaches(further, "mirror.example.org", "127.0.0.1"), "the new name with the new authority")
	must(reaches(further, "127.0.0.9", "127.0.0.9"), "the new address with the new authority")
	if reaches(m.ca, "127.0.0.9", "127.0.0.9") == nil || reaches(further, "localhost", "127.0.0.1") == nil {
		t.Error("one authority is for all names")
	}
	end := time.Unix(int64(m.metric(t, "redoubt_certificate_not_after_seconds")), 0)
	if left := time.Until(end); left > 501*time.Hour {
		t.Errorf("the metric shows a certificate that ends in %v, and one ends before", left)
	}
	check(t, cert.Publish(m.path("certificates"), -1, first))
	m.reload(t)
	must(reaches(m.ca, "localhost", "127.0.0.1"), "after the new name has gone")
}
