package cert

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"sync/atomic"
	"time"
)

// KeyPair is a server's certificate, or several for different names, that can be
// exchanged while it is in use.
type KeyPair struct {
	// Local says whether an address is one of this machine's. Nil: all are.
	Local func(netip.Addr) bool

	certFile, keyFile string
	now               func() time.Time
	pairs             atomic.Pointer[[]*tls.Certificate]
}

// OpenKeyPair reads the pair, and those beside it (tls-2.crt and tls-2.key beside
// tls.crt and tls.key). It reads from the files again when Reload is
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
	k.pairs.Store(&[]*tls.Certificate{pair})
	return k, nil
}

// GetCertificate is for tls.Config. The client gets the certificate for the name
// that it asks for, or, where it asks for none, for the address that it reached.
func (k *KeyPair) GetCertificate(h *tls.ClientHelloInfo) (*tls.Certificate, error) {
	var reached netip.Addr
	if h.Conn != nil {
		if at, err := netip.ParseAddrPort(h.Conn.LocalAddr().String()); err == nil {
			reached = at.Addr().Unmap().WithZone("")
		}
	}
	return choose(*k.pairs.Load(), h.ServerName, reached, k.Local), nil
}

// choose picks the pair for a client that asked for name or, where that is empty,
// reached an address of this machine. A client that called another address, which
// was translated on the way here, cannot be told from one that called this one:
// then the pair of the oldest authority is for both, so that nobody loses a trust
// that he had.
func choose(pairs []*tls.Certificate, name string, reached netip.Addr, local func(netip.Addr) bool) *tls.Certificate {
	if len(pairs) == 1 {
		return pairs[0]
	}
	if name != "" {
		for _, p := range pairs {
			if p.Leaf.VerifyHostname(name) == nil {
				return p
			}
		}
		return pairs[0]
	}
	called := func(ip netip.Addr) bool {
		translated := local != nil && ip.Is4() == reached.Is4() && !reached.IsLoopback() && !local(ip)
		return reached.IsValid() && (ip == reached || translated)
	}
	oldest := slices.SortedStableFunc(slices.Values(pairs), func(a, b *tls.Certificate) int { return trusted(a).Compare(trusted(b)) })
	for _, p := range oldest {
		if slices.ContainsFunc(names(p.Leaf).ips, called) {
			return p
		}
	}
	return pairs[0]
}

// trusted is since when clients may have the authority of a pair: zero for one
// that is not this machine's own.
func trusted(p *tls.Certificate) time.Time {
	top, err := x509.ParseCertificate(p.Certificate[len(p.Certificate)-1])
	if err != nil || len(p.Certificate) == 1 || top.CheckSignatureFrom(top) != nil {
		return time.Time{}
	}
	return top.NotBefore
}

// Leaf returns the server's certificate now in use, the first if there are
// several.
func (k *KeyPair) Leaf() *x509.Certificate { return (*k.pairs.Load())[0].Leaf }

// NotAfter is when the first of the certificates in use ends.
func (k *KeyPair) NotAfter() time.Time { return EndsFirst(*k.pairs.Load()).Leaf.NotAfter }

// EndsFirst is the pair that ends first.
func EndsFirst(pairs []*tls.Certificate) *tls.Certificate {
	return slices.MinFunc(pairs, func(a, b *tls.Certificate) int { return a.Leaf.NotAfter.Compare(b.Leaf.NotAfter) })
}

// Reload reads the files again. A pair that cannot be used, and an expired one
// where the one in use is not, is refused by name, and the old ones stay.
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
	pairs, err := readPairs(certFile, keyFile)
	if err != nil {
		return err
	}
	old := k.pairs.Load()
	for i, p := range pairs {
		if old != nil && expired(p, k.now()) && !expired(EndsFirst(*old), k.now()) {
			return fmt.Errorf("cannot use the certificate %s: it expired at %s", numbered(certFile, i+1), p.Leaf.NotAfter.UTC().Format(time.RFC3339))
		}
	}
	k.pairs.Store(&pairs)
	return nil
}

// resolve follows the directory's symbolic link once for all files, so that a
// flip of the link between two reads cannot mix two generations.
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
