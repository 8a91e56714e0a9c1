package clientca

import (
	"crypto/rand"
	"crypto/x509"
	"math/big"

	"github.com/redoubt-registry/redoubt/appliance/certificates/cert"
	"github.com/redoubt-registry/redoubt/appliance/files"
)

// refresh makes the revocation lists again when they are missing, damaged, of
// other authorities, half over, or lack a revocation: what a crash between
// record and list leaves is fixed here. The file of the authorities gets those that
// are in force: each list is of one of them at any time.
func (s *Store) refresh() error {
	bundle := s.bundle(s.ca)
	have, err := cert.ReadFile(s.path(CertificateFile))
	if err != nil {
		return err
	}
	if len(have) < len(bundle) {
		if err := files.Write(s.path(CertificateFile), bundle, 0o640, s.gid); err != nil {
			return err
		}
	}
	if !s.listed() {
		if err := s.publish(); err != nil {
			return err
		}
	}
	if len(have) <= len(bundle) {
		return nil
	}
	return files.Write(s.path(CertificateFile), bundle, 0o640, s.gid)
}

// bundle is the authorities that count, the present one first.
func (s *Store) bundle(ca *cert.CA) []byte {
	out := cert.EncodeCertificate(ca.Certificate)
	for _, old := range s.old {
		out = append(out, cert.EncodeCertificate(old.Certificate)...)
	}
	return out
}

func (s *Store) authorities() []*cert.CA { return append([]*cert.CA{s.ca}, s.old...) }

// listed says whether the published lists will do.
func (s *Store) listed() bool {
	data, err := cert.ReadFile(s.path(CRLFile))
	if err != nil {
		return false
	}
	lists, err := cert.ParseCRLs(data)
	if err != nil || len(lists) != 1+len(s.old) {
		return false
	}
	for i, ca := range s.authorities() {
		if !s.covers(lists[i], ca) {
			return false
		}
	}
	return true
}

func (s *Store) covers(list *x509.RevocationList, ca *cert.CA) bool {
	if list.CheckSignatureFrom(ca.Certificate) != nil || list.NextUpdate.Sub(s.now) < crlValidity/2 {
		return false
	}
	listed := map[string]bool{}
	for _, e := range list.RevokedCertificateEntries {
		listed[serial(e.SerialNumber)] = true
	}
	for _, e := range s.revoked(ca) {
		if !listed[serial(e.SerialNumber)] {
			return false
		}
	}
	return true
}

// revoked are an authority's revocations that still matter.
func (s *Store) revoked(ca *cert.CA) []x509.RevocationListEntry {
	var out []x509.RevocationListEntry
	for _, c := range s.record.Clients {
		number, ok := new(big.Int).SetString(c.Serial, 16)
		if ok && c.Revoked != nil && c.Authority == serial(ca.Certificate.SerialNumber) && s.now.Before(c.NotAfter.Add(afterEnd)) {
			out = append(out, x509.RevocationListEntry{SerialNumber: number, RevocationTime: *c.Revoked})
		}
	}
	return out
}

// publish writes new revocation lists, one of each authority.
func (s *Store) publish() error {
	s.record.Number++
	if err := s.save(); err != nil {
		return err
	}
	var out []byte
	for _, ca := range s.authorities() {
		data, err := ca.Revocations(s.revoked(ca), s.record.Number, s.now, s.now.Add(crlValidity), rand.Reader)
		if err != nil {
			return err
		}
		out = append(out, data...)
	}
	return files.Write(s.path(CRLFile), out, 0o640, s.gid)
}
