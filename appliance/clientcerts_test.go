//go:build integration

package appliance_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"software.sslmate.com/src/go-pkcs12"

	"github.com/redoubt-registry/redoubt/appliance"
	"github.com/redoubt-registry/redoubt/appliance/certificates/cert"
	"github.com/redoubt-registry/redoubt/appliance/certificates/clientca"
)

const withClients = `redoubt:
  hostname: registry.example.com
  listen: {httpsPort: 443}
  tls: {clientAuth: {mode: optional}}
  auth: {clientCertificates: [{match: CN=ci-*, user: ci}]}
`

func (b *box) clients() []clientca.Client {
	b.Helper()
	b.out.Reset()
	if err := b.machine().ListClients(true); err != nil {
		b.Fatal(err)
	}
	var list []clientca.Client
	if err := json.Unmarshal(b.out.Bytes(), &list); err != nil {
		b.Fatal(err)
	}
	return list
}

// revocations are the serial numbers on the machine's list.
func (b *box) revocations() map[string]bool {
	b.Helper()
	lists, err := cert.ParseCRLs([]byte(b.get("var/lib/redoubt/client-ca/crl.pem")))
	if err != nil || len(lists) != 1 {
		b.Fatal(lists, err)
	}
	ca, err := cert.ParseCAs([]byte(b.get("var/lib/redoubt/client-ca/ca.crt")))
	if err != nil || lists[0].CheckSignatureFrom(ca[0]) != nil {
		b.Fatal("the list is not the client CA's", err)
	}
	out := map[string]bool{}
	for _, e := range lists[0].RevokedCertificateEntries {
		out[strings.ToUpper(e.SerialNumber.Text(16))] = true
	}
	return out
}

// A client's certificate from its issue to its revocation.
func TestClients(t *testing.T) {
	b := newBox(t)
	if err := b.machine().ListClients(false); err == nil {
		t.Error("a machine without a configuration lists clients")
	}
	b.userData(withClients)
	b.mustApply()
	for path, mode := range map[string]os.FileMode{
		"": os.ModeDir | 0o750, "ca.crt": 0o640, "crl.pem": 0o640, "ca.key": 0o600, "clients.json": 0o600,
	} {
		if info, err := os.Stat(filepath.Join(b.root, "var/lib/redoubt/client-ca", path)); err != nil || info.Mode() != mode {
			t.Errorf("%s: %v, want %v (%v)", path, info.Mode(), mode, err)
		}
	}
	before := b.snapshot()
	b.mustApply()
	if b.snapshot() != before {
		t.Error("the second apply wrote something")
	}
	out := filepath.Join(t.TempDir(), "certs.d")
	b.out.Reset()
	o := appliance.ClientOptions{Name: "ci-1", Days: 30, Out: out, PKCS12: true}
	if err := b.machine().IssueClient(o); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(out, "registry.example.com")
	pair, err := tls.LoadX509KeyPair(filepath.Join(dir, "client.cert"), filepath.Join(dir, "client.key"))
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(b.get("var/lib/redoubt/client-ca/ca.crt")))
	if _, err := pair.Leaf.Verify(x509.VerifyOptions{Roots: roots, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err != nil {
		t.Error(err)
	}
	if left := time.Until(pair.Leaf.NotAfter); left > 30*24*time.Hour || left < 29*24*time.Hour {
		t.Errorf("valid for %v", left)
	}
	if info, err := os.Stat(filepath.Join(dir, "client.key")); err != nil || info.Mode() != 0o600 {
		t.Error(info.Mode(), err)
	}
	ca, err := os.ReadFile(filepath.Join(dir, "ca.crt"))
	if err != nil || string(ca) != b.get("var/lib/redoubt/ca/ca.crt") {
		t.Error("ca.crt is not the server's CA", err)
	}
	_, password, _ := strings.Cut(b.out.String(), "password of client.p12: ")
	data, err := os.ReadFile(filepath.Join(dir, "client.p12"))
	if err != nil {
		t.Fatal(err)
	}
	_, leaf, cas, err := pkcs12.DecodeChain(data, strings.TrimSpace(password))
	if err != nil || !leaf.Equal(pair.Leaf) || len(cas) != 1 {
		t.Error("client.p12:", err, len(cas))
	}
	if err := b.machine().IssueClient(o); err == nil || len(b.clients()) != 1 {
		t.Errorf("a second time into the same directory: %v, %d clients", err, len(b.clients()))
	}
	for _, bad := range []appliance.ClientOptions{{Name: "", Days: 1}, {Name: "a", Days: 366}, {Name: "a", Days: 0}, {Name: "a\nb", Days: 1},
		{Name: "a", Days: 1, PasswordFile: "x"}, {Name: "a", Days: 1, PKCS12: true, PasswordFile: "/nonexistent"}} {
		bad.Out = t.TempDir()
		if err := b.machine().IssueClient(bad); err == nil {
			t.Errorf("issued for %+v", bad)
		}
	}
	o.Name, o.Out, o.PKCS12 = "ci-2", t.TempDir(), false
	if err := b.machine().IssueClient(o); err != nil {
		t.Fatal(err)
	}
	list := b.clients()
	if len(list) != 2 || list[0].Revoked != nil || len(b.revocations()) != 0 {
		t.Fatalf("%+v", list)
	}
	if err := b.machine().RevokeClient("ci-1"); err != nil {
		t.Fatal(err)
	}
	if err := b.machine().RevokeClient("ci-1"); err != nil {
		t.Errorf("revoked again: %v", err)
	}
	if err := b.machine().RevokeClient("nobody"); err == nil || !strings.Contains(err.Error(), "no client is called") {
		t.Error(err)
	}
	number, _ := new(big.Int).SetString(list[1].Serial, 16)
	if got := b.revocations(); !got[list[0].Serial] || got[strings.ToUpper(number.Text(16))] {
		t.Errorf("revoked: %v", got)
	}
	if err := b.machine().RevokeClient(strings.ToLower(list[1].Serial)); err != nil || !b.revocations()[list[1].Serial] {
		t.Errorf("by serial number: %v", err)
	}
	b.out.Reset()
	if err := b.machine().ListClients(false); err != nil || strings.Count(b.out.String(), "revoked") != 2 {
		t.Errorf("%v\n%s", err, &b.out)
	}
}

// A certificate of a key that the client keeps counts, is listed and can be revoked as
// any other.
func TestSignClient(t *testing.T) {
	b := newBox(t)
	b.userData(withClients)
	b.mustApply()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{
		Subject: pkix.Name{CommonName: "ci-1", Organization: []string{"Anybody"}}, DNSNames: []string{"registry.example.com"}}, key)
	if err != nil {
		t.Fatal(err)
	}
	var aside bytes.Buffer
	sign := func(o appliance.SignOptions) error {
		b.out.Reset()
		aside.Reset()
		return b.machine().SignClient(bytes.NewReader(der), o, &aside)
	}
	if err := sign(appliance.SignOptions{Days: 30}); err != nil {
		t.Fatal(err)
	}
	block, rest := pem.Decode(b.out.Bytes())
	if block == nil || len(rest) != 0 {
		t.Fatalf("stdout is not a certificate alone:\n%s", &b.out)
	}
	leaf, err := x509.ParseCertificate(block.Bytes)
	if err != nil || !key.PublicKey.Equal(leaf.PublicKey) {
		t.Fatal("it is not of the client's key", err)
	}
	if leaf.Subject.String() != "CN=ci-1" || len(leaf.DNSNames) != 0 || leaf.IsCA {
		t.Errorf("%s, %v, CA: %v", leaf.Subject, leaf.DNSNames, leaf.IsCA)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(b.get("var/lib/redoubt/client-ca/ca.crt")))
	if _, err := leaf.Verify(x509.VerifyOptions{Roots: roots, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err != nil {
		t.Error(err)
	}
	if !strings.HasPrefix(aside.String(), "signed   ci-1, serial number ") || !strings.Contains(aside.String(), "left out") {
		t.Errorf("%s", &aside)
	}
	list := b.clients()
	if len(list) != 1 || list[0].Name != "ci-1" {
		t.Fatalf("%+v", list)
	}
	if err := b.machine().RevokeClient("ci-1"); err != nil || !b.revocations()[list[0].Serial] {
		t.Error("it cannot be revoked", err)
	}
	if err := sign(appliance.SignOptions{Name: "other", Days: 1}); err != nil || b.clients()[1].Name != "other" {
		t.Error("the given name is not taken", err)
	}
	for _, bad := range []appliance.SignOptions{{Days: 0}, {Days: 366}, {Name: "a\x1b[2J", Days: 1}, {Name: "\u202ea", Days: 1}} {
		if err := sign(bad); err == nil || b.out.Len() != 0 {
			t.Errorf("signed for %+v: %v", bad, err)
		}
	}
	if err := b.machine().SignClient(strings.NewReader(strings.Repeat("A", 1<<20)), appliance.SignOptions{Days: 1}, &aside); err == nil {
		t.Error("a megabyte is taken")
	}
	if len(b.clients()) != 2 {
		t.Error("what was refused is listed")
	}
}

// What a crash between record and list leaves is fixed by the next tick, and a
// list is renewed before it is over.
func TestRevocationListIsKept(t *testing.T) {
	b := newBox(t)
	b.userData(withClients)
	b.mustApply()
	if err := b.machine().IssueClient(appliance.ClientOptions{Name: "ci-1", Days: 30, Out: t.TempDir()}); err != nil {
		t.Fatal(err)
	}
	empty := b.get("var/lib/redoubt/client-ca/crl.pem")
	if err := b.machine().RevokeClient("ci-1"); err != nil {
		t.Fatal(err)
	}
	full := b.get("var/lib/redoubt/client-ca/crl.pem")
	for name, left := range map[string]string{"the old list": empty, "a torn list": full[:100], "no list": ""} {
		b.put("var/lib/redoubt/client-ca/crl.pem", left)
		if err := b.tick(); err != nil || len(b.revocations()) != 1 {
			t.Errorf("%s: %v, %v", name, err, b.revocations())
		}
	}
	before := b.get("var/lib/redoubt/client-ca/crl.pem")
	if err := b.tick(); err != nil || b.get("var/lib/redoubt/client-ca/crl.pem") != before {
		t.Error("a list in force is made again", err)
	}
	m := b.machine()
	m.Now = func() time.Time { return time.Now().Add(8 * 24 * time.Hour) }
	if err := m.Renew(t.Context(), appliance.RenewOptions{}); err != nil || b.get("var/lib/redoubt/client-ca/crl.pem") == before {
		t.Error("a list that is half over is not renewed", err)
	}
	b.put("var/lib/redoubt/client-ca/clients.json", "{torn")
	if err := b.machine().RevokeClient("ci-1"); err == nil || b.get("var/lib/redoubt/client-ca/clients.json") != "{torn" {
		t.Error("what cannot be read is written over", err)
	}
}

// A company's CA and its list: a new list is taken up by the next tick, one that
// cannot be used is refused by name.
func TestBroughtClientTrust(t *testing.T) {
	b := newBox(t)
	ca := authority(t, "Company", nil)
	list := func(number int64) string {
		der, err := x509.CreateRevocationList(nil, &x509.RevocationList{Number: big.NewInt(number), ThisUpdate: time.Now(), NextUpdate: time.Now().Add(time.Hour)}, ca.certificate, ca.key)
		if err != nil {
			t.Fatal(err)
		}
		return string(der)
	}
	b.put("etc/redoubt/tls/clients.crt", "\ufeff"+strings.ReplaceAll(string(ca.certPEM()), "\n", "\r\n"))
	b.put("etc/redoubt/tls/clients.crl", list(1)) // in DER, as authorities publish it
	b.userData(`redoubt:
  hostname: registry.example.com
  tls: {clientAuth: {mode: optional, cas: ["file:/etc/redoubt/tls/clients.crt"], crls: ["file:/etc/redoubt/tls/clients.crl"]}}
  auth: {users: [{name: alice, password: hunter2hunter2}]}
`)
	b.mustApply()
	if got := b.get("run/redoubt/client-cas.pem"); got != string(ca.certPEM()) {
		t.Errorf("client-cas.pem: %s", got)
	}
	first := b.get("run/redoubt/client-crls.pem")
	if !strings.HasPrefix(first, "-----BEGIN X509 CRL-----") {
		t.Errorf("client-crls.pem: %s", first)
	}
	b.put("etc/redoubt/tls/clients.crl", list(2))
	if err := b.tick(); err != nil {
		t.Fatal(err)
	}
	second := b.get("run/redoubt/client-crls.pem")
	if second == first {
		t.Error("the new list is not taken up")
	}
	b.put("etc/redoubt/tls/clients.crl", "broken")
	if err := b.tick(); err == nil || !strings.Contains(err.Error(), "tls.clientAuth.crls[0]") || b.get("run/redoubt/client-crls.pem") != second {
		t.Errorf("a broken list: %v", err)
	}
	if !bytes.Contains([]byte(b.get("run/redoubt/registry.yml")), []byte("client-crls.pem")) {
		t.Error("registry.yml does not name the list")
	}
}

// A damaged client CA takes nothing away from what does not need it: the server's
// certificate is renewed, the machine serves after a boot, and only certificates of
// that CA are refused. It is said by the exit code, status and an alert.
func TestADamagedClientCA(t *testing.T) {
	for _, file := range []string{"clients.json", "ca.crt", "ca.key"} {
		t.Run(file, func(t *testing.T) {
			b := newBox(t)
			b.userData(withClients)
			b.mustApply()
			path := "var/lib/redoubt/client-ca/" + file
			whole, serial := b.get(path), b.published()
			b.put(path, "{torn")
			b.put("var/lib/redoubt/certificates/current/tls.key", "torn") // so that one is due
			b.wantError(b.tick(), "so that no certificate of it counts", file)
			if b.published() == serial {
				t.Error("the server's certificate is not renewed")
			}
			if !b.exists("var/lib/redoubt/client-ca/refused") {
				t.Error("the registry is not told to refuse")
			}
			if text, err := b.alert(time.Now(), "redoubt-renew.service", "exit-code"); err != nil || !strings.Contains(text, "the client CA is damaged") {
				t.Errorf("alert: %v %q", err, text)
			}
			r, err := b.machine().Status(t.Context(), "")
			if err != nil || !strings.Contains(r.String(), "the client CA is damaged") {
				t.Errorf("status: %v\n%s", err, r)
			}
			b.reboot()
			b.wantError(b.apply(), "so that no certificate of it counts")
			if b.exists("run/redoubt/maintenance.json") || !b.exists("run/redoubt/registry.yml") {
				t.Error("nothing is served after a boot")
			}
			if b.get(path) != "{torn" {
				t.Error("what cannot be read was written over")
			}
			b.put(path, whole)
			b.mustApply()
			if b.exists("var/lib/redoubt/client-ca/refused") {
				t.Error("the file is back, and clients are refused")
			}
		})
	}
}
