package cert

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var start = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)

func newCA(t testing.TB, names ...string) *CA {
	t.Helper()
	ca, err := NewCA(names, start, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

func issue(t testing.TB, ca *CA, now time.Time, validity time.Duration, names ...string) *x509.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c, err := ca.Issue(key.Public(), names, now, validity, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestCA(t *testing.T) {
	c := newCA(t, "registry.example.com", "192.0.2.7", "2001:db8::7").Certificate
	key, ok := c.PublicKey.(*ecdsa.PublicKey)
	switch {
	case !ok || key.Curve != elliptic.P256():
		t.Error("the key is not P-256")
	case !c.IsCA || !c.BasicConstraintsValid || c.MaxPathLen != 0 || !c.MaxPathLenZero:
		t.Error("not an authority with path length 0")
	case !c.NotBefore.Equal(start.Add(-time.Hour)):
		t.Errorf("starts at %v", c.NotBefore)
	case c.NotAfter.Sub(start) != 3650*24*time.Hour:
		t.Errorf("ends at %v", c.NotAfter)
	case c.SerialNumber.Sign() <= 0 || c.SerialNumber.BitLen() != 159:
		t.Errorf("a serial number of %d bits", c.SerialNumber.BitLen())
	case !c.PermittedDNSDomainsCritical || len(c.PermittedDNSDomains) != 1 || len(c.PermittedIPRanges) != 2:
		t.Errorf("constraints: %v %v", c.PermittedDNSDomains, c.PermittedIPRanges)
	case c.KeyUsage != x509.KeyUsageCertSign|x509.KeyUsageCRLSign:
		t.Errorf("key usage %b", c.KeyUsage)
	}
}

func TestIssueRefusesOtherNames(t *testing.T) {
	for _, tc := range []struct {
		ca, want []string
		ok       bool
	}{
		{[]string{"a.example"}, []string{"a.example"}, true},
		{[]string{"a.example"}, []string{"A.Example"}, true},
		{[]string{"a.example"}, []string{"x.a.example"}, true},
		{[]string{"a.example"}, []string{"b.example"}, false},
		{[]string{"a.example"}, []string{"xa.example"}, false},
		{[]string{"a.example"}, []string{"a.example", "192.0.2.1"}, false},
		{[]string{"192.0.2.1"}, []string{"192.0.2.1"}, true},
		{[]string{"192.0.2.1"}, []string{"192.0.2.2"}, false},
		{[]string{"192.0.2.1"}, []string{"a.example"}, false},
		{[]string{"2001:db8::1"}, []string{"2001:DB8:0::1"}, true},
		{[]string{"2001:db8::1"}, []string{"192.0.2.1"}, false},
		{[]string{"*.a.example"}, []string{"*.a.example"}, true},
		{[]string{"a.example"}, nil, false},
		{[]string{"a.example"}, []string{"a .example"}, false},
	} {
		ca := newCA(t, tc.ca...)
		if got := ca.Permits(tc.want); got != tc.ok {
			t.Errorf("%v permits %v = %v", tc.ca, tc.want, got)
		}
		_, err := ca.Issue(ca.key.Public(), tc.want, start, time.Hour, rand.Reader)
		if (err == nil) != tc.ok {
			t.Errorf("%v issues %v: %v", tc.ca, tc.want, err)
		}
	}
}

func TestNames(t *testing.T) {
	long := strings.Repeat("a", 64) + ".example"
	for _, n := range []string{"", "-a", "a-", "a..b", "a_b", "fe80::1%eth0", "https://a", "a:443", "ä.example", long, strings.Repeat("a.", 127)} {
		if _, err := NewCA([]string{n}, start, rand.Reader); err == nil {
			t.Errorf("a CA for %q", n)
		}
	}
	if _, err := NewCA(nil, start, rand.Reader); err == nil {
		t.Error("a CA for no name")
	}
}

// Go's verifier and OpenSSL's must both take what the authority signs for the
// machine's names, and refuse what its key could sign beyond them.
func TestVerifiersAgree(t *testing.T) {
	for _, names := range [][]string{
		{"registry.example.com"},
		{"registry.example.com", "alias.example.com", "192.0.2.7", "2001:db8::7"},
		{"192.0.2.7"},
		{"2001:db8::7"},
		{"localhost", "127.0.0.1", "::1"},
		{"*.example.com"},
	} {
		ca := newCA(t, names...)
		verify(t, ca, issue(t, ca, start, 90*24*time.Hour, names...), true)
		unbound := *ca.Certificate // what Issue checks; what is signed names the real one
		unbound.PermittedDNSDomains, unbound.PermittedIPRanges = nil, nil
		unbound.ExcludedDNSDomains, unbound.ExcludedIPRanges = nil, nil
		free := &CA{Certificate: &unbound, key: ca.key}
		for _, other := range []string{"other.invalid", "198.51.100.1", "2001:db8:f::1"} {
			verify(t, ca, issue(t, free, start, time.Hour, other), false)
		}
	}
}

func verify(t *testing.T, ca *CA, leaf *x509.Certificate, want bool) {
	t.Helper()
	roots := x509.NewCertPool()
	roots.AddCert(ca.Certificate)
	_, err := leaf.Verify(x509.VerifyOptions{Roots: roots, CurrentTime: start.Add(time.Minute)})
	if (err == nil) != want {
		t.Errorf("Go on %v %v by %v: %v", leaf.DNSNames, leaf.IPAddresses, ca.Certificate.Subject.CommonName, err)
	}
	dir := t.TempDir()
	for name, data := range map[string][]byte{"ca": ca.PEM(), "leaf": certificatePEM(leaf.Raw)} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command("openssl", "verify", "-x509_strict", "-purpose", "sslserver", "-attime", "1793534460",
		"-CAfile", filepath.Join(dir, "ca"), filepath.Join(dir, "leaf"))
	out, err := cmd.CombinedOutput()
	if (err == nil) != want {
		t.Errorf("OpenSSL on %v %v by %v: %v\n%s", leaf.DNSNames, leaf.IPAddresses, ca.Certificate.Subject.CommonName, err, out)
	}
}

func TestLeaf(t *testing.T) {
	ca := newCA(t, "a.example", "192.0.2.1")
	c := issue(t, ca, start, 2160*time.Hour, "a.example", "192.0.2.1")
	if c.IsCA || c.NotBefore != start.Add(-time.Hour) || c.NotAfter != start.Add(2160*time.Hour) {
		t.Errorf("%v to %v, CA %v", c.NotBefore, c.NotAfter, c.IsCA)
	}
	if err := c.VerifyHostname("192.0.2.1"); err != nil {
		t.Error(err)
	}
	if err := c.VerifyHostname("a.example"); err != nil {
		t.Error(err)
	}
	if issue(t, ca, start, 2160*time.Hour, "a.example").SerialNumber.Cmp(c.SerialNumber) == 0 {
		t.Error("two certificates have one serial number")
	}
	if late := issue(t, ca, ca.Certificate.NotAfter.Add(-time.Hour), 2160*time.Hour, "a.example"); !late.NotAfter.Equal(ca.Certificate.NotAfter) {
		t.Errorf("a certificate ends at %v, after its authority", late.NotAfter)
	}
}

func TestNeedsRenewal(t *testing.T) {
	c := issue(t, newCA(t, "a.example"), start, 90*24*time.Hour, "a.example")
	for day, want := range map[int]bool{-400: false, 0: false, 59: false, 61: true, 89: true, 91: true} {
		if got := NeedsRenewal(c, start.AddDate(0, 0, day)); got != want {
			t.Errorf("on day %d: %v", day, got)
		}
	}
}

func TestParsePair(t *testing.T) {
	ca := newCA(t, "a.example")
	caKey, err := ca.KeyPEM()
	if err != nil {
		t.Fatal(err)
	}
	leafPEM, key, err := SelfSigned([]string{"a.example"}, start, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := parseKey(key)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalECPrivateKey(signer.(*ecdsa.PrivateKey))
	if err != nil {
		t.Fatal(err)
	}
	sec1 := pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der})
	parameters := pem.EncodeToMemory(&pem.Block{Type: "EC PARAMETERS", Bytes: []byte{6, 0}})
	dek := pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Headers: map[string]string{"Proc-Type": "4,ENCRYPTED", "DEK-Info": "AES-256-CBC,00"}, Bytes: der})
	encrypted := pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED PRIVATE KEY", Bytes: der})
	crlf := func(b []byte) []byte { return bytes.ReplaceAll(b, []byte("\n"), []byte("\r\n")) }
	bom := func(b []byte) []byte { return append([]byte("\ufeff"), b...) }
	join := func(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
	for name, tc := range map[string]struct {
		cert, key []byte
		want      string // of the error
	}{
		"plain":           {leafPEM, key, ""},
		"SEC 1":           {leafPEM, sec1, ""},
		"with parameters": {leafPEM, join(parameters, sec1), ""},
		"chain":           {join(leafPEM, ca.PEM()), key, ""},
		"chain reversed":  {join(ca.PEM(), leafPEM), key, ""},
		"CRLF":            {crlf(leafPEM), crlf(key), ""},
		"BOM":             {bom(leafPEM), bom(key), ""},
		"text around":     {join([]byte("subject=x\n"), leafPEM, []byte("bye\n")), key, ""},
		"wrong key":       {leafPEM, caKey, "does not belong"},
		"empty":           {nil, key, "no PEM certificate"},
		"no key":          {leafPEM, nil, "no PEM private key"},
		"swapped":         {key, leafPEM, "\"PRIVATE KEY\" block where certificates belong"},
		"NULs":            {make([]byte, 4096), key, "no PEM certificate"},
		"cut off":         {leafPEM[:len(leafPEM)/2], key, "no PEM certificate"},
		"garbled":         {pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("x")}), key, "certificate 1 is damaged"},
		"garbled key":     {leafPEM, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("x")}), "key is damaged"},
		"encrypted":       {leafPEM, encrypted, "encrypted"},
		"encrypted, old":  {leafPEM, dek, "encrypted"},
	} {
		t.Run(name, func(t *testing.T) {
			pair, err := ParsePair(tc.cert, tc.key)
			switch {
			case tc.want == "" && err != nil:
				t.Error(err)
			case tc.want == "" && !bytes.Equal(pair.Certificate[0], pair.Leaf.Raw):
				t.Error("the server's own certificate is not the first")
			case tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)):
				t.Errorf("error %v, want %q", err, tc.want)
			}
		})
	}
}

func FuzzParsePair(f *testing.F) {
	leaf, key, err := SelfSigned([]string{"a.example"}, start, rand.Reader)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(leaf, key)
	f.Add(leaf[:100], []byte("-----BEGIN RSA PRIVATE KEY-----\nDEK-Info: x\n\n-----END RSA PRIVATE KEY-----\n"))
	f.Fuzz(func(t *testing.T, certPEM, key []byte) {
		pair, err := ParsePair(certPEM, key)
		if err != nil {
			return
		}
		if pair.Leaf == nil || len(pair.Certificate) == 0 || pair.PrivateKey == nil {
			t.Errorf("half a pair: %+v", pair)
		}
	})
}
