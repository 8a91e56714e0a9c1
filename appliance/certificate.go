package appliance

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/redoubt-registry/redoubt/appliance/certificates/acme"
	"github.com/redoubt-registry/redoubt/appliance/certificates/cert"
	"github.com/redoubt-registry/redoubt/appliance/certificates/clientca"
	"github.com/redoubt-registry/redoubt/appliance/configuration/disk"
	"github.com/redoubt-registry/redoubt/appliance/configuration/plan"
	"github.com/redoubt-registry/redoubt/appliance/configuration/render"
	"github.com/redoubt-registry/redoubt/appliance/configuration/tree"
	"github.com/redoubt-registry/redoubt/appliance/files"
	"github.com/redoubt-registry/redoubt/appliance/storage/sharedstate"
	"github.com/redoubt-registry/redoubt/units"
)

const (
	clientCADir = "/var/lib/redoubt/client-ca"
	ownCA       = caDir + "/ca.crt"
	broughtCA   = caDir + "/brought.crt"
)

// certify makes sure of the server's certificate and of the client CA. The
// registry reads a new certificate when it reloads. While there is an old one,
// trouble does not stop the rest: the old one serves.
func (m *Machine) certify(want target, c *change) error {
	names := want.names()
	if names == nil {
		return nil
	}
	if err := m.ensureClientCA(want); err != nil {
		return err
	}
	err := m.ensureCertificate(names, want, c)
	published := m.publishedCertificate()
	if err != nil && published == "" {
		return err
	}
	if err != nil {
		c.refused = fmt.Errorf("the old certificate stays: %w", err)
		fmt.Fprintf(m.Out, "warning: %v\n", c.refused)
	}
	reads := func(a tree.Reader) bool { return a.Unit == units.Registry }
	if c.applied.Certificate != published && !slices.ContainsFunc(c.plan.Actions, reads) {
		fmt.Fprintf(m.Out, "%-8s %s\n", tree.Reload, units.Registry)
		c.plan.Actions = append(c.plan.Actions, tree.Reader{Unit: units.Registry, Verb: tree.Reload})
	}
	return nil
}

// ensureCertificate publishes the server's certificate that want asks for, or
// keeps the one that there is.
func (m *Machine) ensureCertificate(names []string, want target, c *change) error {
	gid, err := m.gid()
	if err != nil {
		return err
	}
	var out cert.Outcome
	switch {
	case want.cfg.TLS.Mode == "files" && !want.maintenance:
		out, err = m.publishFiles(names, want, gid)
	case want.cfg.TLS.Mode == "acme" && !want.maintenance:
		out, err = m.publishObtained(names, want, gid)
	default:
		out, err = m.issue(names, want, gid)
	}
	if err == nil && out.New {
		c.done = true
		fmt.Fprintf(m.Out, "made     the server's certificate: %s\n", out.Reason)
	}
	return err
}

// publishFiles takes up the pair of tls.files, if it is another than the one in
// force.
func (m *Machine) publishFiles(names []string, want target, gid int) (cert.Outcome, error) {
	pair, err := m.resolver().Pair(want.cfg.TLS.Files, names, m.Now())
	if err != nil {
		return cert.Outcome{}, err
	}
	dir := filepath.Join(m.Root, certificatesDir)
	if have, err := cert.Current(dir); err == nil && cert.SamePair(have, pair) {
		return cert.Outcome{}, nil
	}
	return cert.Outcome{New: true, Reason: "tls.files has another"}, cert.Publish(dir, pair.Chain, pair.Key, gid)
}

// issue makes a server certificate of the CA that was brought, or of the own
// one, which it makes if there is none.
func (m *Machine) issue(names []string, want target, gid int) (cert.Outcome, error) {
	ca, err := m.authority(names, want)
	if err != nil {
		return cert.Outcome{}, err
	}
	return cert.EnsureServer(filepath.Join(m.Root, certificatesDir), ca, names,
		want.cfg.TLS.InternalCA.LeafValidity, m.Now(), rand.Reader, gid)
}

func (m *Machine) authority(names []string, want target) (*cert.CA, error) {
	brought := want.cfg.TLS.InternalCA
	if brought.Certificate != "" && !want.maintenance {
		ca, err := m.resolver().CA(brought, names, m.Now())
		if err != nil {
			return nil, err
		}
		path := filepath.Join(m.Root, broughtCA)
		if have, err := os.ReadFile(path); err == nil && bytes.Equal(have, ca.PEM()) {
			return ca, nil
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return nil, fmt.Errorf("cannot keep the CA's certificate: %w", err)
		}
		return ca, files.Write(path, ca.PEM(), 0o644, -1)
	}
	ca, out, err := cert.EnsureCA(filepath.Join(m.Root, caDir), names, m.Now(), rand.Reader)
	if err != nil {
		return nil, err
	}
	if out.New {
		fmt.Fprintf(m.Out, "made     a certificate authority in %s: %s\n", caDir, out.Reason)
	}
	for _, kept := range out.Kept {
		fmt.Fprintf(m.Out, "kept     the old one as %s\n", strings.TrimPrefix(kept, m.Root))
	}
	return ca, nil
}

// serverCA is the file of the CA that clients of want trust, or empty where they
// have it already or the machine does not know it.
func serverCA(want target) string {
	switch {
	case want.cfg.TLS.Mode != "internal-ca":
		return ""
	case want.cfg.TLS.InternalCA.Certificate != "" && !want.maintenance:
		return broughtCA
	}
	return ownCA
}

// ensureClientCA makes the client CA if client certificates are asked for, and
// renews its revocation list.
func (m *Machine) ensureClientCA(want target) error {
	if want.maintenance || want.cfg.TLS.ClientAuth.Mode == "none" {
		return nil
	}
	s, err := m.clientCA(want)
	if err != nil {
		return err
	}
	s.Close()
	return nil
}

// refreshClientTrust takes up CAs and revocation lists whose files have changed
// since the apply. The registry reads them again by itself. What cannot be used is
// refused, and the old one stays.
func (m *Machine) refreshClientTrust(now target) error {
	facts, err := m.resolver().ClientTrust(now.cfg)
	if err != nil {
		return fmt.Errorf("the client CAs and revocation lists stay as they are: %w", err)
	}
	want := tree.Tree(render.ClientTrust(now.cfg, facts))
	have, err := disk.Read(m.Root, want.Paths())
	if err != nil {
		return err
	}
	return disk.Commit(m.Root, plan.New(have, want, nil))
}

func (m *Machine) clientCA(want target) (*clientca.Store, error) {
	gid, err := m.gid()
	if err != nil {
		return nil, err
	}
	return clientca.Open(filepath.Join(m.Root, clientCADir), want.cfg.Hostname, m.Now(), gid)
}

// probeCertificate is what this machine shows to its own registry where that
// asks for a certificate: one of the client CA, for minutes.
func (m *Machine) probeCertificate(want target) ([]tls.Certificate, error) {
	if want.maintenance || want.cfg.TLS.ClientAuth.Mode != "required" {
		return nil, nil
	}
	s, err := m.clientCA(want)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	certPEM, key, err := s.Probe("redoubt probe")
	if err != nil {
		return nil, err
	}
	pair, err := tls.X509KeyPair(certPEM, key)
	return []tls.Certificate{pair}, err
}

// publishObtained takes up the certificate that the CA gave, as this machine knows
// it: where several share one, from its own copy. Until there is one
// for names, the own CA's serves; a pair that another CA made for names stays
// instead, as after a change of the CA or of the mode.
func (m *Machine) publishObtained(names []string, want target, gid int) (cert.Outcome, error) {
	memory, _, err := acme.Load(context.Background(), m.certificateState())
	if err != nil {
		return m.keepOr(names, want, gid, err)
	}
	if !memory.Covers(names) {
		return m.keepOr(names, want, gid, nil)
	}
	obtained, err := memory.Pair()
	if err != nil {
		return cert.Outcome{}, err
	}
	dir := filepath.Join(m.Root, certificatesDir)
	if have, err := cert.Current(dir); err == nil && have.Leaf.Equal(obtained.Leaf) {
		return cert.Outcome{}, nil
	}
	return cert.Outcome{New: true, Reason: "it was obtained from " + memory.Directory},
		cert.Publish(dir, []byte(memory.Chain), []byte(memory.Key), gid)
}

// keepOr leaves a published pair of another CA, or sees to one of the own CA.
// problem is why there is nothing better.
func (m *Machine) keepOr(names []string, want target, gid int, problem error) (cert.Outcome, error) {
	have, err := cert.Current(filepath.Join(m.Root, certificatesDir))
	if err == nil && cert.NamesAre(have.Leaf, names) && m.Now().Before(have.Leaf.NotAfter) {
		ca, err := m.authority(names, want)
		if err != nil || have.Leaf.CheckSignatureFrom(ca.Certificate) != nil {
			return cert.Outcome{}, problem
		}
	}
	out, err := m.issue(names, want, gid)
	if err != nil || problem == nil {
		return out, err
	}
	return out, problem
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
	return sharedstate.Dir{Path: filepath.Join(m.Root, stateDir), Mode: 0o600, GID: -1, Now: m.Now}
}

// publishedCertificate is the generation that is in force.
func (m *Machine) publishedCertificate() string {
	generation, _ := os.Readlink(filepath.Join(m.Root, certificatesDir, "current")) // none is ""
	return generation
}

// gid is the number of the registry's group.
func (m *Machine) gid() (int, error) { return disk.Group(m.Root, group) }
