//go:build integration

package appliance_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redoubt-registry/redoubt/appliance"
	"github.com/redoubt-registry/redoubt/appliance/certificates/cert"
)

// pair is a certificate with its key, made by a test.
type pair struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

func (p pair) certPEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: p.certificate.Raw})
}

func (p pair) keyPEM(t *testing.T) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(p.key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

// sign makes a pair of template, signed by issuer or else by itself.
func sign(t *testing.T, template x509.Certificate, issuer *pair) pair {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if template.NotAfter.IsZero() {
		template.NotAfter = time.Now().Add(1000 * time.Hour)
	}
	template.NotBefore = template.NotAfter.Add(-3000 * time.Hour)
	template.SerialNumber = big.NewInt(time.Now().UnixNano())
	template.BasicConstraintsValid = true
	parent, signer := &template, key
	if issuer != nil {
		parent, signer = issuer.certificate, issuer.key
	}
	der, err := x509.CreateCertificate(rand.Reader, &template, parent, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return pair{c, key}
}

func authority(t *testing.T, name string, issuer *pair) pair {
	return sign(t, x509.Certificate{Subject: pkix.Name{CommonName: name}, IsCA: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign}, issuer)
}

func server(t *testing.T, issuer *pair, end time.Time, names ...string) pair {
	return sign(t, x509.Certificate{Subject: pkix.Name{CommonName: names[0]}, DNSNames: names, NotAfter: end,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}, issuer)
}

const filesMode = `redoubt:
  hostname: registry.example.com
  tls: {mode: files, files: {certificate: "file:/etc/redoubt/tls/tls.crt", privateKey: "file:/etc/redoubt/tls/tls.key"}}
  auth: {users: [{name: alice, password: hunter2hunter2}]}
`

const (
	certFile = "etc/redoubt/tls/tls.crt"
	keyFile  = "etc/redoubt/tls/tls.key"
)

// published is the serial number of the certificate in force.
func (b *box) published() string {
	b.Helper()
	have, err := cert.Current(filepath.Join(b.root, "var/lib/redoubt/certificates"))
	if err != nil {
		b.Fatal(err)
	}
	return have.Leaf.SerialNumber.String()
}

// tick runs redoubt renew.
func (b *box) tick() error {
	b.out.Reset()
	b.registry.calls = nil
	return b.machine().Renew(b.Context(), appliance.RenewOptions{})
}

// A pair from files is served, and a new one is taken up without an apply.
func TestFilesAreSwapped(t *testing.T) {
	b := newBox(t)
	root := authority(t, "Root", nil)
	between := authority(t, "Between", &root)
	first := server(t, &between, time.Time{}, "registry.example.com")
	b.put(certFile, string(first.certPEM())+string(between.certPEM()))
	b.put(keyFile, string(first.keyPEM(t)))
	b.userData(filesMode)
	b.mustApply()
	b.wantCalls("daemon-reload, start redoubt-redis.service, start redoubt-registry.service, start redoubt-files.path")
	if got := b.published(); got != first.certificate.SerialNumber.String() {
		t.Fatalf("serves %s", got)
	}
	if b.exists("var/lib/redoubt/ca/ca.key") {
		t.Error("a CA was made that nobody needs")
	}
	b.mustApply()
	b.wantCalls("")
	if err := b.tick(); err != nil || len(b.registry.calls) > 0 {
		t.Fatalf("a tick without a change: %v %q", err, b.registry.calls)
	}
	second := server(t, &between, time.Time{}, "registry.example.com")
	b.put(certFile, string(second.certPEM())+string(between.certPEM()))
	b.put(keyFile, string(second.keyPEM(t)))
	if err := b.tick(); err != nil {
		t.Fatal(err)
	}
	b.wantCalls("reload redoubt-registry.service")
	if got := b.published(); got != second.certificate.SerialNumber.String() {
		t.Errorf("serves %s", got)
	}
	b.mustApply()
	b.wantCalls("")
	b.userData(good)
	b.mustApply()
	if got := b.published(); got == second.certificate.SerialNumber.String() {
		t.Error("back with the own CA, the files still serve")
	}
}

// TestBadFilesAreRefused: each bad pair is refused by name, by a tick
// and by an apply, and the old one stays; but what is only written otherwise is
// taken.
func TestBadFilesAreRefused(t *testing.T) {
	b := newBox(t)
	root := authority(t, "Root", nil)
	old := server(t, &root, time.Time{}, "registry.example.com")
	fresh := server(t, &root, time.Time{}, "registry.example.com")
	expired := server(t, &root, time.Now().Add(-time.Hour), "registry.example.com")
	other := server(t, &root, time.Time{}, "other.example.com")
	client := sign(t, x509.Certificate{DNSNames: []string{"registry.example.com"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}, &root)
	encrypted := pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED PRIVATE KEY", Bytes: []byte("x")})
	path := func(name string) string { return filepath.Join(b.root, name) }
	plain := func(p pair) func() {
		return func() { b.put(certFile, string(p.certPEM())); b.put(keyFile, string(p.keyPEM(t))) }
	}
	plain(old)()
	b.userData(filesMode)
	b.mustApply()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, test := range []struct {
		name, want string
		bad        func()
	}{
		{"wrong key", "the private key does not belong to the certificate", func() { b.put(certFile, string(fresh.certPEM())) }},
		{"encrypted", "the private key is encrypted", func() { b.put(keyFile, string(encrypted)) }},
		{"expired", "the certificate expired at", plain(expired)},
		{"chain reversed", "the chain is in the wrong order", func() {
			b.put(certFile, string(root.certPEM())+string(fresh.certPEM()))
			b.put(keyFile, string(fresh.keyPEM(t)))
		}},
		{"chain of another", "certificate 2 did not issue the one before it", func() {
			b.put(certFile, string(fresh.certPEM())+string(other.certPEM()))
			b.put(keyFile, string(fresh.keyPEM(t)))
		}},
		{"another name", "the certificate is not for registry.example.com", plain(other)},
		{"for clients", "the certificate is not for servers", plain(client)},
		{"directory", "is not a regular file", func() {
			must(os.Remove(path(certFile)))
			must(os.Mkdir(path(certFile), 0o755))
		}},
		{"100 MB", "is larger than", func() { must(os.Truncate(path(certFile), 100<<20)) }},
		{"FIFO", "is not a regular file", func() {
			must(os.Remove(path(keyFile)))
			must(syscall.Mkfifo(path(keyFile), 0o600))
		}},
		{"0644 key", "anybody may read the key", func() { plain(fresh)(); must(os.Chmod(path(keyFile), 0o644)) }},
		{"missing", "no such file", func() { must(os.Remove(path(keyFile))) }},
		{"damaged", "certificate 1 is damaged", func() {
			b.put(certFile, strings.Replace(string(fresh.certPEM()), "\n", "\nAAAA", 1))
		}},
		{"empty", "it holds no PEM certificate", func() { b.put(certFile, "") }},
	} {
		t.Run(test.name, func(t *testing.T) {
			must(os.RemoveAll(path("etc/redoubt/tls")))
			plain(old)()
			test.bad()
			before := b.published()
			for verb, err := range map[string]error{"renew": b.tick(), "apply": b.apply()} {
				if err == nil || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), "etc/redoubt/tls/tls.") {
					t.Errorf("%s: %v", verb, err)
				}
				if err != nil && strings.Contains(err.Error(), "PRIVATE KEY") {
					t.Errorf("%s quotes the key", verb)
				}
			}
			if b.published() != before {
				t.Error("the old pair did not stay")
			}
		})
	}
	for name, change := range map[string]func([]byte) []byte{
		"CRLF": func(p []byte) []byte { return bytes.ReplaceAll(p, []byte("\n"), []byte("\r\n")) },
		"BOM":  func(p []byte) []byte { return append([]byte("\ufeff"), p...) },
	} {
		t.Run(name, func(t *testing.T) {
			next := server(t, &root, time.Time{}, "registry.example.com")
			must(os.RemoveAll(path("etc/redoubt/tls")))
			b.put(certFile, string(change(next.certPEM())))
			b.put(keyFile, string(change(next.keyPEM(t))))
			if err := b.tick(); err != nil {
				t.Fatal(err)
			}
			if b.published() != next.certificate.SerialNumber.String() {
				t.Error("the new pair is not taken")
			}
			for _, file := range []string{"tls.crt", "tls.key"} {
				if text := b.get("var/lib/redoubt/certificates/current/" + file); strings.ContainsAny(text, "\r\ufeff") {
					t.Errorf("%s is not plain PEM", file)
				}
			}
		})
	}
}

// With nothing to fall back on, a bad pair is a notice that names the file.
func TestBadFilesAtFirst(t *testing.T) {
	b := newBox(t)
	b.userData(filesMode)
	b.wantError(b.apply(), "cannot read /etc/redoubt/tls/tls.crt")
	if notice := b.get("run/redoubt/maintenance.json"); !strings.Contains(notice, "/etc/redoubt/tls/tls.crt") {
		t.Errorf("the notice: %s", notice)
	}
}

// An authority that was brought signs the server's certificate.
func TestBroughtCA(t *testing.T) {
	b := newBox(t)
	root := authority(t, "Root", nil)
	between := authority(t, "Company", &root)
	b.put("etc/redoubt/tls/ca.crt", string(between.certPEM())+string(root.certPEM()))
	b.put("etc/redoubt/tls/ca.key", string(between.keyPEM(t)))
	b.userData(`redoubt:
  hostname: registry.example.com
  tls: {internalCA: {certificate: "file:/etc/redoubt/tls/ca.crt", privateKey: "file:/etc/redoubt/tls/ca.key"}}
`)
	b.mustApply()
	have, err := cert.Current(filepath.Join(b.root, "var/lib/redoubt/certificates"))
	if err != nil {
		t.Fatal(err)
	}
	roots, sent := x509.NewCertPool(), x509.NewCertPool()
	roots.AddCert(root.certificate)
	for _, der := range have.Certificate[1:] {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		sent.AddCert(c)
	}
	if _, err := have.Leaf.Verify(x509.VerifyOptions{Roots: roots, Intermediates: sent, DNSName: "registry.example.com"}); err != nil {
		t.Errorf("a client that trusts the root alone: %v", err)
	}
	if len(have.Certificate) != 2 {
		t.Errorf("%d certificates are sent", len(have.Certificate))
	}
	if b.exists("var/lib/redoubt/ca/ca.key") {
		t.Error("a CA was made that nobody needs")
	}
	b.mustApply()
	b.wantCalls("")
	serial := b.published()
	for name, bad := range map[string]struct {
		ca   pair
		want string
	}{
		"no CA":   {server(t, &root, time.Time{}, "registry.example.com"), "is not an authority's"},
		"expired": {sign(t, x509.Certificate{IsCA: true, NotAfter: time.Now().Add(-time.Hour)}, nil), "expired at"},
		"another": {sign(t, x509.Certificate{IsCA: true, PermittedDNSDomains: []string{"other.example"}, PermittedDNSDomainsCritical: true}, nil), "do not permit"},
		"no sign": {sign(t, x509.Certificate{IsCA: true, KeyUsage: x509.KeyUsageCRLSign}, nil), "key usage"},
	} {
		b.put("etc/redoubt/tls/ca.crt", string(bad.ca.certPEM()))
		b.put("etc/redoubt/tls/ca.key", string(bad.ca.keyPEM(t)))
		if err := b.tick(); err == nil || !strings.Contains(err.Error(), bad.want) || !strings.Contains(err.Error(), "/etc/redoubt/tls/ca.crt") {
			t.Errorf("%s: %v", name, err)
		}
		if b.published() != serial {
			t.Errorf("%s: the old certificate did not stay", name)
		}
	}
	next := authority(t, "Next", nil)
	b.put("etc/redoubt/tls/ca.crt", string(next.certPEM()))
	b.put("etc/redoubt/tls/ca.key", string(next.keyPEM(t)))
	if err := b.tick(); err != nil {
		t.Fatal(err)
	}
	b.wantCalls("reload redoubt-registry.service")
	b.out.Reset()
	if err := b.machine().Trust(&b.out); err != nil || !strings.Contains(b.out.String(), string(next.certPEM())) {
		t.Errorf("ca trust: %v\n%s", err, &b.out)
	}
}

// A pair that comes slowly, the key first, is one change: nobody is told of half
// of it.
func TestSlowCopy(t *testing.T) {
	b := newBox(t)
	first := server(t, nil, time.Time{}, "registry.example.com")
	b.put(certFile, string(first.certPEM()))
	b.put(keyFile, string(first.keyPEM(t)))
	b.userData(filesMode)
	b.mustApply()
	second := server(t, nil, time.Time{}, "registry.example.com")
	b.put(keyFile, string(second.keyPEM(t)))
	written := make(chan struct{})
	go func() {
		defer close(written)
		time.Sleep(2 * settle)
		b.put(certFile, string(second.certPEM()))
	}()
	if err := b.tick(); err != nil {
		t.Error(err)
	}
	<-written
	if got := b.published(); got != second.certificate.SerialNumber.String() {
		t.Errorf("serves %s", got)
	}
}
