package appliance

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"time"

	"github.com/redoubt-registry/redoubt/appliance/certificates/cert"
	"github.com/redoubt-registry/redoubt/appliance/configuration/history"
	"github.com/redoubt-registry/redoubt/appliance/configuration/render"
	"github.com/redoubt-registry/redoubt/appliance/paths"
	"github.com/redoubt-registry/redoubt/appliance/spool"
	"github.com/redoubt-registry/redoubt/appliance/system/status"
	"github.com/redoubt-registry/redoubt/units"
)

// Status reports the state of the machine. A part that cannot be read is a problem in
// the report, not an error. version is that of the running program.
func (m *Machine) Status(ctx context.Context, version string) (*status.Report, error) {
	now := m.present().target
	r := &status.Report{Versions: status.Versions{Redoubt: version, Distribution: distributionVersion(), Image: m.imageVersion()}}
	m.configurationStatus(r)
	if err := m.unitStatus(ctx, now, r); err != nil {
		return nil, err
	}
	if now.names() != nil {
		r.Certificate = m.certificateStatus(ctx, now)
	}
	checks := []check{func(ctx context.Context) error { return m.probe(ctx, now) }}
	r.Configuration.Pending = m.pending(ctx, now)
	if !now.maintenance {
		r.Clients = m.endingClients(now)
		r.Undelivered = spool.Problem(filepath.Join(m.Root, paths.Deliveries))
		r.Address = address(now.cfg)
		r.Storage = m.storageStatus(now.cfg)
		r.Backup = m.backupStatus(now.cfg)
		r.Cache = &status.Cache{Type: now.cfg.Cache.Type, Address: now.cfg.Cache.Redis.Address, Reachable: true}
		if r.Cache.Type == "redis" {
			checks = append(checks, func(ctx context.Context) error { return m.cacheStatus(ctx, now, r) })
		}
	}
	if len(now.cfg.Quotas) > 0 && r.Storage != nil {
		checks = append(checks, func(ctx context.Context) error { m.quotaStatus(ctx, now.cfg, r.Storage); return nil })
	}
	results := runChecks(ctx, probeTimeout, checks...)
	r.Registry = status.Answer{Healthy: results[0].err == nil, Latency: results[0].latency}
	if err := results[0].err; err != nil {
		r.Registry.Error = err.Error()
	}
	if len(results) > 1 && results[1].err != nil { // of quotas there is none
		r.Cache = &status.Cache{Type: "redis", Address: r.Cache.Address, Error: results[1].err.Error()}
	}
	r.Judge()
	return r, nil
}

func (m *Machine) configurationStatus(r *status.Report) {
	g, err := history.Newest(m.Root)
	if err == nil {
		r.Configuration = status.Configuration{Sources: g.Sources, Generation: g.Number}
	}
	if info, err := os.Stat(filepath.Join(m.Root, paths.Applied)); err == nil {
		r.Configuration.Applied = info.ModTime()
	}
	data, err := os.ReadFile(filepath.Join(m.Root, paths.Maintenance))
	if err != nil {
		return
	}
	var notice render.Notice
	if err := json.Unmarshal(data, &notice); err != nil {
		r.Configuration.Errors = []string{fmt.Sprintf("cannot read %s: %v", paths.Maintenance, err)}
	}
	for _, e := range notice.Errors {
		r.Configuration.Errors = append(r.Configuration.Errors, e.String())
	}
}

func (m *Machine) unitStatus(ctx context.Context, now target, r *status.Report) error {
	shown := []string{units.Apply, units.RegistrySocket, units.Registry, units.Redis, units.Firewall, units.RenewTimer, units.HealthTimer, units.GCTimer}
	if s3 := now.cfg.Storage.S3; s3 != nil && s3.IAMRole {
		shown = append(shown, units.CredentialsSocket)
	}
	if now.cfg.Backup.To.Set() {
		shown = append(shown, units.BackupTimer)
	}
	_, closed := os.Stat(filepath.Join(m.Root, paths.FirewallOpen))
	states, err := m.Units.States(ctx, shown...)
	if err != nil {
		return err
	}
	for _, s := range states {
		u := status.Unit{Name: s.Name, Active: s.Active, Sub: s.Sub, Since: s.Since, Restarts: s.Restarts, Wanted: true}
		switch s.Name {
		case units.Redis:
			u.Wanted = !now.maintenance && now.cfg.Cache.Type == "redis" && now.cfg.Cache.Redis.Address == ""
		case units.Firewall:
			u.Wanted = closed != nil
		case units.Apply:
			// An apply by hand fixes what the one at boot could not do.
			u.Wanted = s.Active == "failed" && s.Since.After(r.Configuration.Applied)
		}
		r.Units = append(r.Units, u)
	}
	return nil
}

func (m *Machine) certificateStatus(ctx context.Context, now target) *status.Certificate {
	c := &status.Certificate{Generation: m.publishedCertificate()}
	pair, err := cert.Current(filepath.Join(m.Root, paths.Certificates))
	if err != nil {
		c.Error = fmt.Sprintf("cannot read the certificate: %v", err)
		return c
	}
	leaf := pair.Leaf
	c.Issuer, c.NotAfter, c.Names = leaf.Issuer.CommonName, leaf.NotAfter, cert.Names(leaf)
	c.Renewal, c.Overdue = m.renewalStatus(ctx, now)
	c.DaysLeft = int(leaf.NotAfter.Sub(m.Now()) / (24 * time.Hour))
	if d, err := m.certificates(now, true); err != nil || d.Problem != nil {
		c.Stays = oldStays(errors.Join(err, d.Problem)).Error()
	}
	cas, err := m.servingCAs(now)
	if err != nil || len(cas) == 0 {
		return c
	}
	c.Authority, c.Fingerprint = cas[0].file, fingerprint(cas[0].pem)
	for _, ca := range cas[1:] {
		c.More = append(c.More, status.Authority{Names: ca.names, File: ca.file, Fingerprint: fingerprint(ca.pem)})
	}
	return c
}

// distributionVersion is that of the library in this program.
func distributionVersion() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	for _, d := range info.Deps {
		if d.Path == "github.com/distribution/distribution/v3" {
			return d.Version
		}
	}
	return ""
}

// imageVersion is what os-release(5) says.
func (m *Machine) imageVersion() string {
	data, err := os.ReadFile(filepath.Join(m.Root, "usr/lib/os-release"))
	if err != nil {
		return ""
	}
	fields := map[string]string{}
	lines := bufio.NewScanner(bytes.NewReader(data))
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), "=")
		fields[name] = strings.Trim(value, `"'`)
	}
	return strings.TrimSpace(fields["IMAGE_VERSION"] + " " + cmp.Or(fields["PRETTY_NAME"], fields["NAME"]))
}
