package appliance

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/redoubt-registry/redoubt/appliance/certificates/acme"
	"github.com/redoubt-registry/redoubt/appliance/certificates/cert"
	"github.com/redoubt-registry/redoubt/appliance/configuration/disk"
	"github.com/redoubt-registry/redoubt/appliance/files"
	"github.com/redoubt-registry/redoubt/appliance/paths"
	"github.com/redoubt-registry/redoubt/appliance/storage/sharedstate"
)

// broughtCA is the certificate of a CA that the configuration brings.
const broughtCA = paths.CA + "/brought.crt"

// certificates decides what the server is to show for a target. known says that
// the machine has served with the same tls before: then what is in force goes on
// while the files that it names cannot be used; otherwise they are an error.
func (m *Machine) certificates(t target, known bool) (cert.Decision, error) {
	names := t.names()
	if names == nil {
		return cert.Decision{}, nil
	}
	have, err := m.haveCertificates()
	if err != nil {
		return cert.Decision{}, err
	}
	want, problem := m.wantCertificates(t, names)
	if problem != nil && !known && !want.Awaited {
		return cert.Decision{}, problem
	}
	d, err := cert.Decide(want, have, m.Now())
	if err != nil && problem != nil {
		return d, problem // it is the cause
	}
	d.Problem = errors.Join(problem, d.Problem)
	return d, err
}

// wantCertificates is what the target asks for. Where the error is not nil, Want is
// what does without.
func (m *Machine) wantCertificates(t target, names []string) (cert.Want, error) {
	tls := t.cfg.TLS
	want := cert.Want{Names: names, Validity: tls.InternalCA.LeafValidity}
	switch {
	case t.maintenance:
		return want, nil
	case tls.Mode == "files":
		pair, err := m.resolver().Pair(tls.Files, names, m.Now())
		if err != nil {
			want.Keep = true
			return want, err
		}
		want.Given, want.Origin = &pair, "tls.files has another"
	case tls.Mode == "acme":
		return m.wantObtained(want)
	case tls.InternalCA.Certificate != "":
		ca, err := m.resolver().CA(tls.InternalCA, names, m.Now())
		if err != nil {
			want.Keep = true
			return want, err
		}
		want.Brought = ca
	}
	return want, nil
}

// wantObtained is the certificate that the CA gave, as this machine knows it: where
// several share one, from its own copy.
func (m *Machine) wantObtained(want cert.Want) (cert.Want, error) {
	want.Awaited = true
	memory, _, err := acme.Load(context.Background(), m.certificateState())
	if err != nil {
		return want, err
	}
	pair, err := memory.Pair()
	if err != nil || pair == nil {
		return want, err
	}
	want.Given = &cert.Checked{Chain: []byte(memory.Chain), Key: []byte(memory.Key), Leaf: pair.Leaf}
	want.Origin = "it was obtained from " + memory.Directory
	return want, nil
}

// haveCertificates is what there is.
func (m *Machine) haveCertificates() (cert.Have, error) {
	authorities, err := cert.Authorities(filepath.Join(m.Root, paths.CA))
	if err != nil {
		return cert.Have{}, err
	}
	have := cert.Have{Authorities: authorities}
	have.Pairs, err = cert.CurrentPairs(filepath.Join(m.Root, paths.Certificates))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		have.Problem = err.Error()
	}
	if data, err := cert.ReadFile(filepath.Join(m.Root, broughtCA)); err == nil {
		if chain, err := cert.ParseCAs(data); err == nil {
			have.Brought = chain[0]
		}
	}
	return have, nil
}

// certify carries out what was decided for a target.
func (m *Machine) certify(want target) error {
	if want.names() == nil {
		return nil
	}
	gid, err := m.gid()
	if err != nil {
		return err
	}
	if err := m.keepBrought(want.certificates); err != nil {
		return err
	}
	dirs := cert.Dirs{Authorities: filepath.Join(m.Root, paths.CA), Certificates: filepath.Join(m.Root, paths.Certificates), GID: gid}
	return want.certificates.CarryOut(dirs, m.Now(), want.cfg.TLS.InternalCA.LeafValidity, rand.Reader)
}

// keepBrought keeps the certificate of the CA that was brought, for clients to
// fetch.
func (m *Machine) keepBrought(d cert.Decision) error {
	if d.Brought == nil {
		return nil
	}
	path := filepath.Join(m.Root, broughtCA)
	if have, err := os.ReadFile(path); err == nil && bytes.Equal(have, d.Brought.PEM()) {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("cannot keep the CA's certificate: %w", err)
	}
	return files.Write(path, d.Brought.PEM(), 0o644, -1)
}

// servingCA is an authority that this machine hands out to its clients.
type servingCA struct {
	names []string // that clients call the machine by who need it
	file  string   // of its certificate; empty: it is damaged
	pem   []byte
}

// servingCAs are the authorities that clients of want trust, the one for the
// hostname first. There are none where the clients have them already or the machine
// does not know them.
func (m *Machine) servingCAs(want target) ([]servingCA, error) {
	if want.cfg.TLS.Mode != "internal-ca" || want.names() == nil {
		return nil, nil
	}
	have, err := m.haveCertificates()
	if err != nil {
		return nil, err
	}
	var out []servingCA
	for _, p := range have.Pairs {
		ca := servingCA{names: cert.Names(p.Leaf)}
		for _, a := range have.Authorities {
			if a.Certificate != nil && p.Leaf.CheckSignatureFrom(a.Certificate) == nil {
				ca.file, ca.pem = strings.TrimPrefix(a.File, m.Root), cert.EncodeCertificate(a.Certificate)
				break
			}
		}
		if b := have.Brought; ca.file == "" && b != nil && p.Leaf.CheckSignatureFrom(b) == nil {
			ca.file = broughtCA
			if ca.pem, err = os.ReadFile(filepath.Join(m.Root, broughtCA)); err != nil {
				return nil, fmt.Errorf("cannot read the server's CA: %w", err)
			}
		}
		if ca.file == "" { // its file is damaged, and the certificate in force has a copy
			ca.pem = cert.EncodeTop(p)
		}
		out = append(out, ca)
	}
	return out, nil
}

// fingerprints are the SHA-256 of authorities, each with the names that it is for
// where there are several.
func fingerprints(cas []servingCA) []string {
	var out []string
	for _, ca := range cas {
		line := fingerprint(ca.pem)
		if len(cas) > 1 {
			line += ", for " + strings.Join(ca.names, ", ")
		}
		out = append(out, line)
	}
	return out
}

// fingerprint is the SHA-256 of the first certificate in PEM data, or nothing.
func fingerprint(data []byte) string {
	block, _ := pem.Decode(data)
	if block == nil {
		return ""
	}
	return fmt.Sprintf("%X", sha256.Sum256(block.Bytes))
}

// certificateState is what this machine knows of the certificate: all there is, or
// a copy of what several machines share.
func (m *Machine) certificateState() sharedstate.Dir {
	return sharedstate.Dir{Path: filepath.Join(m.Root, paths.ACME), Mode: 0o600, GID: -1, Now: m.Now}
}

// publishedCertificate is the generation that is in force.
func (m *Machine) publishedCertificate() string {
	generation, _ := os.Readlink(filepath.Join(m.Root, paths.Certificates, "current")) // none is ""
	return generation
}

// gid is the number of the registry's group.
func (m *Machine) gid() (int, error) { return disk.Group(m.Root, paths.RegistryUser) }
