package registry

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redoubt-registry/redoubt/appliance/certificates/cert"
	"github.com/redoubt-registry/redoubt/appliance/certificates/clientca"
)

// mutual gives the machine a client CA and makes registry.yml ask for its
// certificates.
func (m *machine) mutual(t *testing.T, mode string) {
	t.Helper()
	m.store(t).Close()
	m.tlsMore = fmt.Sprintf(", clientcas: [%q], clientauth: %s", m.path("client-ca/ca.crt"), mode)
	m.authMore = fmt.Sprintf(", crls: [%q], clientcertificates: [{match: CN=ci-*, user: ci}]", m.path("client-ca/crl.pem"))
	m.config(t, "info")
}

func (m *machine) store(t *testing.T) *clientca.Store {
	t.Helper()
	s, err := clientca.Open(m.path("client-ca"), "localhost", time.Now(), -1)
	check(t, err)
	return s
}

func (m *machine) client(t *testing.T, name string) tls.Certificate {
	t.Helper()
	s := m.store(t)
	defer s.Close()
	issued, err := s.Issue(name, 30)
	check(t, err)
	pair, err := tls.X509KeyPair(issued.CertPEM, issued.KeyPEM)
	check(t, err)
	return pair
}

func (m *machine) revoke(t *testing.T, name string) {
	t.Helper()
	s := m.store(t)
	defer s.Close()
	if gone, err := s.Revoke(name); err != nil || len(gone) != 1 {
		t.Fatalf("revoked %d, %v", len(gone), err)
	}
}

// as is a transport that shows a certificate.
func (m *machine) as(pairs ...tls.Certificate) *http.Transport {
	transport := m.transport()
	transport.TLSClientConfig.Certificates = pairs
	return transport
}

// ask asks for /v2/ without a login. It returns the status, or 0 where the
// handshake was refused.
func (m *machine) ask(t *testing.T, transport *http.Transport) int {
	t.Helper()
	w, err := transport.RoundTrip(m.question(t))
	if err != nil {
		var network *net.OpError
		if !errors.As(err, &network) && !strings.Contains(err.Error(), "could not be established") {
			t.Errorf("refused by something else than TLS: %v", err)
		}
		return 0
	}
	w.Body.Close()
	return w.StatusCode
}

func (m *machine) question(t *testing.T) *http.Request {
	r, err := http.NewRequest(http.MethodGet, "https://"+m.host()+"/v2/", nil)
	check(t, err)
	return r
}

const (
	requireThem = "require-and-verify-client-cert"
	ifGiven     = "verify-client-cert-if-given"
)

func TestClientCertificates(t *testing.T) {
	for _, mode := range []string{requireThem, ifGiven} {
		t.Run(mode, func(t *testing.T) {
			m := newMachine(t)
			m.mutual(t, mode)
			m.start(t)
			stranger, err := clientca.Open(m.path("stranger"), "stranger", time.Now(), -1)
			check(t, err)
			foreign, err := stranger.Issue("ci-1", 30)
			check(t, err)
			stranger.Close()
			foreignPair, err := tls.X509KeyPair(foreign.CertPEM, foreign.KeyPEM)
			check(t, err)
			server, err := cert.Current(m.path("certificates"))
			check(t, err)
			own := ephemeral() // another process's
			without := 0
			if mode == ifGiven {
				without = http.StatusUnauthorized
			}
			for who, tc := range map[string]struct {
				pairs []tls.Certificate
				want  int
			}{
				"no certificate":             {nil, without},
				"one that logs in":           {[]tls.Certificate{m.client(t, "ci-1")}, http.StatusOK},
				"one that does not":          {[]tls.Certificate{m.client(t, "other")}, http.StatusUnauthorized},
				"another CA's":               {[]tls.Certificate{foreignPair}, 0},
				"the server's own":           {[]tls.Certificate{*server}, 0},
				"like the watchdog's":        {[]tls.Certificate{*own}, 0},
				"a name that begins another": {[]tls.Certificate{m.client(t, "xci-1")}, http.StatusUnauthorized},
			} {
				if len(tc.pairs) > 0 { // shown even where the server names other authorities
					pair := tc.pairs[0]
					transport := m.transport()
					transport.TLSClientConfig.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }
					if got := m.ask(t, transport); got != tc.want {
						t.Errorf("%s: %d, want %d", who, got, tc.want)
					}
				} else if got := m.ask(t, m.transport()); got != tc.want {
					t.Errorf("%s: %d, want %d", who, got, tc.want)
				}
			}
			if a, err := send(m.as(m.client(t, "other")), http.MethodGet, "https://"+m.host()+"/v2/", nil); err != nil || a.StatusCode != http.StatusOK {
				t.Errorf("a certificate that does not log in, and a password: %v %v", err, a.Response)
			}
			until(t, "the access log to name who came", func() bool { return strings.Contains(m.log.String(), `"user":"ci"`) })
		})
	}
}

// With match: any each certificate that a brought CA signed logs in, as openssl makes it: of
// version 1, without a use, and without a common name.
func TestAnyCertificateOfABroughtCA(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	sh := exec.CommandContext(t.Context(), "sh", "-euc", `cd "$1"
ec="-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes"
for ca in clients stranger; do
	openssl req -x509 $ec -days 30 -subj "/C=CH/O=$ca" -keyout $ca.key -out $ca.crt
	openssl req -new $ec -subj "/C=CH/ST=Vaud/O=Example" -keyout $ca-1.key -out $ca.csr
	openssl x509 -req -in $ca.csr -CA $ca.crt -CAkey $ca.key -CAcreateserial -days 30 -out $ca-1.crt
done`, "sh", m.dir)
	if out, err := sh.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	m.tlsMore = fmt.Sprintf(", clientcas: [%q], clientauth: %s", m.path("clients.crt"), requireThem)
	m.authMore = ", clientcertificates: [{match: any, user: ci}]"
	m.config(t, "info")
	m.start(t)
	for name, want := range map[string]int{"clients": http.StatusOK, "stranger": 0} {
		pair, err := tls.LoadX509KeyPair(m.path(name+"-1.crt"), m.path(name+"-1.key"))
		check(t, err)
		transport := m.transport()
		transport.TLSClientConfig.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }
		if got := m.ask(t, transport); got != want {
			t.Errorf("a certificate of %s: %d, want %d", name, got, want)
		}
	}
}

// A revoked client is cut off wherever it already is: in TLS sessions that it
// resumes and on connections that it has kept open.
func TestRevokedClientIsCutOff(t *testing.T) {
	t.Parallel()
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		for _, h2 := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, HTTP/2 %t", tls.VersionName(version), h2), func(t *testing.T) {
				t.Parallel()
				m := newMachine(t)
				m.mutual(t, requireThem)
				m.start(t)
				pair := m.client(t, "ci-1")
				open, other := m.as(pair), m.as(m.client(t, "ci-2"))
				for _, transport := range []*http.Transport{open, other} {
					transport.TLSClientConfig.MaxVersion, transport.ForceAttemptHTTP2 = version, h2
				}
				if a, b := m.ask(t, open), m.ask(t, other); a != http.StatusOK || b != http.StatusOK {
					t.Fatalf("before: %d %d", a, b)
				}
				sessions := &sessionCache{}
				if !m.resume(t, pair, version, sessions) {
					t.Fatal("no session is resumed before the revocation: the test shows nothing")
				}
				m.revoke(t, "ci-1")
				revoked := time.Now()
				for m.ask(t, open) == http.StatusOK {
					if time.Since(revoked) > 10*time.Second {
						t.Fatal("the open connection still serves")
					}
					time.Sleep(50 * time.Millisecond)
				}
				if m.resume(t, pair, version, sessions) {
					t.Error("a session is resumed after the revocation")
				}
				if got := m.ask(t, m.as(pair)); got != 0 {
					t.Errorf("a new connection: %d", got)
				}
				if got := m.ask(t, other); got != http.StatusOK {
					t.Errorf("another client: %d", got)
				}
				t.Logf("cut %v after the revocation", time.Since(revoked).Round(time.Millisecond))
			})
		}
	}
}

// sessionCache keeps the last session.
type sessionCache struct{ last *tls.ClientSessionState }

func (c *sessionCache) Get(string) (*tls.ClientSessionState, bool)    { return c.last, c.last != nil }
func (c *sessionCache) Put(_ string, session *tls.ClientSessionState) { c.last = session }

// resume makes a first connection if the cache is empty, and then one that
// resumes it. It says whether that one was resumed and answered.
func (m *machine) resume(t *testing.T, pair tls.Certificate, version uint16, sessions *sessionCache) bool {
	t.Helper()
	roots := x509.NewCertPool()
	roots.AddCert(m.ca.Certificate)
	once := func() (bool, error) {
		conn, err := tls.Dial("tcp", m.host(), &tls.Config{
			RootCAs: roots, Certificates: []tls.Certificate{pair}, MinVersion: version, MaxVersion: version, ClientSessionCache: sessions,
		})
		if err != nil {
			return false, err
		}
		defer conn.Close()
		check(t, conn.SetDeadline(time.Now().Add(20*time.Second)))
		if _, err := conn.Write([]byte("GET /v2/ HTTP/1.1\r\nHost: localhost\r\n\r\n")); err != nil {
			return false, err
		}
		line := make([]byte, 12)
		if _, err := conn.Read(line); err != nil {
			return false, err
		}
		if string(line) != "HTTP/1.1 200" {
			return false, errors.New(string(line))
		}
		return conn.ConnectionState().DidResume, nil
	}
	if sessions.last == nil {
		if _, err := once(); err != nil {
			t.Fatal(err)
		}
	}
	resumed, err := once()
	if err != nil {
		t.Logf("resuming: %v", err)
	}
	return err == nil && resumed
}

// A certificate for servers is not one for clients, whoever signed it.
func TestServersAreNoClients(t *testing.T) {
	m := newMachine(t)
	m.mutual(t, requireThem)
	m.tlsMore = strings.Replace(m.tlsMore, "[", fmt.Sprintf("[%q, ", m.path("company.crt")), 1)
	m.config(t, "info")
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(t, err)
	sign := func(serial int64, template, parent *x509.Certificate) []byte {
		template.SerialNumber, template.BasicConstraintsValid = big.NewInt(serial), true
		template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
		der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), key)
		check(t, err)
		return der
	}
	company := &x509.Certificate{Subject: pkix.Name{CommonName: "Company"}, IsCA: true, KeyUsage: x509.KeyUsageCertSign}
	ca, err := x509.ParseCertificate(sign(1, company, company))
	check(t, err)
	m.write(t, "company.crt", string(cert.EncodeCertificate(ca)))
	m.start(t)
	for use, want := range map[x509.ExtKeyUsage]int{x509.ExtKeyUsageServerAuth: 0, x509.ExtKeyUsageClientAuth: http.StatusOK} {
		der := sign(2, &x509.Certificate{Subject: pkix.Name{CommonName: "ci-1"}, ExtKeyUsage: []x509.ExtKeyUsage{use}}, ca)
		if got := m.ask(t, m.as(tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key})); got != want {
			t.Errorf("key usage %d: %d, want %d", use, got, want)
		}
	}
}

// A new client CA ends what the old one signed, in resumed sessions too, and a
// file that cannot be used changes nothing.
func TestClientTrustChanges(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.mutual(t, requireThem)
	m.start(t)
	pair, sessions := m.client(t, "ci-1"), &sessionCache{}
	open := m.as(pair)
	if got := m.ask(t, open); got != http.StatusOK || !m.resume(t, pair, tls.VersionTLS13, sessions) {
		t.Fatalf("before: %d", got)
	}
	check(t, os.WriteFile(m.path("client-ca/crl.pem"), []byte("broken"), 0o600))
	until(t, "the broken list to be refused", func() bool {
		if got := m.ask(t, open); got != http.StatusOK {
			t.Fatalf("while the list is broken: %d", got)
		}
		return strings.Contains(m.log.String(), "the change is refused")
	})
	if got := m.ask(t, open); got != http.StatusOK {
		t.Fatalf("with a broken list: %d", got)
	}
	if got := m.metric(t, "redoubt_client_trust_stale"); got != 1 {
		t.Errorf("redoubt_client_trust_stale is %v", got)
	}
	check(t, os.Rename(m.path("client-ca"), m.path("old-ca")))
	m.store(t).Close()
	until(t, "the old CA's client to be cut off", func() bool { return m.ask(t, open) != http.StatusOK })
	if m.resume(t, pair, tls.VersionTLS13, sessions) {
		t.Error("a session of the old CA is resumed")
	}
	if got := m.ask(t, m.as(m.client(t, "ci-1"))); got != http.StatusOK {
		t.Errorf("the new CA's client: %d", got)
	}
	if status := m.reload(t); !strings.Contains(status, "STATUS=serving") {
		t.Error(status)
	}
	if got := m.ask(t, m.as(pair)); got != 0 {
		t.Errorf("the old CA's client after a reload: %d", got)
	}
}

// Turning it on cuts off those who are connected without a certificate, and a
// machine in maintenance tells everybody.
func TestClientCertificatesTurnedOn(t *testing.T) {
	m := newMachine(t)
	m.config(t, "info")
	m.start(t)
	open := m.transport()
	if got := m.ask(t, open); got != http.StatusUnauthorized {
		t.Fatal(got)
	}
	m.mutual(t, requireThem)
	m.reload(t)
	if got := m.ask(t, open); got == http.StatusUnauthorized {
		t.Error("an open connection without a certificate goes on")
	}
	if got := m.ask(t, m.transport()); got != 0 {
		t.Errorf("a new one: %d", got)
	}
	m.write(t, "maintenance.json", `{"hostname": "localhost", "errors": []}`)
	m.reload(t)
	if got := m.ask(t, m.transport()); got != http.StatusServiceUnavailable {
		t.Errorf("in maintenance: %d", got)
	}
}

func TestRefusedMutualConfigs(t *testing.T) {
	m := newMachine(t)
	m.config(t, "info")
	m.start(t)
	for want, change := range map[string]func(){
		"which verify what they take": func() { m.mutual(t, "request-client-cert") },
		"cannot read what client certificates": func() {
			m.mutual(t, requireThem)
			m.tlsMore = strings.Replace(m.tlsMore, "ca.crt", "none.crt", 1)
		},
		"only the attributes CN": func() {
			m.mutual(t, requireThem)
			m.authMore = strings.Replace(m.authMore, "CN=", "DC=", 1)
		},
		"must be a list of files": func() { m.mutual(t, requireThem); m.authMore = ", crls: text" },
	} {
		change()
		m.config(t, "info")
		if status := m.reload(t); !strings.Contains(status, "reload refused") {
			t.Errorf("%s: %s", want, status)
		}
		until(t, want, func() bool { return strings.Contains(m.log.String(), want) })
	}
}

// While the machine's own client CA is damaged, its certificates are refused, while it
// serves and from the start, with whatever is left of its files. Who logs in by
// password, and who has a certificate of another CA, notices nothing.
func TestADamagedClientCA(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.mutual(t, ifGiven)
	company, err := clientca.Open(m.path("company"), "company", time.Now(), -1)
	check(t, err)
	issued, err := company.Issue("ci-2", 30)
	check(t, err)
	company.Close()
	theirs, err := tls.X509KeyPair(issued.CertPEM, issued.KeyPEM)
	check(t, err)
	m.tlsMore = fmt.Sprintf(", clientcas: [%q, %q], clientauth: %s", m.path("client-ca/ca.crt"), m.path("company/ca.crt"), ifGiven)
	m.config(t, "info")
	ours := m.client(t, "ci-1")
	m.start(t)
	expect := func(when string, own int) {
		t.Helper()
		for who, tc := range map[string]struct {
			pairs []tls.Certificate
			want  int
		}{
			"of the machine's CA": {[]tls.Certificate{ours}, own}, "of the company's": {[]tls.Certificate{theirs}, http.StatusOK}, "none": {nil, http.StatusUnauthorized},
		} {
			if got := m.ask(t, m.as(tc.pairs...)); got != tc.want {
				t.Errorf("%s, %s: %d, want %d", when, who, got, tc.want)
			}
		}
	}
	expect("whole", http.StatusOK)
	check(t, os.WriteFile(m.path("client-ca/clients.json"), []byte("{torn"), 0o600))
	check(t, clientca.Refuse(m.path("client-ca"), -1))
	time.Sleep(1100 * time.Millisecond) // the files are looked at every second
	transport := m.transport()
	transport.TLSClientConfig.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &ours, nil }
	if got := m.ask(t, transport); got != 0 {
		t.Errorf("it is shown all the same: %d", got)
	}
	if got := m.metric(t, "redoubt_client_trust_stale"); got != 1 {
		t.Errorf("the metric says %v", got)
	}
	check(t, os.WriteFile(m.path("client-ca/ca.crt"), []byte("torn"), 0o600))
	check(t, os.Remove(m.path("client-ca/crl.pem")))
	m.signal(t, syscall.SIGTERM)
	check(t, <-m.exited)
	m.start(t)
	if got := m.ask(t, m.as(theirs)); got != http.StatusOK {
		t.Errorf("after a start, of the company's CA: %d", got)
	}
	if got := m.ask(t, m.as()); got != http.StatusUnauthorized {
		t.Errorf("after a start, without one: %d", got)
	}
	if got := m.ask(t, transport.Clone()); got != 0 {
		t.Errorf("after a start, of the machine's CA: %d", got)
	}
	if _, err := m.pull("nothing"); err == nil || !strings.Contains(err.Error(), "NAME_UNKNOWN") && !strings.Contains(err.Error(), "MANIFEST_UNKNOWN") {
		t.Errorf("a login by password: %v", err)
	}
}
