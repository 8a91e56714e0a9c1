package cert

import (
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
)

// NewClientCA makes the authority that signs only certificates of clients. It is separate
// from the server's, so that a client's certificate never passes for a server's.
func NewClientCA(name string, now time.Time, rand io.Reader) (*CA, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand)
	if err != nil {
		return nil, fmt.Errorf("cannot make a key: %w", err)
	}
	template := &x509.Certificate{
		Subject:               pkix.Name{Organization: []string{"Redoubt"}, CommonName: "Redoubt client CA of " + name},
		NotBefore:             now.Add(-backdate),
		NotAfter:              now.Add(caValidity),
		IsCA:                  true,
		MaxPathLenZero:        true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	c, err := sign(template, template, key.Public(), key, rand)
	if err != nil {
		return nil, err
	}
	return &CA{Certificate: c, key: key}, nil
}

// IssueClient makes a key and a client's certificate with the common name name,
// valid for validity or to the authority's own end if that is sooner.
func (ca *CA) IssueClient(name string, now time.Time, validity time.Duration, rand io.Reader) (*x509.Certificate, *ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand)
	if err != nil {
		return nil, nil, fmt.Errorf("cannot make a key: %w", err)
	}
	c, err := ca.SignClient(key.Public(), name, now, validity, rand)
	return c, key, err
}

// SignClient makes a client's certificate of a key that the client keeps, as IssueClient
// does.
func (ca *CA) SignClient(key crypto.PublicKey, name string, now time.Time, validity time.Duration, rand io.Reader) (*x509.Certificate, error) {
	template := &x509.Certificate{
		Subject:               pkix.Name{CommonName: name},
		NotBefore:             now.Add(-backdate),
		NotAfter:              ca.leafEnd(now, validity),
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	return sign(template, ca.Certificate, key, ca.key, rand)
}

// Revocations signs the list of revoked certificates (RFC 5280, 5) in PEM.
func (ca *CA) Revocations(entries []x509.RevocationListEntry, number int64, now, next time.Time, rand io.Reader) ([]byte, error) {
	der, err := x509.CreateRevocationList(rand, &x509.RevocationList{
		Number: big.NewInt(number), ThisUpdate: now, NextUpdate: next, RevokedCertificateEntries: entries,
	}, ca.Certificate, ca.key)
	if err != nil {
		return nil, fmt.Errorf("cannot sign the revocation list: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: crlType, Bytes: der}), nil
}

// EncodeCertificate returns a certificate in PEM.
func EncodeCertificate(c *x509.Certificate) []byte { return certificatePEM(c.Raw) }

// EncodeKey returns a private key as PKCS #8 in PEM.
func EncodeKey(key *ecdsa.PrivateKey) ([]byte, error) { return keyPEM(key) }
