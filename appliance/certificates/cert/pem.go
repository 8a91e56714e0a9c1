package cert

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
	"time"
)

// maxPEM is the largest file in bytes, more than any chain or key needs.
const maxPEM = 1 << 20

// readPEM reads a regular file of at most maxPEM bytes. It does not block on a FIFO.
func readPEM(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", path)
	}
	if info.Size() > maxPEM {
		return nil, fmt.Errorf("%s is larger than %d bytes, which no certificate is", path, maxPEM)
	}
	return io.ReadAll(io.LimitReader(f, maxPEM))
}

// parseCertificates reads every CERTIFICATE block of data, the first one first.
func parseCertificates(data []byte) ([]*x509.Certificate, error) {
	var chain []*x509.Certificate
	for block, rest := pem.Decode(trim(data)); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("it holds a %q block where certificates belong", block.Type)
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("certificate %d is damaged: %w", len(chain)+1, err)
		}
		chain = append(chain, c)
	}
	if len(chain) == 0 {
		return nil, errors.New("it holds no PEM certificate")
	}
	return chain, nil
}

// parseKey reads a private key: PKCS #8, SEC 1 (EC) or PKCS #1 (RSA).
func parseKey(data []byte) (crypto.Signer, error) {
	for block, rest := pem.Decode(trim(data)); block != nil; block, rest = pem.Decode(rest) {
		if block.Type == "EC PARAMETERS" {
			continue // openssl ecparam -genkey writes it before the key
		}
		if block.Type == "ENCRYPTED PRIVATE KEY" || block.Headers["DEK-Info"] != "" {
			return nil, errors.New("the private key is encrypted; store it without a passphrase")
		}
		return decodeKey(block)
	}
	return nil, errors.New("it holds no PEM private key")
}

func decodeKey(block *pem.Block) (crypto.Signer, error) {
	var key any
	var err error
	switch block.Type {
	case "PRIVATE KEY":
		key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	case "EC PRIVATE KEY":
		key, err = x509.ParseECPrivateKey(block.Bytes)
	case "RSA PRIVATE KEY":
		key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	default:
		return nil, fmt.Errorf("it holds a %q block where the private key belongs", block.Type)
	}
	if err != nil {
		return nil, errors.New("the private key is damaged") // the cause may quote it
	}
	switch k := key.(type) {
	case *ecdsa.PrivateKey:
		return k, nil
	case *rsa.PrivateKey:
		return k, nil
	case ed25519.PrivateKey:
		return k, nil
	}
	return nil, fmt.Errorf("a server cannot use a key of type %T", key)
}

// trim removes a byte order mark. Package pem reads CRLF by itself.
func trim(data []byte) []byte { return bytes.TrimPrefix(data, []byte("\ufeff")) }

// ParsePair reads a server's chain and key from PEM. The chain may be in any
// order: the certificate of the key goes first, as TLS asks for.
func ParsePair(certPEM, keyPEM []byte) (*tls.Certificate, error) {
	chain, err := parseCertificates(certPEM)
	if err != nil {
		return nil, fmt.Errorf("cannot use the certificate: %w", err)
	}
	key, err := parseKey(keyPEM)
	if err != nil {
		return nil, fmt.Errorf("cannot use the private key: %w", err)
	}
	pair := &tls.Certificate{PrivateKey: key}
	for _, c := range chain {
		if pair.Leaf == nil && samePublic(c.PublicKey, key.Public()) {
			pair.Leaf = c
			pair.Certificate = append([][]byte{c.Raw}, pair.Certificate...)
			continue
		}
		pair.Certificate = append(pair.Certificate, c.Raw)
	}
	if pair.Leaf == nil {
		return nil, errors.New("the private key does not belong to the certificate")
	}
	return pair, nil
}

// expired tells whether the pair has expired.
func expired(pair *tls.Certificate, now time.Time) bool { return now.After(pair.Leaf.NotAfter) }
