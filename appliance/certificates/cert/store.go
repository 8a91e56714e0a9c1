package cert

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

const (
	caCertFile  = "ca.crt"
	caKeyFile   = "ca.key"
	tlsCertFile = "tls.crt"
	tlsKeyFile  = "tls.key"
)

// Outcome says what an Ensure function did.
type Outcome struct {
	New    bool     // something was made
	Reason string   // why, if New
	Kept   []string // where files that could not be used were put aside
}

// EnsureCA returns the authority in dir (ca.crt, ca.key). While that is in
// order, not about to end, and permits every name, it is kept; otherwise a new
// one takes its place. What it replaces is never overwritten: it is put aside
// under a name with the time in it, and named in the Outcome. A clock that is
// before the authority's start is no reason to make a new one.
func EnsureCA(dir string, names []string, now time.Time, rand io.Reader) (*CA, Outcome, error) {
	ca, reason := loadCA(dir, names, now)
	if reason == "" {
		return ca, Outcome{}, nil
	}
	out := Outcome{New: true, Reason: reason}
	ca, err := NewCA(names, now, rand)
	if err != nil {
		return nil, out, err
	}
	if err := makeDir(dir); err != nil {
		return nil, out, fmt.Errorf("cannot make the directory of the certificate authority: %w", err)
	}
	if out.Kept, err = putAside(dir, now, caCertFile, caKeyFile); err != nil {
		return nil, out, err
	}
	key, err := ca.KeyPEM()
	if err != nil {
		return nil, out, err
	}
	// The key goes first: a certificate without a key would look whole.
	if err := writeFile(filepath.Join(dir, caKeyFile), key, 0o600, -1); err != nil {
		return nil, out, err
	}
	if err := writeFile(filepath.Join(dir, caCertFile), ca.PEM(), 0o644, -1); err != nil {
		return nil, out, err
	}
	return ca, out, syncDir(dir)
}

// loadCA returns the authority in dir, or why it cannot be used.
func loadCA(dir string, names []string, now time.Time) (*CA, string) {
	certPEM, certErr := readPEM(filepath.Join(dir, caCertFile))
	key, keyErr := readPEM(filepath.Join(dir, caKeyFile))
	if errors.Is(certErr, fs.ErrNotExist) && errors.Is(keyErr, fs.ErrNotExist) {
		return nil, "there is none yet"
	}
	if err := errors.Join(certErr, keyErr); err != nil {
		return nil, fmt.Sprintf("cannot read %s: %v", dir, err)
	}
	ca, err := ParseCA(certPEM, key)
	switch {
	case err != nil:
		return nil, fmt.Sprintf("cannot use %s: %v", filepath.Join(dir, caCertFile), err)
	case now.Add(caMargin).After(ca.Certificate.NotAfter):
		return nil, "the authority ends at " + ca.Certificate.NotAfter.UTC().Format(time.RFC3339)
	case !ca.Permits(names):
		return nil, fmt.Sprintf("the authority does not permit all of %q", names)
	}
	return ca, ""
}

// putAside renames those of the files that exist.
func putAside(dir string, now time.Time, files ...string) ([]string, error) {
	var kept []string
	for _, f := range files {
		from := filepath.Join(dir, f)
		if _, err := os.Lstat(from); errors.Is(err, fs.ErrNotExist) {
			continue
		}
		to := from + ".kept-" + now.UTC().Format("20060102T150405.000000000Z")
		if err := os.Rename(from, to); err != nil {
			return kept, fmt.Errorf("cannot put %s aside: %w", from, err)
		}
		kept = append(kept, to)
	}
	return kept, nil
}

// EnsureServer publishes a server certificate of ca for names under dir. The
// one in dir/current is kept while it is ca's, for exactly names and validity,
// whole, and not due for renewal. The key is readable by group gid; -1 leaves
// the group alone.
func EnsureServer(dir string, ca *CA, names []string, validity time.Duration, now time.Time, rand io.Reader, gid int) (Outcome, error) {
	reason := serverReason(dir, ca, names, validity, now)
	if reason == "" {
		return Outcome{}, setOwners(filepath.Join(dir, current), gid)
	}
	out := Outcome{New: true, Reason: reason}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand)
	if err != nil {
		return out, fmt.Errorf("cannot make a key: %w", err)
	}
	c, err := ca.Issue(key.Public(), names, now, validity, rand)
	if err != nil {
		return out, err
	}
	encoded, err := keyPEM(key)
	if err != nil {
		return out, err
	}
	return out, Publish(dir, append(certificatePEM(c.Raw), ca.chain()...), encoded, gid)
}

// Current reads the published pair of dir.
func Current(dir string) (*tls.Certificate, error) {
	certPEM, err := readPEM(filepath.Join(dir, current, tlsCertFile))
	if err != nil {
		return nil, err
	}
	key, err := readPEM(filepath.Join(dir, current, tlsKeyFile))
	if err != nil {
		return nil, err
	}
	return ParsePair(certPEM, key)
}

// serverReason returns why a new server certificate is needed, or nothing.
func serverReason(dir string, ca *CA, want []string, validity time.Duration, now time.Time) string {
	pair, err := Current(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return "there is none yet"
	}
	if err != nil {
		return err.Error()
	}
	set, err := parseNames(want)
	if err != nil {
		return err.Error()
	}
	leaf := pair.Leaf
	switch {
	case leaf.CheckSignatureFrom(ca.Certificate) != nil:
		return "it is of another authority"
	case !names(leaf).equal(set):
		return "the names have changed"
	case NeedsRenewal(leaf, now):
		return "it is due: it ends at " + leaf.NotAfter.UTC().Format(time.RFC3339)
	case lifetimeDiffers(leaf, ca, validity):
		return "its lifetime has been changed to " + validity.String()
	}
	return ""
}

func lifetimeDiffers(leaf *x509.Certificate, ca *CA, validity time.Duration) bool {
	made := leaf.NotBefore.Add(backdate)
	difference := ca.leafEnd(made, validity).Sub(leaf.NotAfter).Abs()
	return difference > time.Minute
}
