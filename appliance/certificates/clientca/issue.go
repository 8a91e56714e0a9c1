package clientca

import (
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/redoubt-registry/redoubt/appliance/certificates/cert"
)

// Issued is a new client's certificate, in PEM and as it is, with its key if that was
// made here.
type Issued struct {
	Client      Client
	Certificate *x509.Certificate
	CA          *x509.Certificate
	Key         any // of *ecdsa.PrivateKey
	CertPEM     []byte
	KeyPEM      []byte
}

var clientName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9 ._@-]{0,63}$`)

// Issue makes a key and a certificate with the common name name. It is recorded before
// it is returned, so that it can always be revoked.
func (s *Store) Issue(name string, days int) (Issued, error) {
	if err := checkClient(name, days); err != nil {
		return Issued{}, err
	}
	c, key, err := s.ca.IssueClient(name, s.now, validity(days), rand.Reader)
	if err != nil {
		return Issued{}, err
	}
	encoded, err := cert.EncodeKey(key)
	if err != nil {
		return Issued{}, err
	}
	out := s.issued(c, name)
	out.Key, out.KeyPEM = key, encoded
	return out, s.keep(out.Client)
}

// Sign makes a certificate of a key that its client keeps, with the common name name, or
// else the one that the request has. Nothing else of the request's subject and none of its
// extensions is taken. It is recorded as Issue does.
func (s *Store) Sign(r *x509.CertificateRequest, name string, days int) (Issued, error) {
	if name == "" {
		name = cert.RequestedName(r)
	}
	if name == "" {
		return Issued{}, errors.New("the request has no common name, or more than one: give --name")
	}
	if err := checkClient(name, days); err != nil {
		return Issued{}, err
	}
	c, err := s.ca.SignClient(r.PublicKey, name, s.now, validity(days), rand.Reader)
	if err != nil {
		return Issued{}, err
	}
	out := s.issued(c, name)
	return out, s.keep(out.Client)
}

func checkClient(name string, days int) error {
	if !clientName.MatchString(name) || strings.TrimSpace(name) != name {
		return errors.New("a client's name is 1 to 64 letters, digits, spaces and . _ @ - with a letter or digit first")
	}
	if days < 1 || days > MaxDays {
		return fmt.Errorf("a client's certificate is valid for 1 to %d days", MaxDays)
	}
	return nil
}

func validity(days int) time.Duration { return time.Duration(days) * 24 * time.Hour }

func (s *Store) issued(c *x509.Certificate, name string) Issued {
	return Issued{Certificate: c, CA: s.ca.Certificate, CertPEM: cert.EncodeCertificate(c),
		Client: Client{Name: name, Serial: serial(c.SerialNumber), Issued: s.now.UTC(), NotAfter: c.NotAfter.UTC(),
			Authority: serial(s.ca.Certificate.SerialNumber)}}
}

func (s *Store) keep(c Client) error {
	s.record.Clients = append(s.record.Clients, c)
	return s.save()
}
