// Package cert makes and keeps the machine's certificates: its own authority,
// the server's certificate, and the pair that a running server can exchange.
// Time and the source of serial numbers are arguments.
package cert

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"time"

	"github.com/redoubt-registry/redoubt/appliance/certificates/renewal"
)

const (
	caValidity = 10 * 365 * 24 * time.Hour
	// backdate makes a new certificate valid for clients whose clock is late.
	backdate = time.Hour
	// caMargin is how long before it expires an authority is replaced, so that a
	// server certificate never outlives it.
	caMargin = 30 * 24 * time.Hour
	// serialBits keeps a serial number at 20 octets, positive (RFC 5280 4.1.2.2).
	serialBits = 159
)

// CA is a certificate authority: P-256, constrained to the names it was made
// for, able to sign server certificates and nothing below itself.
type CA struct {
	Certificate *x509.Certificate
	key         crypto.Signer
	above       []*x509.Certificate // what a client needs to get from here to a root
}

// NewCA makes an authority, valid for ten years, whose critical name
// constraints (RFC 5280 4.2.1.10) permit names, DNS names or IP addresses, and
// no other. Serial numbers are read from rand.
func NewCA(names []string, now time.Time, rand io.Reader) (*CA, error) {
	set, err := parseNames(names)
	if err != nil {
		return nil, fmt.Errorf("cannot make a certificate authority: %w", err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand)
	if err != nil {
		return nil, fmt.Errorf("cannot make a key: %w", err)
	}
	template := &x509.Certificate{
		Subject: pkix.Name{
			Organization: []string{"Redoubt"},
			CommonName:   "Redoubt CA of " + names[0],
		},
		NotBefore:             now.Add(-backdate),
		NotAfter:              now.Add(caValidity),
		IsCA:                  true,
		MaxPathLenZero:        true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	set.constrain(template)
	c, err := sign(template, template, key.Public(), key, rand)
	if err != nil {
		return nil, err
	}
	return &CA{Certificate: c, key: key}, nil
}

// ParseCA reads an authority from PEM. It is an error if the certificate is
// not an authority's or if the key is not the certificate's.
func ParseCA(certPEM, keyPEM []byte) (*CA, error) {
	chain, err := parseCertificates(certPEM)
	if err != nil {
		return nil, err
	}
	key, err := parseKey(keyPEM)
	if err != nil {
		return nil, err
	}
	c := chain[0]
	if !c.IsCA || !c.BasicConstraintsValid {
		return nil, fmt.Errorf("the certificate is not an authority's")
	}
	if !samePublic(c.PublicKey, key.Public()) {
		return nil, fmt.Errorf("the private key does not belong to the certificate")
	}
	return &CA{Certificate: c, key: key, above: chain[1:]}, nil
}

// PEM returns the authority's certificate, which clients are given, and those
// above it if it was brought with any.
func (ca *CA) PEM() []byte {
	out := certificatePEM(ca.Certificate.Raw)
	for _, c := range ca.above {
		out = append(out, certificatePEM(c.Raw)...)
	}
	return out
}

// chain is what a server sends after its own certificate: its authority, and those
// between that and the root, which clients have. The authority is sent even if it is the
// root: a client without it can take it from a handshake and compare it with the
// fingerprint on the machine's console.
func (ca *CA) chain() []byte {
	out := certificatePEM(ca.Certificate.Raw)
	for _, c := range ca.above {
		if !bytes.Equal(c.RawSubject, c.RawIssuer) {
			out = append(out, certificatePEM(c.Raw)...)
		}
	}
	return out
}

// KeyPEM returns the authority's private key as PKCS #8.
func (ca *CA) KeyPEM() ([]byte, error) { return keyPEM(ca.key) }

// Permits says whether the authority's name constraints allow every name.
func (ca *CA) Permits(names []string) bool {
	want, err := parseNames(names)
	return err == nil && want.permittedBy(ca.Certificate)
}

// Issue signs a server certificate for pub with names as its alternative
// names, valid for validity or to the authority's own end if that is sooner.
func (ca *CA) Issue(pub crypto.PublicKey, names []string, now time.Time, validity time.Duration, rand io.Reader) (*x509.Certificate, error) {
	set, err := parseNames(names)
	if err != nil {
		return nil, fmt.Errorf("cannot issue a certificate: %w", err)
	}
	if !set.permittedBy(ca.Certificate) {
		return nil, fmt.Errorf("cannot issue a certificate for %q: the authority's name constraints do not permit it", names)
	}
	template := &x509.Certificate{
		Subject:               pkix.Name{Organization: []string{"Redoubt"}, CommonName: commonName(names[0])},
		NotBefore:             now.Add(-backdate),
		NotAfter:              ca.leafEnd(now, validity),
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	set.name(template)
	return sign(template, ca.Certificate, pub, ca.key, rand)
}

func (ca *CA) leafEnd(now time.Time, validity time.Duration) time.Time {
	end := now.Add(validity)
	if end.After(ca.Certificate.NotAfter) {
		return ca.Certificate.NotAfter
	}
	return end
}

// NeedsRenewal says whether less than a third of c's lifetime is left. A clock
// that is earlier than c's start is no reason to renew.
func NeedsRenewal(c *x509.Certificate, now time.Time) bool {
	begin, _ := renewal.Certificate{NotBefore: c.NotBefore, NotAfter: c.NotAfter}.LastThird()
	return now.After(begin)
}

// SelfSigned makes a pair that no client trusts, valid for a day: a server without a
// certificate uses it, so that it can still say why.
func SelfSigned(names []string, now time.Time, rand io.Reader) (certPEM, key []byte, err error) {
	set, err := parseNames(names)
	if err != nil {
		return nil, nil, err
	}
	signer, err := ecdsa.GenerateKey(elliptic.P256(), rand)
	if err != nil {
		return nil, nil, fmt.Errorf("cannot make a key: %w", err)
	}
	template := &x509.Certificate{
		Subject:               pkix.Name{Organization: []string{"Redoubt"}, CommonName: "Redoubt without a certificate"},
		NotBefore:             now.Add(-backdate),
		NotAfter:              now.Add(24 * time.Hour),
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	set.name(template)
	c, err := sign(template, template, signer.Public(), signer, rand)
	if err != nil {
		return nil, nil, err
	}
	key, err = keyPEM(signer)
	return certificatePEM(c.Raw), key, err
}

// commonName returns name if a client may read it as a DNS name, and words
// around it otherwise: OpenSSL checks a common name that looks like a DNS name
// against the DNS constraints, an address too.
func commonName(name string) string {
	if set, err := parseNames([]string{name}); err == nil && len(set.dns) == 1 && len(name) <= 64 {
		return name
	}
	return "Redoubt server"
}

func sign(template, parent *x509.Certificate, pub crypto.PublicKey, key crypto.Signer, rand io.Reader) (*x509.Certificate, error) {
	serial, err := newSerial(rand)
	if err != nil {
		return nil, err
	}
	template.SerialNumber = serial
	der, err := x509.CreateCertificate(rand, template, parent, pub, key)
	if err != nil {
		return nil, fmt.Errorf("cannot sign a certificate: %w", err)
	}
	return x509.ParseCertificate(der)
}

func newSerial(rand io.Reader) (*big.Int, error) {
	b := make([]byte, (serialBits+7)/8)
	if _, err := io.ReadFull(rand, b); err != nil {
		return nil, fmt.Errorf("cannot read a serial number: %w", err)
	}
	b[0] &= 0x7f
	b[0] |= 0x40 // never short, never zero
	return new(big.Int).SetBytes(b), nil
}

func samePublic(a, b crypto.PublicKey) bool {
	k, ok := a.(interface{ Equal(crypto.PublicKey) bool })
	return ok && k.Equal(b)
}

func certificatePEM(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func keyPEM(key crypto.Signer) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("cannot encode the private key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}
