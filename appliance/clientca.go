package appliance

import (
	"crypto/tls"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/redoubt-registry/redoubt/appliance/certificates/clientca"
	"github.com/redoubt-registry/redoubt/appliance/configuration/disk"
	"github.com/redoubt-registry/redoubt/appliance/configuration/plan"
	"github.com/redoubt-registry/redoubt/appliance/configuration/render"
	"github.com/redoubt-registry/redoubt/appliance/configuration/tree"
	"github.com/redoubt-registry/redoubt/appliance/paths"
)

// lacksClientCA says whether ensureClientCA has an authority to make.
func (m *Machine) lacksClientCA(want target) bool {
	if want.maintenance || want.names() == nil || want.cfg.TLS.ClientAuth.Mode == "none" {
		return false
	}
	return !clientca.Exists(filepath.Join(m.Root, paths.ClientCA))
}

// ensureClientCA makes the client CA if client certificates are asked for, and
// renews its revocation list.
func (m *Machine) ensureClientCA(want target) error {
	if want.maintenance || want.names() == nil || want.cfg.TLS.ClientAuth.Mode == "none" {
		return nil
	}
	s, err := m.clientCA(want)
	if damaged, ok := errors.AsType[*clientca.Damaged](err); ok { // what does not need it goes on
		gid, err := m.gid()
		if err == nil {
			err = clientca.Refuse(filepath.Join(m.Root, paths.ClientCA), gid)
		}
		return errors.Join(damaged, err)
	}
	if err != nil {
		return err
	}
	s.Close()
	return nil
}

// refusesClients says whether the registry lets nobody in: client certificates are
// required, and those of its own CA do not count.
func (m *Machine) refusesClients(want target) bool {
	return want.cfg.TLS.ClientAuth.Mode == "required" && clientca.Refused(filepath.Join(m.Root, paths.ClientCA))
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
	return clientca.Open(filepath.Join(m.Root, paths.ClientCA), want.cfg.Hostname, m.Now(), gid)
}

// probeCertificate is what this machine shows to its own registry where that
// asks for a certificate: one of the client CA, for minutes.
func (m *Machine) probeCertificate(want target) ([]tls.Certificate, error) {
	if want.maintenance || want.cfg.TLS.ClientAuth.Mode != "required" {
		return nil, nil
	}
	if m.refusesClients(want) {
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
