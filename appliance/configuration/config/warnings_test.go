package config

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"strings"
	"testing"
	"time"
)

// warned holds that a document is valid, and which of the texts its warnings have.
func warned(t *testing.T, body, want string) {
	t.Helper()
	_, report := parseBody(body)
	got := report.Warnings().String()
	if report.Err() != nil || (want == "") != (got == "user-data:2:3: auth.users: warning: no users: nobody can log in\n") || !strings.Contains(got, want) {
		t.Errorf("%s%v\ngot  %swant %s", body, report.Err(), got, want)
	}
}

// A public CA refuses names that are not public, and with one of them the whole
// certificate.
func TestNamesThatNoCAWillCertify(t *testing.T) {
	const refused = "no public CA gives a certificate for this name"
	for _, alias := range []string{"10.1.2.3", "registry.corp.internal", "registry.local", "registry", "fd00::7", "192.168.0.9", "100.64.1.1"} {
		warned(t, "  aliases: ['"+alias+"']\n  tls: {mode: acme}\n", "aliases[0]: warning: "+refused)
	}
	warned(t, "  aliases: [images.example.com, 198.51.100.7]\n  tls: {mode: acme}\n", "")
	warned(t, "  aliases: [registry.local]\n", "")
	warned(t, "  aliases: [registry.local]\n  tls: {mode: acme, acme: {directory: 'https://ca.corp.internal/acme/directory'}}\n", "")
	warned(t, "  aliases: [registry.local]\n  tls: {mode: acme, acme: {directory: 'https://acme-v02.api.letsencrypt.org/directory'}}\n", refused)
}

func TestSettingsOfACMEWithoutIt(t *testing.T) {
	warned(t, "  tls: {acme: {email: ops@example.com}}\n", "tls.acme.email: warning: not used: tls.mode is not acme")
	warned(t, "  tls: {acme: {directory: 'https://ca.example.com/'}}\n", "tls.acme.directory: warning: not used: tls.mode is not acme")
	warned(t, "  tls: {mode: acme, acme: {email: ops@example.com}}\n", "")
}

// made issues a certificate for the tests' host by an authority, or by itself.
func made(t *testing.T, rsaBits int, selfSigned bool) (certificate, key string) {
	t.Helper()
	authority, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	check(err)
	above := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "An Issuer"}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true}
	leaf := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "registry.example.com"},
		DNSNames: []string{"registry.example.com"}, NotAfter: time.Now().Add(time.Hour)}
	var private, signer any = authority, authority
	var public any = &authority.PublicKey
	if rsaBits > 0 {
		own, err := rsa.GenerateKey(rand.Reader, rsaBits)
		check(err)
		private, public = own, &own.PublicKey
	}
	if selfSigned {
		above, signer = leaf, private
	}
	der, err := x509.CreateCertificate(rand.Reader, leaf, above, public, signer)
	check(err)
	keyDER, err := x509.MarshalPKCS8PrivateKey(private)
	check(err)
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
		string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}))
}

// What clients refuse of a certificate is told before they do.
func TestCertificatesThatClientsRefuse(t *testing.T) {
	indent := func(text string) string { return strings.ReplaceAll(strings.TrimSpace(text), "\n", "\n        ") }
	for _, c := range []struct {
		bits int
		self bool
		want string
	}{
		{0, true, ""},
		{2048, true, ""},
		{0, false, "tls.files.certificate: warning: its issuer's certificate is not here"},
		{1024, true, "tls.files.certificate: warning: its RSA key has 1024 bits"},
	} {
		certificate, key := made(t, c.bits, c.self)
		warned(t, "  tls:\n    mode: files\n    files:\n      certificate: |\n        "+indent(certificate)+"\n      privateKey: |\n        "+indent(key)+"\n", c.want)
	}
}
