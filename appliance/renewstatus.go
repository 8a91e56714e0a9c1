package appliance

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"time"

	"github.com/redoubt-registry/redoubt/appliance/certificates/acme"
	"github.com/redoubt-registry/redoubt/appliance/certificates/cert"
	"github.com/redoubt-registry/redoubt/appliance/certificates/clientca"
	"github.com/redoubt-registry/redoubt/appliance/certificates/renewal"
	"github.com/redoubt-registry/redoubt/appliance/configuration/disk"
	"github.com/redoubt-registry/redoubt/appliance/configuration/plan"
	"github.com/redoubt-registry/redoubt/appliance/configuration/tree"
	"github.com/redoubt-registry/redoubt/appliance/paths"
	"github.com/redoubt-registry/redoubt/appliance/storage/sharedstate"
)

// summarize writes what is known of the renewal where status, metrics and
// alerts read it.
func (m *Machine) summarize(ctx context.Context, now target, problem error) error {
	s := renewal.Summary{Mode: now.cfg.TLS.Mode, Looked: m.Now()}
	var have *renewal.Certificate
	if pairs, err := cert.CurrentPairs(filepath.Join(m.Root, paths.Certificates)); err == nil {
		pair := cert.EndsFirst(pairs)
		s.NotBefore, s.NotAfter = pair.Leaf.NotBefore, pair.Leaf.NotAfter
		have = &renewal.Certificate{NotBefore: s.NotBefore, NotAfter: s.NotAfter}
		s.Next, s.Why = m.ownDue(now, have)
	}
	var failures renewal.Failures
	if now.cfg.TLS.Mode == "acme" {
		if memory, _, err := acme.Load(ctx, m.certificateState()); err == nil {
			failures = memory.Failures
			s.Tried, s.Succeeded, s.Fallback = memory.Tried, memory.Succeeded, !memory.Covers(now.names())
			s.Failures, s.Since, s.Error = failures.Count, failures.First, failures.Error
			if want, err := m.wanted(now); err == nil {
				s.Next, s.Why = (&acme.Renewer{Want: want, Now: m.Now}).Next(memory)
			}
		}
	}
	if problem != nil && s.Error == "" {
		s.Error = problem.Error()
	}
	s.Alert = renewal.Alert(have, failures, m.Now())
	if damaged, ok := errors.AsType[*sharedstate.Damaged](problem); ok && s.Alert == "" { // nothing that waiting mends
		s.Alert, s.Error = "the state of the certificate is damaged", damaged.Error()
	}
	if damaged, ok := errors.AsType[*cert.Damaged](problem); ok && s.Alert == "" {
		s.Alert, s.Error = "a certificate authority of this machine is damaged", damaged.Error()
	}
	if damaged, ok := errors.AsType[*clientca.Damaged](problem); ok && s.Alert == "" {
		s.Alert, s.Error = "the client CA is damaged", damaged.Error()
	}
	data, err := s.Marshal()
	if err != nil {
		return err
	}
	return disk.Commit(m.Root, plan.Plan{Write: []tree.File{{Path: paths.Renewal, Mode: 0o644, Data: data}}})
}

// renewal reads what the last renewer wrote; nil before the first.
func (m *Machine) renewal() *renewal.Summary {
	var s renewal.Summary
	data, err := os.ReadFile(filepath.Join(m.Root, paths.Renewal))
	if err != nil || json.Unmarshal(data, &s) != nil {
		return nil
	}
	return &s
}

// ownDue is when the own CA's certificate, or that of a CA that was brought, is
// renewed. A pair that was brought is nobody's to renew.
func (m *Machine) ownDue(now target, c *renewal.Certificate) (time.Time, string) {
	if now.cfg.TLS.Mode != "internal-ca" {
		return time.Time{}, ""
	}
	return c.LastThird()
}
