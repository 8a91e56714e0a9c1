package clientca

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/redoubt-registry/redoubt/appliance/certificates/cert"
	"github.com/redoubt-registry/redoubt/appliance/files"
)

// loadOld reads the authorities that were put aside and have issued what is still in
// force.
func (s *Store) loadOld() error {
	s.old = nil
	aside, err := s.aside()
	if err != nil {
		return err
	}
	for _, certFile := range aside {
		certPEM, err := cert.ReadFile(certFile)
		if err != nil {
			return fmt.Errorf("cannot read the old authority: %w", err)
		}
		chain, err := cert.ParseCAs(certPEM)
		if err != nil {
			return fmt.Errorf("cannot use the old authority %s: %w", filepath.Base(certFile), err)
		}
		if !s.inForce(serial(chain[0].SerialNumber)) {
			continue
		}
		key, err := cert.ReadFile(keyOf(certFile))
		if err != nil {
			return fmt.Errorf("cannot read the key of the old authority: %w", err)
		}
		ca, err := cert.ParseCA(certPEM, key)
		if err != nil {
			return fmt.Errorf("cannot use the old authority %s: %w", filepath.Base(certFile), err)
		}
		s.old = append(s.old, ca)
	}
	return nil
}

// aside are the certificates of the authorities that were put aside.
func (s *Store) aside() ([]string, error) { return filepath.Glob(s.path(CertificateFile + ".kept-*")) }

func keyOf(certFile string) string {
	return filepath.Join(filepath.Dir(certFile), strings.Replace(filepath.Base(certFile), CertificateFile, keyFile, 1))
}

// inForce says whether any certificate of an authority has not ended.
func (s *Store) inForce(authority string) bool {
	for _, c := range s.record.Clients {
		if c.Authority == authority && s.now.Before(c.NotAfter.Add(afterEnd)) {
			return true
		}
	}
	return false
}

// retired says whether an authority was put aside since it was over: then a power cut
// has kept its successor from being made.
func (s *Store) retired() bool {
	aside, _ := s.aside() // loadOld has read them
	for _, certFile := range aside {
		certPEM, err := cert.ReadFile(certFile)
		if err != nil {
			continue
		}
		if chain, err := cert.ParseCAs(certPEM); err == nil && s.now.Add(margin).After(chain[0].NotAfter) {
			return true
		}
	}
	return false
}

// finishRetiring puts a key aside whose certificate is there already.
func (s *Store) finishRetiring() error {
	aside, err := s.aside()
	if err != nil {
		return err
	}
	if _, err := os.Lstat(s.path(CertificateFile)); err == nil {
		return nil
	}
	for _, certFile := range aside {
		if _, err := os.Lstat(keyOf(certFile)); !errors.Is(err, fs.ErrNotExist) {
			continue
		}
		certPEM, err := cert.ReadFile(certFile)
		if err != nil {
			return fmt.Errorf("cannot read the old authority: %w", err)
		}
		key, err := cert.ReadFile(s.path(keyFile))
		if err != nil {
			continue
		}
		if _, err := cert.ParseCA(certPEM, key); err != nil {
			continue
		}
		if err := files.Rename(s.path(keyFile), keyOf(certFile)); err != nil {
			return fmt.Errorf("cannot put the old authority aside: %w", err)
		}
	}
	return nil
}
