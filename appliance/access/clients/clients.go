// Package clients decides which client certificates count: those that a
// configured authority signed, that are in force, and that no revocation list
// names. It decides for each request: a connection that is kept open, or a TLS
// session that is resumed, ends with its certificate.
package clients

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/redoubt-registry/redoubt/appliance/certificates/cert"
	"github.com/redoubt-registry/redoubt/appliance/files"
)

// look is how often the files are checked, and settle how old one must be before its
// time stamp distinguishes it from a change within the same tick of the clock.
const (
	look   = time.Second
	settle = 2 * time.Second
)

// maxKnown bounds the chains that are remembered.
const maxKnown = 8192

// Files are where certificates of authorities and revocation lists are, in PEM.
type Files struct {
	CAs, CRLs []string
	// Refused is a file that says why the authorities and lists of its directory do not
	// count, while it exists. The others do. Empty: there is none.
	Refused string
}

// Clients checks certificates. It is safe for concurrent use.
type Clients struct {
	files    Files
	required bool
	self     []byte // a certificate that this process made for itself
	now      func() time.Time
	log      func(error) // told once of each file that is refused

	mu     sync.Mutex
	looked time.Time
	seen   []files.Stamp
	err    error
	known  *trust
}

// trust is one version of the files.
type trust struct {
	refused error // why some authorities do not count
	pool    *x509.CertPool
	revoked map[string]bool // by issuer and serial number
	mu      sync.Mutex
	chains  map[[sha256.Size]byte][][]*x509.Certificate // of certificates that were verified
}

// Open reads the files. self is the DER of the one certificate that counts
// without any authority: that of this process, which asks itself whether it
// lives. Later versions of the files are read as they change; one that cannot be
// used is refused through log, and what was in force stays so.
func Open(files Files, required bool, self []byte, now func() time.Time, log func(error)) (*Clients, error) {
	c := &Clients{files: files, required: required, self: self, now: now, log: log}
	seen, err := c.stat()
	if err != nil {
		return nil, err
	}
	if c.known, err = c.read(); err != nil {
		return nil, err
	}
	c.err = c.known.refused
	c.settle(seen)
	return c, nil
}

// Configure makes a handshake ask for a certificate. Whether it counts is
// Verify's matter, which runs in resumed sessions too.
func (c *Clients) Configure(config *tls.Config) {
	config.ClientAuth = tls.RequestClientCert
	if c.required {
		config.ClientAuth = tls.RequireAnyClientCert
	}
	config.ClientCAs = c.current().pool // a hint for clients with several
	config.VerifyConnection = func(state tls.ConnectionState) error {
		_, err := c.Verify(&state)
		return err
	}
}

var (
	errMissing = errors.New("a client certificate is required")
	errRevoked = errors.New("the client certificate is revoked")
	errUnknown = errors.New("the client certificate is of no authority that is trusted here, or not in force")
)

// Verify returns the client's certificate, or nil if there is none and none is
// required, or it is this process's own. The error is for the client: it says
// why it is refused.
func (c *Clients) Verify(state *tls.ConnectionState) (*x509.Certificate, error) {
	if state == nil || len(state.PeerCertificates) == 0 {
		if c.required {
			return nil, errMissing
		}
		return nil, nil
	}
	leaf := state.PeerCertificates[0]
	if bytes.Equal(leaf.Raw, c.self) {
		return nil, nil
	}
	t := c.current()
	chains, err := t.verify(state.PeerCertificates, c.now())
	if err != nil {
		return nil, cmp.Or(t.refused, errUnknown)
	}
	for _, chain := range chains {
		if !t.isRevoked(chain) {
			return leaf, nil
		}
	}
	return nil, errRevoked
}

// verify finds the chains of a certificate that are in force. What was found is
// remembered as long as the files are the same; the dates are checked each time.
func (t *trust) verify(peers []*x509.Certificate, now time.Time) ([][]*x509.Certificate, error) {
	hash := sha256.New()
	for _, c := range peers {
		hash.Write(c.Raw)
	}
	key := [sha256.Size]byte(hash.Sum(nil))
	t.mu.Lock()
	chains, ok := t.chains[key]
	t.mu.Unlock()
	if !ok {
		between := x509.NewCertPool()
		for _, c := range peers[1:] {
			between.AddCert(c)
		}
		var err error
		chains, err = peers[0].Verify(x509.VerifyOptions{
			Roots: t.pool, Intermediates: between, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		})
		if err != nil {
			return nil, err
		}
		t.mu.Lock()
		if len(t.chains) < maxKnown {
			t.chains[key] = chains
		}
		t.mu.Unlock()
	}
	var good [][]*x509.Certificate
	for _, chain := range chains {
		if inForce(chain, now) {
			good = append(good, chain)
		}
	}
	if len(good) == 0 {
		return nil, errUnknown
	}
	return good, nil
}

func inForce(chain []*x509.Certificate, now time.Time) bool {
	for _, c := range chain {
		if now.Before(c.NotBefore) || now.After(c.NotAfter) {
			return false
		}
	}
	return true
}

// isRevoked says whether a list names any certificate of the chain.
func (t *trust) isRevoked(chain []*x509.Certificate) bool {
	for i, c := range chain[:len(chain)-1] {
		if t.revoked[revocation(chain[i+1], c.SerialNumber.Bytes())] {
			return true
		}
	}
	return false
}

// revocation is the key of a revocation: the issuer's public key and the serial
// number, for two authorities may have one name.
func revocation(issuer *x509.Certificate, serial []byte) string {
	sum := sha256.Sum256(issuer.RawSubjectPublicKeyInfo)
	return string(sum[:]) + string(serial)
}

// Err says why the newest version of the files is not in force, or nil.
func (c *Clients) Err() error {
	c.current()
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// current is the trust in force, after a look at the files.
func (c *Clients) current() *trust {
	c.mu.Lock()
	defer c.mu.Unlock()
	if time.Since(c.looked) < look {
		return c.known
	}
	c.looked = time.Now()
	seen, err := c.stat()
	if err == nil && slices.Equal(seen, c.seen) {
		return c.known
	}
	var t *trust
	if err == nil {
		t, err = c.read()
	}
	if err != nil {
		if c.err == nil || c.err.Error() != err.Error() {
			c.log(err)
		}
		c.err, c.seen = err, seen
		return c.known
	}
	c.known, c.err = t, t.refused
	c.settle(seen)
	return t
}

func (c *Clients) settle(seen []files.Stamp) {
	c.looked, c.seen = time.Now(), seen
	for _, s := range seen {
		if time.Since(s.Modified) < settle {
			c.seen = nil // look again: a second edit may not show
		}
	}
}

func (c *Clients) stat() ([]files.Stamp, error) {
	var out []files.Stamp
	use := slices.Concat(c.used(c.files.CAs), c.used(c.files.CRLs))
	if c.refusal() != nil {
		use = append(use, c.files.Refused)
	}
	for _, path := range use {
		s, err := files.StampOf(path)
		if err != nil {
			return nil, fmt.Errorf("cannot read what client certificates are checked with: %w", err)
		}
		out = append(out, s)
	}
	return out, nil
}

// refusal is why the authorities beside files.Refused do not count, or nil.
func (c *Clients) refusal() error {
	if c.files.Refused == "" {
		return nil
	}
	why, err := os.ReadFile(c.files.Refused)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return fmt.Errorf("client certificates of this registry's own CA are refused: %s", bytes.TrimSpace(why))
}

// used are those of paths that count.
func (c *Clients) used(paths []string) []string {
	if c.refusal() == nil {
		return paths
	}
	beside := func(path string) bool { return filepath.Dir(path) == filepath.Dir(c.files.Refused) }
	return slices.DeleteFunc(slices.Clone(paths), beside)
}

// read reads all of the files. Each list must be of one of the authorities. A
// list that is past its next update still counts: what it revoked stays revoked.
func (c *Clients) read() (*trust, error) {
	t := &trust{refused: c.refusal(), pool: x509.NewCertPool(), revoked: map[string]bool{}, chains: map[[sha256.Size]byte][][]*x509.Certificate{}}
	var authorities []*x509.Certificate
	for _, path := range c.used(c.files.CAs) {
		data, err := cert.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("cannot read the CA of client certificates: %w", err)
		}
		list, err := cert.ParseCAs(data)
		if err != nil {
			return nil, fmt.Errorf("cannot use the CA of client certificates %s: %w", path, err)
		}
		for _, ca := range list {
			t.pool.AddCert(ca)
			authorities = append(authorities, ca)
		}
	}
	for _, path := range c.used(c.files.CRLs) {
		data, err := cert.ReadFile(path)
		if err == nil {
			err = t.add(data, authorities)
		}
		if err != nil {
			return nil, fmt.Errorf("cannot use the revocation list %s: %w", path, err)
		}
	}
	return t, nil
}

func (t *trust) add(data []byte, authorities []*x509.Certificate) error {
	lists, err := cert.ParseCRLs(data)
	if err != nil {
		return err
	}
	for i, list := range lists {
		signed := false
		for _, ca := range authorities {
			if list.CheckSignatureFrom(ca) != nil {
				continue
			}
			signed = true
			for _, e := range list.RevokedCertificateEntries {
				t.revoked[revocation(ca, e.SerialNumber.Bytes())] = true
			}
		}
		if !signed {
			return fmt.Errorf("list %d is of none of the authorities", i+1)
		}
	}
	return nil
}
