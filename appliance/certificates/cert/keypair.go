package cert

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"path/filepath"
	"sync/atomic"
	"time"
)

// KeyPair is a server's certificate that can be exchanged while it is in use.
type KeyPair struct {
	certFile, keyFile string
	now               func() time.Time
	pair              atomic.Pointer[tls.Certificate]
}

// OpenKeyPair reads the pair. It reads from the files again when Reload is
// called. An expired pair is taken: it is still better than none.
func OpenKeyPair(certFile, keyFile string, now func() time.Time) (*KeyPair, error) {
	k := &KeyPair{certFile: certFile, keyFile: keyFile, now: now}
	if err := k.Reload(); err != nil {
		return nil, err
	}
	return k, nil
}

// NewKeyPair holds a pair that is in memory only. Its Reload does nothing.
func NewKeyPair(certPEM, keyPEM []byte) (*KeyPair, error) {
	pair, err := ParsePair(certPEM, keyPEM)
	if err != nil {
		return nil, err
	}
	k := &KeyPair{}
	k.pair.Store(pair)
	return k, nil
}

// GetCertificate is for tls.Config.
func (k *KeyPair) GetCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	return k.pair.Load(), nil
}

// Leaf returns the server's certificate now in use.
func (k *KeyPair) Leaf() *x509.Certificate { return k.pair.Load().Leaf }

// Reload reads the files again. A pair that cannot be used, and an expired one
// where the one in use is not, is refused by name, and the old one stays.
func (k *KeyPair) Reload() error {
	if k.certFile == "" {
		return nil
	}
	for {
		certFile, keyFile := k.resolve()
		err := k.load(certFile, keyFile)
		if now, _ := k.resolve(); err == nil || now == certFile {
			return err
		}
		// The generation was replaced while it was read: read the new one.
	}
}

func (k *KeyPair) load(certFile, keyFile string) error {
	certPEM, err := readPEM(certFile)
	if err != nil {
		return fmt.Errorf("cannot read the certificate: %w", err)
	}
	key, err := readPEM(keyFile)
	if err != nil {
		return fmt.Errorf("cannot read the private key: %w", err)
	}
	pair, err := ParsePair(certPEM, key)
	if err != nil {
		return fmt.Errorf("cannot use the pair %s and %s: %w", certFile, keyFile, err)
	}
	old := k.pair.Load()
	if old != nil && expired(pair, k.now()) && !expired(old, k.now()) {
		return fmt.Errorf("cannot use the certificate %s: it expired at %s", certFile, pair.Leaf.NotAfter.UTC().Format(time.RFC3339))
	}
	k.pair.Store(pair)
	return nil
}

// resolve follows the directory's symbolic link once for both files, so that a
// flip of the link between the two reads cannot mix two generations.
func (k *KeyPair) resolve() (certFile, keyFile string) {
	dir := filepath.Dir(k.certFile)
	if dir != filepath.Dir(k.keyFile) {
		return k.certFile, k.keyFile
	}
	real, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return k.certFile, k.keyFile
	}
	return filepath.Join(real, filepath.Base(k.certFile)), filepath.Join(real, filepath.Base(k.keyFile))
}
