package appliance

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/redoubt-registry/redoubt/appliance/certificates/acme"
	"github.com/redoubt-registry/redoubt/appliance/certificates/dns01"
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
	var dnsErr error
	want.DNS, dnsErr = m.dns(c.DNS)
	return want, errors.Join(keyErr, rootsErr, dnsErr)
}

// dns is who makes the records that prove the names; nil for nobody.
func (m *Machine) dns(c config.DNS01) (*dns01.Settings, error) {
	if !c.InUse() {
		return nil, nil
	}
	secret, secretErr := m.resolver().Value(c.RFC2136.Secret)
	password, passwordErr := m.resolver().Value(c.Hook.Password)
	roots, rootsErr := m.resolver().PEM(config.Secret(c.Hook.CABundle))
	for _, p := range []struct {
		err *error
		key string
	}{{&secretErr, "rfc2136.secret"}, {&passwordErr, "hook.password"}, {&rootsErr, "hook.caBundle"}} {
		if *p.err != nil {
			*p.err = fmt.Errorf("tls.acme.dns.%s: %w", p.key, *p.err)
		}
	}
	u := c.RFC2136
	return &dns01.Settings{
		Update:      dns01.Update{Server: u.Server, Zone: u.Zone, KeyName: u.KeyName, Algorithm: u.Algorithm, Secret: secret},
		Hook:        dns01.Hook{URL: c.Hook.URL, Username: c.Hook.Username, Password: password, Roots: string(roots)},
		Nameservers: c.Nameservers, Wait: c.Wait, Proxy: outbound.Own(m.Root),
	}, errors.Join(secretErr, passwordErr, rootsErr)
}
