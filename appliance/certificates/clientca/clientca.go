// Package clientca keeps the authority of client certificates: its key, the
// list of what it has issued, and the revocation list that the registry reads.
package clientca

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/redoubt-registry/redoubt/appliance/certificates/cert"
	"github.com/redoubt-registry/redoubt/appliance/files"
)

// The files of a store. The registry's group may read the first two.
const (
	CertificateFile = "ca.crt"
	CRLFile         = "crl.pem"
	keyFile         = "ca.key"
	recordFile      = "clients.json"
	lockFile        = ".lock"
)

const (
	// MaxDays is the longest that a client's certificate is valid.
	MaxDays = 365
	// crlValidity is how long a revocation list says that it counts. It is made
	// again when half of that is over.
	crlValidity = 14 * 24 * time.Hour
	// margin is how long before its end an authority is replaced: longer than
	// any certificate that it issues.
	margin = (MaxDays + 35) * 24 * time.Hour
	// afterEnd is how long a certificate matters after its end: clocks differ.
	afterEnd = 24 * time.Hour
)

// Client is a certificate that was issued.
type Client struct {
	Name      string     `json:"name"`
	Serial    string     `json:"serial"` // hexadecimal
	Issued    time.Time  `json:"issued"`
	NotAfter  time.Time  `json:"notAfter"`
	Revoked   *time.Time `json:"revoked,omitempty"`
	Authority string     `json:"authority"` // serial number of the issuing CA
}

type record struct {
	Number  int64    `json:"crlNumber"` // of the revocation list made last
	Clients []Client `json:"clients"`
}

// Store is an authority in a directory, locked for this process until Close.
type Store struct {
	dir    string
	gid    int
	now    time.Time
	ca     *cert.CA
	old    []*cert.CA // those that it has replaced, as long as a certificate of theirs is in force
	record record
	unlock func()
}

// Exists says whether there is an authority in dir.
func Exists(dir string) bool {
	_, err := os.Lstat(filepath.Join(dir, CertificateFile))
	return err == nil
}

// Open opens the store in dir and makes what is missing: the directory, the
// authority, which is called name, and a revocation list in force. What it
// cannot read it leaves alone and returns an error. Group gid may read what the
// registry needs; -1 leaves groups alone.
func Open(dir, name string, now time.Time, gid int) (*Store, error) {
	if err := makeDir(dir, gid); err != nil {
		return nil, err
	}
	s := &Store{dir: dir, gid: gid, now: now}
	var err error
	if s.unlock, err = files.Lock(context.Background(), s.path(lockFile)); err != nil { // held for milliseconds
		return nil, err
	}
	err = s.load(name)
	if err == nil {
		err = s.refresh()
	}
	if err == nil {
		err = s.admit()
	}
	if err != nil {
		s.Close()
		return nil, &Damaged{dir, err}
	}
	return s, nil
}

func makeDir(dir string, gid int) error {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return fmt.Errorf("cannot make the directory of the client CA: %w", err)
	}
	err := os.Chmod(dir, 0o750)
	if err == nil && gid >= 0 {
		err = os.Chown(dir, -1, gid)
	}
	if err != nil {
		return fmt.Errorf("cannot give the directory of the client CA to the registry's group: %w", err)
	}
	return nil
}

// Close gives the lock back.
func (s *Store) Close() { s.unlock() }

func (s *Store) path(file string) string { return filepath.Join(s.dir, file) }

// load reads the authorities and the record, or makes the first ones. An
// authority that ends within the lifetime of what it issues is put aside, and goes
// on for what it has issued.
func (s *Store) load(name string) error {
	known, err := s.loadRecord()
	if err != nil {
		return err
	}
	if err := s.finishRetiring(); err != nil {
		return err
	}
	if err := s.loadOld(); err != nil {
		return err
	}
	certPEM, err := cert.ReadFile(s.path(CertificateFile))
	if errors.Is(err, fs.ErrNotExist) && (!known || s.retired()) {
		return s.create(name) // a key alone is what a power cut leaves
	}
	if err != nil {
		return fmt.Errorf("cannot read %s: %w", CertificateFile, files.Cause(err))
	}
	if _, err := cert.ParseCAs(certPEM); err != nil {
		return fmt.Errorf("cannot use %s: %w", CertificateFile, err)
	}
	key, err := cert.ReadFile(s.path(keyFile))
	if err == nil {
		s.ca, err = cert.ParseCA(certPEM, key)
	}
	if err != nil {
		return fmt.Errorf("cannot use %s: %w", keyFile, files.Cause(err))
	}
	if !s.now.Add(margin).After(s.ca.Certificate.NotAfter) {
		return nil
	}
	aside := ".kept-" + s.now.UTC().Format("20060102T150405Z")
	for _, f := range []string{CertificateFile, keyFile} {
		if err := files.Rename(s.path(f), s.path(f+aside)); err != nil {
			return fmt.Errorf("cannot put the old authority aside: %w", err)
		}
	}
	if err := s.loadOld(); err != nil {
		return err
	}
	return s.create(name)
}

// loadRecord reads what was issued. known says that there is a record. Without one,
// beside a revocation list, nobody knows what was revoked.
func (s *Store) loadRecord() (known bool, err error) {
	data, err := os.ReadFile(s.path(recordFile))
	if errors.Is(err, fs.ErrNotExist) {
		if _, err := os.Lstat(s.path(CRLFile)); errors.Is(err, fs.ErrNotExist) {
			return false, nil
		}
	}
	if err == nil {
		err = json.Unmarshal(data, &s.record)
	}
	if err != nil {
		return false, fmt.Errorf("cannot read %s: %w", recordFile, files.Cause(err))
	}
	return true, nil
}

func (s *Store) create(name string) error {
	ca, err := cert.NewClientCA(name, s.now, rand.Reader)
	if err != nil {
		return err
	}
	key, err := ca.KeyPEM()
	if err != nil {
		return err
	}
	// The key goes first: a certificate without a key would look whole.
	if err := files.Write(s.path(keyFile), key, 0o600, -1); err != nil {
		return err
	}
	if err := files.Write(s.path(CertificateFile), s.bundle(ca), 0o640, s.gid); err != nil {
		return err
	}
	s.ca = ca
	return nil
}

func (s *Store) save() error {
	data, err := json.MarshalIndent(s.record, "", "  ")
	if err != nil {
		return fmt.Errorf("cannot write %s: %w", recordFile, err)
	}
	return files.Write(s.path(recordFile), append(data, '\n'), 0o600, -1)
}

func serial(n *big.Int) string { return fmt.Sprintf("%X", n) }

// Probe makes a certificate for this machine's own question to its registry. It
// ends within minutes and is not recorded.
func (s *Store) Probe(name string) (certPEM, key []byte, err error) {
	c, k, err := s.ca.IssueClient(name, s.now, 10*time.Minute, rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	key, err = cert.EncodeKey(k)
	return cert.EncodeCertificate(c), key, err
}

// Read returns what the authority in dir has issued, without taking its lock and without
// making one: nothing if there is none.
func Read(dir string) ([]Client, error) {
	s := &Store{dir: dir}
	if _, err := s.loadRecord(); err != nil {
		return nil, err
	}
	return s.record.Clients, nil
}

// List returns what was issued, the oldest first.
func (s *Store) List() []Client { return s.record.Clients }

// Revoke revokes the certificates of the client called name, or the one with
// that serial number, and publishes the list. It returns those that it revoked;
// revoking again is no error and returns none.
func (s *Store) Revoke(nameOrSerial string) ([]Client, error) {
	var out []Client
	known := false
	number := strings.ToUpper(strings.NewReplacer(":", "", " ", "").Replace(nameOrSerial))
	when := s.now.UTC()
	for i, c := range s.record.Clients {
		if c.Name != nameOrSerial && c.Serial != number {
			continue
		}
		known = true
		if c.Revoked == nil {
			s.record.Clients[i].Revoked = &when
			out = append(out, s.record.Clients[i])
		}
	}
	if !known {
		return nil, fmt.Errorf("no client is called %q, and no certificate has this serial number; see: redoubt ca list", nameOrSerial)
	}
	if len(out) == 0 {
		return nil, nil
	}
	return out, s.publish()
}
