package cert

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redoubt-registry/redoubt/appliance/files"
)

const (
	caCertFile  = "ca.crt"
	caKeyFile   = "ca.key"
	tlsCertFile = "tls.crt"
	tlsKeyFile  = "tls.key"
)

// Authority is one of the machine's own CAs as it lies on the disk.
type Authority struct {
	Number      int               // among the machine's own: 1, 2, …
	File        string            // path of the certificate
	Certificate *x509.Certificate // nil if it cannot be read
	CA          *CA               // nil if it cannot sign
	Problem     error             // why it cannot
}

// Authorities reads the machine's own CAs in dir: ca.crt and ca.key, ca-2.crt and
// ca-2.key, and so on. One of which only a part is there, or that cannot be read,
// is in the list with its problem: its clients trust it all the same.
func Authorities(dir string) ([]Authority, error) {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("cannot list the machine's certificate authorities: %w", err)
	}
	var numbers []int
	for _, e := range entries {
		if n := authorityNumber(e.Name()); n > 0 && !slices.Contains(numbers, n) {
			numbers = append(numbers, n)
		}
	}
	slices.Sort(numbers)
	var out []Authority
	for _, n := range numbers {
		out = append(out, readAuthority(dir, n))
	}
	return out, nil
}

// authorityNumber is the number of the authority that a file belongs to; 0 for
// another file.
func authorityNumber(file string) int {
	name, ok := strings.CutSuffix(file, ".crt")
	if !ok {
		name, ok = strings.CutSuffix(file, ".key")
	}
	if !ok || name == "ca" {
		return map[bool]int{true: 1}[ok]
	}
	digits, ok := strings.CutPrefix(name, "ca-")
	n, err := strconv.Atoi(digits)
	if !ok || err != nil || n < 2 {
		return 0
	}
	return n
}

func readAuthority(dir string, number int) Authority {
	keyFile := filepath.Join(dir, numbered(caKeyFile, number))
	a := Authority{Number: number, File: filepath.Join(dir, numbered(caCertFile, number))}
	certPEM, err := readPEM(a.File)
	if errors.Is(err, fs.ErrNotExist) { // a power cut may leave the key and this
		if staged, stagedErr := readPEM(staged(a.File)); stagedErr == nil {
			certPEM, err = staged, nil
		}
	}
	chain, parseErr := parseCertificates(certPEM)
	if err == nil {
		err = parseErr
	}
	if err != nil {
		a.Problem = fmt.Errorf("cannot use %s: %w", a.File, err)
		return a
	}
	if !chain[0].IsCA {
		a.Problem = fmt.Errorf("cannot use %s: the certificate is not an authority's", a.File)
		return a
	}
	key, err := readPEM(keyFile)
	if err == nil {
		_, err = parseKey(key)
	}
	if err != nil {
		a.Certificate, a.Problem = chain[0], fmt.Errorf("cannot use %s: %w", keyFile, err)
		return a
	}
	if a.CA, err = ParseCA(certPEM, key); err != nil { // nobody knows which of the two is the wrong one
		a.Problem = fmt.Errorf("cannot use %s: %w", keyFile, err)
		return a
	}
	a.Certificate = chain[0]
	return a
}

// staged is where an authority's certificate waits until its key is there.
func staged(path string) string { return path + ".new" }

// MakeAuthority makes the own CA with that number for names in dir. What has its
// place is never overwritten: it is put aside under a name with the time in it.
func MakeAuthority(dir string, number int, names []string, now time.Time, rand io.Reader) (*CA, error) {
	ca, err := NewCA(names, now, rand)
	if err != nil {
		return nil, err
	}
	if err := makeDir(dir); err != nil {
		return nil, fmt.Errorf("cannot make the directory of the certificate authority: %w", err)
	}
	if err := PutAside(dir, number, now); err != nil {
		return nil, err
	}
	key, err := ca.KeyPEM()
	if err != nil {
		return nil, err
	}
	certFile := filepath.Join(dir, numbered(caCertFile, number))
	if err := files.Write(staged(certFile), ca.PEM(), 0o644, -1); err != nil {
		return nil, err
	}
	if err := files.Write(filepath.Join(dir, numbered(caKeyFile, number)), key, 0o600, -1); err != nil {
		return nil, err
	}
	return ca, finish(certFile)
}

// FinishAuthorities gives certificates their names that a power cut has left
// without.
func FinishAuthorities(dir string) error {
	left, err := filepath.Glob(filepath.Join(dir, staged("*.crt")))
	if err != nil {
		return err
	}
	for _, path := range left {
		certFile := path[:len(path)-len(staged(""))]
		_, keyErr := os.Lstat(certFile[:len(certFile)-len(".crt")] + ".key")
		if _, err := os.Lstat(certFile); err == nil || keyErr != nil {
			continue // of no use: the next one is written over it
		}
		if err := finish(certFile); err != nil {
			return err
		}
	}
	return nil
}

func finish(certFile string) error {
	if err := files.Rename(staged(certFile), certFile); err != nil {
		return fmt.Errorf("cannot make a certificate authority: %w", err)
	}
	return nil
}

// PutAside renames what is there of the own CA with that number.
func PutAside(dir string, number int, now time.Time) error {
	for _, f := range []string{numbered(caCertFile, number), numbered(caKeyFile, number)} {
		from := filepath.Join(dir, f)
		err := os.Rename(from, from+".kept-"+now.UTC().Format("20060102T150405.000000000Z"))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("cannot put %s aside: %w", from, err)
		}
	}
	return nil
}

// Current reads the first published pair of dir.
func Current(dir string) (*tls.Certificate, error) {
	pairs, err := CurrentPairs(dir)
	if err != nil {
		return nil, err
	}
	return pairs[0], nil
}

// CurrentPairs reads the published pairs of dir, at least one.
func CurrentPairs(dir string) ([]*tls.Certificate, error) {
	return readPairs(filepath.Join(dir, current, tlsCertFile), filepath.Join(dir, current, tlsKeyFile))
}

// readPairs reads a pair and its followers.
func readPairs(certFile, keyFile string) ([]*tls.Certificate, error) {
	var pairs []*tls.Certificate
	for n := 1; ; n++ {
		certFile, keyFile := numbered(certFile, n), numbered(keyFile, n)
		certPEM, err := readPEM(certFile)
		if n > 1 && errors.Is(err, fs.ErrNotExist) {
			return pairs, nil
		}
		if err != nil {
			return nil, fmt.Errorf("cannot read the certificate: %w", err)
		}
		key, err := readPEM(keyFile)
		if err != nil {
			return nil, fmt.Errorf("cannot read the private key: %w", err)
		}
		pair, err := ParsePair(certPEM, key)
		if err != nil {
			return nil, fmt.Errorf("cannot use the pair %s and %s: %w", certFile, keyFile, err)
		}
		pairs = append(pairs, pair)
	}
}
