package cert

import (
	"bytes"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"
)

// ReadFile reads an operator's PEM file: a regular file of at most maxPEM bytes. It does
// not block on a FIFO, and does not fill the memory.
func ReadFile(path string) ([]byte, error) { return readPEM(path) }

// ReadKeyFile is ReadFile for a private key. One that every user of the machine
// may read is refused.
func ReadKeyFile(path string) ([]byte, error) {
	data, err := readPEM(path)
	if err != nil {
		return nil, err
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if mode := info.Mode().Perm(); mode&0o007 != 0 {
		return nil, fmt.Errorf("%s has mode %04o, so that anybody may read the key: chmod 600 it", path, mode)
	}
	return data, nil
}

// Checked is a pair that was checked, in plain PEM: no byte order mark, LF at
// the ends of lines, nothing between the blocks.
type Checked struct {
	Chain, Key []byte
	Leaf       *x509.Certificate
}

// CheckPair checks a server's chain and key before they are used: the key is
// the first certificate's, each certificate is issued by the next, and all are
// in force at now. The certificate is for every one of names. A zero now leaves
// the dates out.
func CheckPair(certPEM, key []byte, names []string, now time.Time) (Checked, error) {
	chain, err := parseCertificates(certPEM)
	if err != nil {
		return Checked{}, fmt.Errorf("cannot use the certificate: %w", err)
	}
	signer, err := parseKey(key)
	if err != nil {
		return Checked{}, fmt.Errorf("cannot use the private key: %w", err)
	}
	leaf := chain[0]
	if !samePublic(leaf.PublicKey, signer.Public()) {
		for _, c := range chain[1:] {
			if samePublic(c.PublicKey, signer.Public()) {
				return Checked{}, errors.New("the chain is in the wrong order: the server's own certificate comes first, then its issuer")
			}
		}
		return Checked{}, errors.New("the private key does not belong to the certificate")
	}
	if err := checkChain(chain, now); err != nil {
		return Checked{}, err
	}
	if !serves(leaf) {
		return Checked{}, errors.New("the certificate is not for servers: its extended key usage leaves serverAuth out")
	}
	for _, name := range names {
		if err := leaf.VerifyHostname(hostOf(name)); err != nil {
			return Checked{}, fmt.Errorf("the certificate is not for %s", name)
		}
	}
	out := Checked{Leaf: leaf}
	for _, c := range chain {
		out.Chain = append(out.Chain, certificatePEM(c.Raw)...)
	}
	out.Key, err = keyPEM(signer)
	return out, err
}

// minRSA is the shortest RSA key that clients take: OpenSSL's default security level 2.
const minRSA = 2048

// Remarks are what clients may refuse of a pair that a server can use.
func (c Checked) Remarks() []string {
	var out []string
	if bytes.Count(c.Chain, []byte("BEGIN CERTIFICATE")) == 1 && !bytes.Equal(c.Leaf.RawIssuer, c.Leaf.RawSubject) {
		out = append(out, "its issuer's certificate is not here: put it after this one, for clients do not look for it; only a root that they trust themselves may be left out")
	}
	if key, ok := c.Leaf.PublicKey.(*rsa.PublicKey); ok && key.N.BitLen() < minRSA {
		out = append(out, fmt.Sprintf("its RSA key has %d bits: clients refuse fewer than %d", key.N.BitLen(), minRSA))
	}
	return out
}

// hostOf is a name as VerifyHostname expects it.
func hostOf(name string) string {
	if ip, err := netip.ParseAddr(name); err == nil {
		return ip.Unmap().String()
	}
	return strings.TrimSuffix(name, ".")
}

func checkChain(chain []*x509.Certificate, now time.Time) error {
	for i, c := range chain {
		called := "the certificate"
		if i > 0 {
			called = fmt.Sprintf("certificate %d of the chain", i+1)
		}
		if err := InForce(c, now); err != nil {
			return fmt.Errorf("%s %w", called, err)
		}
		if i > 0 && chain[i-1].CheckSignatureFrom(c) != nil {
			return fmt.Errorf("the chain is in the wrong order: certificate %d did not issue the one before it", i+1)
		}
	}
	return nil
}

// InForce says why a certificate is not valid at now, in words that follow its name. A
// zero now is never too early or too late.
func InForce(c *x509.Certificate, now time.Time) error {
	switch {
	case now.IsZero():
	case now.After(c.NotAfter):
		return fmt.Errorf("expired at %s", c.NotAfter.UTC().Format(time.RFC3339))
	case now.Before(c.NotBefore.Add(-backdate)):
		return fmt.Errorf("does not count before %s", c.NotBefore.UTC().Format(time.RFC3339))
	}
	return nil
}

func serves(c *x509.Certificate) bool {
	return len(c.ExtKeyUsage)+len(c.UnknownExtKeyUsage) == 0 ||
		slices.Contains(c.ExtKeyUsage, x509.ExtKeyUsageServerAuth) || slices.Contains(c.ExtKeyUsage, x509.ExtKeyUsageAny)
}

// CheckCA reads an authority that was brought, with the certificates above it
// if there are any, and checks that it can sign for names at now. A zero now
// leaves the dates out.
func CheckCA(certPEM, key []byte, names []string, now time.Time) (*CA, error) {
	ca, err := ParseCA(certPEM, key)
	if err != nil {
		return nil, err
	}
	c := ca.Certificate
	switch {
	case c.KeyUsage != 0 && c.KeyUsage&x509.KeyUsageCertSign == 0:
		return nil, errors.New("the authority's key usage does not let it sign certificates")
	case !serves(c):
		return nil, errors.New("the authority may not sign for servers: its extended key usage leaves serverAuth out")
	case !ca.Permits(names):
		return nil, fmt.Errorf("the authority's name constraints do not permit all of %q", names)
	}
	return ca, checkChain(append([]*x509.Certificate{c}, ca.above...), now)
}

// CheckCAs reads authorities' certificates from PEM, all of them in force at
// now, and returns them in plain PEM. A zero now leaves the dates out.
func CheckCAs(data []byte, now time.Time) ([]byte, error) {
	chain, err := parseCertificates(data)
	if err != nil {
		return nil, err
	}
	var out []byte
	for i, c := range chain {
		if !c.IsCA || !c.BasicConstraintsValid {
			return nil, fmt.Errorf("certificate %d is not an authority's", i+1)
		}
		if err := InForce(c, now); err != nil {
			return nil, fmt.Errorf("certificate %d %w", i+1, err)
		}
		out = append(out, certificatePEM(c.Raw)...)
	}
	return out, nil
}

// crlType is the type of a revocation list's PEM block.
const crlType = "X509 CRL"

// ParseCRLs reads revocation lists from PEM, or a single one in DER, which is
// how authorities publish them. Lists that leave revocations out are refused.
func ParseCRLs(data []byte) ([]*x509.RevocationList, error) {
	var lists []*x509.RevocationList
	add := func(der []byte) error {
		list, err := x509.ParseRevocationList(der)
		if err != nil {
			return fmt.Errorf("revocation list %d is damaged: %w", len(lists)+1, err)
		}
		for _, e := range list.Extensions {
			if e.Critical {
				return fmt.Errorf("revocation list %d is not a complete one (critical extension %v): only complete lists are read", len(lists)+1, e.Id)
			}
		}
		lists = append(lists, list)
		return nil
	}
	if bytes.HasPrefix(data, []byte{0x30}) { // the SEQUENCE that every list in DER is
		err := add(data)
		return lists, err
	}
	for block, rest := pem.Decode(trim(data)); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != crlType {
			return nil, fmt.Errorf("it holds a %q block where revocation lists belong", block.Type)
		}
		if err := add(block.Bytes); err != nil {
			return nil, err
		}
	}
	if len(lists) == 0 {
		return nil, errors.New("it holds no PEM revocation list")
	}
	return lists, nil
}

// CheckCRLs reads revocation lists, each signed by one of the authorities in
// cas, and returns them in plain PEM.
func CheckCRLs(data, cas []byte) ([]byte, error) {
	lists, err := ParseCRLs(data)
	if err != nil {
		return nil, err
	}
	authorities, err := parseCertificates(cas)
	if err != nil {
		return nil, fmt.Errorf("no authority for it: %w", err)
	}
	var out []byte
	for i, list := range lists {
		signed := func(c *x509.Certificate) bool { return list.CheckSignatureFrom(c) == nil }
		if !slices.ContainsFunc(authorities, signed) {
			return nil, fmt.Errorf("revocation list %d is of none of the authorities in cas", i+1)
		}
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: crlType, Bytes: list.Raw})...)
	}
	return out, nil
}

// ParseCAs reads certificates from PEM.
func ParseCAs(data []byte) ([]*x509.Certificate, error) { return parseCertificates(data) }

// SamePair tells whether a published pair is the one that was checked.
func SamePair(have *tls.Certificate, want Checked) bool {
	var chain []byte
	for _, der := range have.Certificate {
		chain = append(chain, certificatePEM(der)...)
	}
	return bytes.Equal(chain, want.Chain)
}
