package cert

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
)

// MaxRequest is the largest certificate request in bytes: more than ten times what an
// RSA key of 8192 bits needs.
const MaxRequest = 64 << 10

// ParseRequest reads one certificate request (PKCS #10, RFC 2986) in PEM or DER. The
// requester has the key: the request's signature says so. The key is one that a TLS server
// takes: RSA of 2048 to 8192 bits, ECDSA on P-256, P-384 or P-521, or Ed25519.
func ParseRequest(data []byte) (*x509.CertificateRequest, error) {
	if len(data) > MaxRequest {
		return nil, fmt.Errorf("it is larger than %d bytes, which no request is", MaxRequest)
	}
	der := data
	if block, rest := pem.Decode(trim(data)); block != nil {
		if block.Type != "CERTIFICATE REQUEST" && block.Type != "NEW CERTIFICATE REQUEST" {
			return nil, fmt.Errorf("it holds a %q block where a certificate request belongs", block.Type)
		}
		if more, _ := pem.Decode(rest); more != nil {
			return nil, errors.New("it holds more than one block: sign one request after the other")
		}
		der = block.Bytes
	}
	r, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return nil, errors.New("it is not a certificate request in PEM or DER, as openssl req -new prints it")
	}
	if err := usableKey(r.PublicKey); err != nil {
		return nil, err
	}
	if err := r.CheckSignature(); err != nil {
		return nil, errors.New("its signature is not of its key: the request is damaged")
	}
	return r, nil
}

func usableKey(key any) error {
	switch k := key.(type) {
	case *rsa.PublicKey:
		if bits := k.N.BitLen(); bits < 2048 || bits > 8192 {
			return fmt.Errorf("its RSA key has %d bits: 2048 to 8192 are taken", bits)
		}
		return nil
	case *ecdsa.PublicKey:
		if k.Curve == elliptic.P256() || k.Curve == elliptic.P384() || k.Curve == elliptic.P521() {
			return nil
		}
	case ed25519.PublicKey:
		return nil
	}
	return errors.New("its key is of no kind that is taken: RSA, ECDSA on P-256, P-384 or P-521, Ed25519")
}

// RequestedName is the one common name that a request has; empty if it has none, or more.
func RequestedName(r *x509.CertificateRequest) string {
	name, count := "", 0
	for _, n := range r.Subject.Names {
		if n.Type.Equal(commonNameType) {
			name, _ = n.Value.(string) // anything else is no name
			count++
		}
	}
	if count != 1 {
		return ""
	}
	return name
}
