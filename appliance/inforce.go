package appliance

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/redoubt-registry/redoubt/appliance/certificates/acme"
	"github.com/redoubt-registry/redoubt/appliance/configuration/config"
	"github.com/redoubt-registry/redoubt/appliance/configuration/history"
	"github.com/redoubt-registry/redoubt/appliance/configuration/render"
	"github.com/redoubt-registry/redoubt/appliance/outbound"
	"github.com/redoubt-registry/redoubt/appliance/paths"
)

// inForce is what the machine was last brought to: its cfg, its registry.yml and
// whether it is in maintenance. There is nothing to do for it and nothing to keep.
type inForce struct {
	target
	sealed []byte // the file that cfg was read from
}

// present reads what is in force.
func (m *Machine) present() inForce {
	sealed := m.sealed()
	document, _ := history.LastGood(m.Root, m.Vault) // none is maintenance
	cfg, _, report := config.Parse([]config.Layer{{Name: paths.LastGood, Data: document}})
	t := inForce{target: target{cfg: cfg}, sealed: sealed}
	if data, err := os.ReadFile(filepath.Join(m.Root, paths.RegistryYML)); err == nil {
		t.files = append(t.files, render.Registry(data))
	}
	_, err := os.Stat(filepath.Join(m.Root, paths.Maintenance))
	t.maintenance = err == nil || report.Err() != nil
	return t
}

// still says whether the configuration is the one of now. It looks at the file as
// it lies there: to open it takes another process.
func (m *Machine) still(now inForce) bool { return bytes.Equal(m.sealed(), now.sealed) }

func (m *Machine) sealed() []byte {
	data, _ := os.ReadFile(filepath.Join(m.Root, paths.LastGood)) // none is nil
	return data
}

// wanted is the certificate that the configuration asks for.
func (m *Machine) wanted(now target) (acme.Want, error) {
	c := now.cfg.TLS.ACME
	want := acme.Want{Names: now.names(), Directory: c.Directory, Email: c.Email, Profile: c.Profile, EABKeyID: c.EAB.KeyID,
		Proxy: outbound.Own(m.Root)}
	if want.Directory == "" {
		want.Directory = acme.LetsEncrypt
	}
	key, keyErr := m.resolver().Value(c.EAB.HMACKey)
	roots, rootsErr := m.resolver().PEM(config.Secret(c.CABundle))
	if keyErr != nil {
		keyErr = fmt.Errorf("tls.acme.eab.hmacKey: %w", keyErr)
	}
	if rootsErr != nil {
		rootsErr = fmt.Errorf("tls.acme.caBundle: %w", rootsErr)
	}
	want.EABKey, want.Roots = key, string(roots)
	return want, errors.Join(keyErr, rootsErr)
}
