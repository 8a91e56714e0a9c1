//go:build integration

package registry

import (
	"bytes"
	"context"
	"crypto/x509"
	"net"
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/redoubt-registry/redoubt/appliance/certificates/acme"
	"github.com/redoubt-registry/redoubt/appliance/certificates/cert"
	"github.com/redoubt-registry/redoubt/appliance/storage/sharedstate"
	"github.com/redoubt-registry/redoubt/test/pebble"
)

// renewer obtains certificates from ca for m, whose port 80 the CA asks.
func (m *machine) renewer(ca *pebble.CA) *acme.Renewer {
	return &acme.Renewer{
		Store:      sharedstate.Dir{Path: m.path("acme"), Mode: 0o600, GID: -1, Now: time.Now},
		Challenges: sharedstate.Dir{Path: m.path("challenges"), Mode: 0o640, GID: -1, Now: time.Now},
		Want:       acme.Want{Names: []string{"localhost", "127.0.0.1"}, Directory: ca.Directory, Roots: ca.Roots},
		Owner:      "test", UserAgent: "redoubt-test", Now: time.Now, Out: os.Stderr,
	}
}

// renew obtains a certificate and publishes it.
func (m *machine) renew(t *testing.T, r *acme.Renewer) *x509.Certificate {
	t.Helper()
	memory, err := r.Tick(context.Background())
	check(t, err)
	check(t, cert.Publish(m.path("certificates"), -1, cert.Pair{Chain: []byte(memory.Chain), Key: []byte(memory.Key)}))
	m.reload(t)
	pair, err := memory.Pair()
	check(t, err)
	return pair.Leaf
}

func (m *machine) shows(t *testing.T) *x509.Certificate {
	t.Helper()
	transport := m.transport()
	transport.TLSClientConfig.InsecureSkipVerify = true
	a, err := send(transport, "GET", "https://"+m.host()+"/v2/", nil)
	check(t, err)
	return a.TLS.PeerCertificates[0]
}

func httpPort(m *machine) int { return m.http.Addr().(*net.TCPAddr).Port }

// The CA asks on the registry's own port 80, and the same process then shows
// what the CA gave.
func TestACMEThroughTheRegistry(t *testing.T) {
	m := newMachine(t)
	m.config(t, "info")
	m.start(t)
	ca := pebble.Start(t, pebble.Options{HTTPPort: httpPort(m)})
	if err := m.shows(t).CheckSignatureFrom(m.ca.Certificate); err != nil {
		t.Fatalf("before there is another, not the own CA's certificate: %v", err)
	}
	leaf := m.renew(t, m.renewer(ca))
	if !m.shows(t).Equal(leaf) {
		t.Error("the registry does not show the CA's certificate")
	}
	chain, err := m.shows(t).Verify(x509.VerifyOptions{Roots: ca.Issuers(), DNSName: "localhost", Intermediates: intermediates(t, m)})
	if err != nil || len(chain) == 0 {
		t.Errorf("a client of the CA's refuses it: %v", err)
	}
	left, err := os.ReadDir(m.path("challenges"))
	check(t, err)
	for _, e := range left {
		if e.Name() != ".lock" {
			t.Errorf("%s is left of a challenge", e.Name())
		}
	}
}

func intermediates(t *testing.T, m *machine) *x509.CertPool {
	t.Helper()
	pair, err := cert.Current(m.path("certificates"))
	check(t, err)
	pool := x509.NewCertPool()
	for _, der := range pair.Certificate[1:] {
		c, err := x509.ParseCertificate(der)
		check(t, err)
		pool.AddCert(c)
	}
	return pool
}

func TestChallengesAndNothingElse(t *testing.T) {
	m := newMachine(t)
	m.config(t, "info")
	check(t, os.MkdirAll(m.path("challenges"), 0o750))
	m.write(t, "challenges/tok-en_1", "tok-en_1.thumbprint")
	m.write(t, "secret", "not for you")
	m.start(t)
	base := "http://" + m.http.Addr().String() + challengePrefix
	for path, want := range map[string]int{
		"tok-en_1": 200, "unknown": 404, "": 404, "..%2fsecret": 404, "../secret": 404, ".lock": 404,
		"tok-en_1/": 404, "tok-en_1%00": 404, "%2e%2e%2fsecret": 404,
	} {
		a, err := send(http.DefaultTransport, "GET", base+path, nil)
		check(t, err)
		if a.StatusCode != want || want == 200 && a.body != "tok-en_1.thumbprint" || bytes.Contains([]byte(a.body), []byte("not for you")) {
			t.Errorf("%q: %s %q, want %d", path, a.Status, a.body, want)
		}
	}
	a, err := send(http.DefaultTransport, "POST", base+"tok-en_1", nil)
	check(t, err)
	if a.StatusCode != 404 {
		t.Errorf("POST: %s", a.Status)
	}
	// A machine in maintenance still gets its certificate.
	m.write(t, "maintenance.json", `{"hostname":"x","errors":[]}`)
	m.reload(t)
	a, err = send(http.DefaultTransport, "GET", base+"tok-en_1", nil)
	check(t, err)
	if a.StatusCode != 200 {
		t.Errorf("in maintenance: %s", a.Status)
	}
}

// Fifty renewals, each with a certificate of the CA's, under load and with an
// upload in flight that began before the first: no request fails.
func TestFiftyRenewalsUnderLoad(t *testing.T) {
	m := newMachine(t)
	m.config(t, "warn")
	m.start(t)
	ca := pebble.Start(t, pebble.Options{HTTPPort: httpPort(m)})
	m.roots = ca.Issuer()
	r := m.renewer(ca)
	r.Force = true
	pid := m.process.Process.Pid
	stop := m.load(t, 4)
	data := bytes.Repeat([]byte("layer"), 100_000)
	u := m.begin(t, "slow", data[:len(data)/2])
	seen := map[string]bool{}
	half := len(data) / 2
	for range 50 {
		half = u.more(t, data, half) // one that stands still is ended
		leaf := m.renew(t, r)
		if !m.shows(t).Equal(leaf) {
			t.Fatal("the registry does not show the new certificate")
		}
		seen[leaf.SerialNumber.String()] = true
	}
	u.finish(t, data[half:], digest.FromBytes(data).String())
	failed, all := stop()
	if failed > 0 || all < 10 {
		t.Errorf("%d of %d operations failed", failed, all)
	}
	if len(seen) != 50 || m.process.Process.Pid != pid {
		t.Errorf("%d certificates", len(seen))
	}
	t.Logf("50 certificates, %d operations, none failed", all)
}
