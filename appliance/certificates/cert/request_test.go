package cert

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// openssl makes a request as a client does.
func openssl(t *testing.T, args ...string) []byte {
	t.Helper()
	dir := t.TempDir()
	out := filepath.Join(dir, "r.csr")
	args = append([]string{"req", "-new", "-nodes", "-keyout", filepath.Join(dir, "r.key"), "-out", out}, args...)
	if text, err := exec.Command("openssl", args...).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	data, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestRequest(t *testing.T) {
	t.Parallel()
	ec := []string{"-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"}
	good := openssl(t, append(ec, "-subj", "/C=CH/O=Example/CN=ci-1")...)
	block, _ := pem.Decode(good)
	for name, data := range map[string][]byte{
		"of P-256":             good,
		"in DER":               block.Bytes,
		"from Windows":         append([]byte("\ufeff"), bytes.ReplaceAll(good, []byte("\n"), []byte("\r\n"))...),
		"with text before it":  append([]byte("Certificate Request:\n    Data:\n"), good...),
		"by another name":      bytes.ReplaceAll(good, []byte(" CERTIFICATE REQUEST"), []byte(" NEW CERTIFICATE REQUEST")),
		"of Ed25519":           openssl(t, "-newkey", "ed25519", "-subj", "/CN=ci-1"),
		"of RSA":               openssl(t, "-newkey", "rsa:2048", "-subj", "/CN=ci-1"),
		"that asks for a CA":   openssl(t, append(ec, "-subj", "/CN=ci-1", "-addext", "basicConstraints=critical,CA:true")...),
		"with names of a host": openssl(t, append(ec, "-subj", "/CN=ci-1", "-addext", "subjectAltName=DNS:registry.example.com")...),
	} {
		r, err := ParseRequest(data)
		if err != nil {
			t.Errorf("a request %s: %v", name, err)
		} else if RequestedName(r) != "ci-1" {
			t.Errorf("a request %s: %q", name, RequestedName(r))
		}
	}
	other := openssl(t, append(ec, "-subj", "/CN=ci-2")...)
	damaged := bytes.Clone(block.Bytes)
	damaged[bytes.Index(damaged, []byte("ci-1"))+3] = '2'
	for name, tc := range map[string]struct {
		data []byte
		want string
	}{
		"nothing":         {nil, "not a certificate request"},
		"text":            {[]byte("hello"), "not a certificate request"},
		"a certificate":   {certificatePEM(newCA(t, "a.example").Certificate.Raw), `"CERTIFICATE" block`},
		"two requests":    {append(bytes.Clone(good), other...), "more than one block"},
		"of RSA 1024":     {openssl(t, "-newkey", "rsa:1024", "-subj", "/CN=ci-1"), "1024 bits"},
		"of P-224":        {openssl(t, "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:secp224r1", "-subj", "/CN=ci-1"), "no kind that is taken"},
		"of a strange EC": {openssl(t, "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:secp256k1", "-subj", "/CN=ci-1"), "not a certificate request"},
		"another name":    {damaged, "damaged"},
		"cut short":       {block.Bytes[:len(block.Bytes)-1], "not a certificate request"},
		"too large":       {bytes.Repeat([]byte("A"), MaxRequest+1), "larger than"},
	} {
		if _, err := ParseRequest(tc.data); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, want %s", name, err, tc.want)
		}
	}
	for name, subject := range map[string]pkix.Name{
		"no name":   {Organization: []string{"A"}},
		"two names": {ExtraNames: []pkix.AttributeTypeAndValue{{Type: commonNameType, Value: "a"}, {Type: commonNameType, Value: "b"}}},
	} {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: subject}, key)
		if err != nil {
			t.Fatal(err)
		}
		if r, err := ParseRequest(der); err != nil || RequestedName(r) != "" {
			t.Errorf("%s: %q, %v", name, RequestedName(r), err)
		}
	}
}
