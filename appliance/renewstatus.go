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
	s, have, failures := m.renewalPlan(ctx, now)
	s.Looked = m.Now()
	if problem != nil && s.Error == "" {
		s.Error = problem.Error()
	}
	s.Alert = renewal.Alert(have, failures, m.Now())
	if damaged, ok := errors.AsType[*sharedstate.Damaged](problem); ok && s.Alert == "" { // waiting does not fix it
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

// renewalPlan is what the certificate in force and the state of ACME say of the next
// renewal: the summary, the certificate, nil without one, and what has failed.
func (m *Machine) renewalPlan(ctx context.Context, now target) (s renewal.Summary, have *renewal.Certificate, failures renewal.Failures) {
	s.Mode = now.cfg.TLS.Mode
	if pairs, err := cert.CurrentPairs(filepath.Join(m.Root, paths.Certificates)); err == nil {
		pair := cert.EndsFirst(pairs)
		s.NotBefore, s.NotAfter = pair.Leaf.NotBefore, pair.Leaf.NotAfter
		have = &renewal.Certificate{NotBefore: s.NotBefore, NotAfter: s.NotAfter}
		if s.Mode == "internal-ca" {
			s.Renews, s.Reason = have.LastThird()
			s.Next, s.Why = s.Renews, s.Reason
		}
	}
	if s.Mode != "acme" {
		return s, have, failures
	}
	memory, _, err := acme.Load(ctx, m.certificateState())
	if err != nil {
		return s, have, failures
	}
	failures = memory.Failures
	s.Tried, s.Succeeded, s.Fallback = memory.Tried, memory.Succeeded, !memory.Covers(now.names())
	s.Failures, s.Since, s.Error = failures.Count, failures.First, failures.Error
	if want, err := m.wanted(now); err == nil {
		d := (&acme.Renewer{Want: want, Now: m.Now}).Next(memory)
		s.Next, s.Why, s.Plan = d.Next, d.Why, d.Plan
	}
	return s, have, failures
}

// renewalStatus is what the last renewer wrote, with the plan of the certificate in force:
// an apply may have published another one since. overdue says that the timer should have
// run since then.
func (m *Machine) renewalStatus(ctx context.Context, now target) (s *renewal.Summary, overdue bool) {
	live, _, _ := m.renewalPlan(ctx, now)
	last := m.renewal()
	if last == nil || last.Mode != live.Mode {
		return &live, false
	}
	live.Looked, live.Alert = last.Looked, last.Alert
	if live.Error == "" {
		live.Error = last.Error
	}
	age := m.Now().Sub(last.Looked)
	return &live, age > renewalAge || age < -renewalAge
}

// renewalAge is longer than two runs of redoubt-renew.timer, each waiting for a CA that does
// not answer.
const renewalAge = time.Hour

// renewal reads what the last renewer wrote; nil before the first.
func (m *Machine) renewal() *renewal.Summary {
	var s renewal.Summary
	data, err := os.ReadFile(filepath.Join(m.Root, paths.Renewal))
	if err != nil || json.Unmarshal(data, &s) != nil {
		return nil
	}
	return &s
}
