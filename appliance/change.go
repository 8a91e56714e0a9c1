package appliance

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/redoubt-registry/redoubt/appliance/certificates/cert"
	"github.com/redoubt-registry/redoubt/appliance/configuration/disk"
	"github.com/redoubt-registry/redoubt/appliance/configuration/plan"
	"github.com/redoubt-registry/redoubt/appliance/configuration/render"
	"github.com/redoubt-registry/redoubt/appliance/configuration/secrets"
	"github.com/redoubt-registry/redoubt/appliance/configuration/systemd"
	"github.com/redoubt-registry/redoubt/appliance/configuration/tree"
	"github.com/redoubt-registry/redoubt/appliance/paths"
	"github.com/redoubt-registry/redoubt/units"
)

// jobsTimeout bounds the waiting for units: more than any of them may take to start.
const jobsTimeout = 7 * time.Minute

// applied is what the units are known to have read, as it is stored in paths.Applied.
type applied struct {
	Files plan.Applied `json:"files"`
	// Certificate is the generation of the server's certificate.
	Certificate string `json:"certificate,omitempty"`
}

// change is what must be done to make the machine a target.
type change struct {
	plan         plan.Plan
	certificates cert.Decision
	clientCA     bool      // the CA of clients is made
	have         tree.Tree // what was there before, with the readers that it had
	applied      applied
	done         bool  // something was changed
	problem      error // what is not as want asks for, though the machine serves
}

// empty says whether there is nothing to do.
func (c change) empty() bool { return c.plan.Empty() && !c.certificates.Publish() && !c.clientCA }

// failed notes that the certificates stay as they are.
func (c *change) failed(err error) {
	c.certificates = cert.Decision{Problem: errors.Join(c.certificates.Problem, err)}
}

// String is the change as a person reads it before it is carried out.
func (c change) String() string {
	lines := c.certificates.Lines()
	if c.clientCA {
		lines += "make     the certificate authority of clients: there is none yet\n"
	}
	if c.plan.Empty() && lines != "" {
		return lines
	}
	return lines + c.plan.String()
}

// compare computes the change from the files on the disk to want.
func (m *Machine) compare(ctx context.Context, want target) (change, error) {
	c := change{applied: m.loadApplied(), certificates: want.certificates, clientCA: m.lacksClientCA(want)}
	names := slices.Concat(want.files.Paths(), c.applied.Files.Paths(), render.Paths())
	slices.Sort(names)
	have, err := disk.Read(m.Root, slices.Compact(names))
	if err != nil {
		return c, err
	}
	for i, f := range have {
		have[i].Readers, have[i].Unit = c.applied.Files[f.Path].Readers, c.applied.Files[f.Path].Unit
	}
	c.have = have
	c.plan = plan.New(have, want.files, c.applied.Files)
	c.plan.Actions, err = m.settle(ctx, c.plan.Actions, want)
	c.plan.Actions = m.takeUp(c, c.plan.Actions)
	return c, err
}

// takeUp adds the reload that makes the registry read a new certificate, if nothing
// else does.
func (m *Machine) takeUp(c change, actions []tree.Reader) []tree.Reader {
	reads := func(a tree.Reader) bool { return a.Unit == units.Registry }
	stale := c.certificates.Publish() || c.applied.Certificate != m.publishedCertificate()
	if len(c.certificates.Serve) == 0 || !stale || slices.ContainsFunc(actions, reads) {
		return actions
	}
	return append(actions, tree.Reader{Unit: units.Registry, Verb: tree.Reload})
}

// settle fits actions to the states of the units. A unit that does not run has not read
// an old file: it needs no action, but a start if it belongs to the machine. A unit that
// is just starting cannot reload yet: it restarts.
func (m *Machine) settle(ctx context.Context, actions []tree.Reader, want target) ([]tree.Reader, error) {
	required := []string{units.Registry, units.HealthTimer, units.RenewTimer, units.GCTimer, units.BackupTimer}
	if _, ok := want.files.Lookup(paths.RedisConf); ok {
		required = slices.Insert(required, 0, units.Redis)
	}
	if _, ok := want.files.Lookup(render.WatchPath()); ok {
		required = append(required, units.CertificateFiles)
	}
	if _, open := want.files.Lookup(paths.FirewallOpen); !open {
		required = slices.Insert(required, 0, units.Firewall)
	}
	names := slices.Clone(required)
	for _, a := range actions {
		if !slices.Contains(names, a.Unit) {
			names = append(names, a.Unit)
		}
	}
	states, err := m.Units.States(ctx, names...)
	if err != nil {
		return nil, err
	}
	now := map[string]systemd.State{}
	for _, s := range states {
		now[s.Name] = s
		reads := func(a tree.Reader) bool { return a.Unit == s.Name }
		if refused(s) != "" && !slices.ContainsFunc(actions, reads) { // it has an old configuration
			actions = append(actions, tree.Reader{Unit: s.Name, Verb: tree.Reload})
		}
	}
	var settled []tree.Reader
	for _, a := range actions {
		if !now[a.Unit].Running() {
			continue
		}
		if a.Verb == tree.Reload && now[a.Unit].Active == "activating" {
			a.Verb = tree.Restart
		}
		settled = append(settled, a)
	}
	for _, unit := range required {
		if !now[unit].Running() {
			settled = append(settled, tree.Reader{Unit: unit, Verb: tree.Start})
		}
	}
	return settled, nil
}

// refused is why the registry refused its configuration at the last reload, or empty.
func refused(s systemd.State) string {
	reason, ok := strings.CutPrefix(s.Status, units.ReloadRefused)
	if !ok || s.Name != units.Registry {
		return ""
	}
	return reason
}

var _ Units = (*systemd.Manager)(nil)

// carryOut makes the machine what want says, and checks that it then is.
func (m *Machine) carryOut(ctx context.Context, want target, c *change) error {
	if err := m.keepSecrets(want); err != nil {
		return err
	}
	changes := !c.empty()
	if err := m.certify(want); err != nil {
		if m.publishedCertificate() == "" {
			return err
		}
		c.failed(err) // the old one serves
	}
	c.done = changes
	c.problem = errors.Join(oldStays(c.certificates.Problem), m.ensureClientCA(want), m.firstTokenKeys(ctx, want))
	if !c.plan.Empty() {
		if len(c.plan.Write) > 0 {
			c.applied.Files = plan.Intend(c.applied.Files, c.plan)
			if err := m.saveApplied(c.applied); err != nil {
				return err
			}
		}
		if err := disk.Commit(m.Root, c.plan); err != nil {
			return err
		}
	}
	if m.Ready != nil {
		if err := m.Ready(); err != nil {
			return err
		}
	}
	if err := m.act(ctx, c.plan); err != nil {
		return err
	}
	c.applied = applied{Files: plan.Record(want.files), Certificate: m.publishedCertificate()}
	if err := m.saveApplied(c.applied); err != nil {
		return err
	}
	return m.serves(ctx, want)
}

func (m *Machine) act(ctx context.Context, p plan.Plan) error {
	ctx, cancel := context.WithTimeout(ctx, jobsTimeout)
	defer cancel()
	var run, cache []tree.Reader
	var start []string
	for _, a := range p.Actions {
		switch {
		case a.Verb == tree.Start:
			start = append(start, a.Unit)
		case a.Unit == units.Redis:
			cache = append(cache, a)
		default:
			run = append(run, a)
		}
	}
	if p.Units || len(run) > 0 {
		if err := m.Units.Run(ctx, p.Units, run); err != nil {
			return err
		}
	}
	if len(cache) > 0 { // last and alone: its failure is no reason to leave out the others
		if err := m.Units.Run(ctx, false, cache); err != nil {
			m.warnOfCache(err)
		}
	}
	for _, unit := range start {
		err := m.Units.Start(ctx, unit)
		switch {
		case err == nil:
		case unit == units.Redis:
			m.warnOfCache(err)
		case unit == units.Firewall: // the registry itself does not reach it in any case
			m.warn("any process of this machine can reach the cloud's metadata service: %v", err)
		case unit == units.HealthTimer || unit == units.RenewTimer || unit == units.GCTimer || unit == units.BackupTimer: // as after systemctl mask
			m.warn("%s does not run, and what it starts stays undone: %v", unit, err)
		default:
			return err
		}
	}
	states, err := m.Units.States(ctx, units.Registry)
	if err != nil {
		return err
	}
	if reason := refused(states[0]); reason != "" {
		return fmt.Errorf("the registry refuses its configuration: %s", reason)
	}
	return nil
}

// warnOfCache says that Redis does not run. That costs time and no image, and systemd
// keeps trying.
func (m *Machine) warnOfCache(err error) {
	m.warn("the registry serves without its cache: %v", err)
}

// keepSecrets writes the new secrets before a file that contains them.
func (m *Machine) keepSecrets(want target) error {
	if want.secrets == nil {
		return nil
	}
	have, err := disk.Read(m.Root, append(secrets.Paths(), paths.Secrets))
	if err != nil {
		return err
	}
	return disk.Commit(m.Root, plan.New(have, want.secrets, nil))
}

// loadApplied reads paths.Applied. One that is missing or damaged is empty: then
// every unit acts once too often, which is harmless.
func (m *Machine) loadApplied() applied {
	var a applied
	data, err := os.ReadFile(filepath.Join(m.Root, paths.Applied))
	if err == nil {
		err = json.Unmarshal(data, &a)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		m.warn("cannot read %s, so every unit acts: %v", paths.Applied, err)
		return applied{}
	}
	return a
}

func (m *Machine) saveApplied(a applied) error {
	data, err := json.MarshalIndent(a, "", "  ")
	if err != nil {
		return fmt.Errorf("cannot write %s: %w", paths.Applied, err)
	}
	if have, err := os.ReadFile(filepath.Join(m.Root, paths.Applied)); err == nil && bytes.Equal(have, data) {
		return nil
	}
	return disk.Commit(m.Root, plan.Plan{Write: []tree.File{{Path: paths.Applied, Mode: 0o600, Data: data}}})
}

// oldStays says why the certificate is not the one that is asked for; nil if it is.
func oldStays(why error) error {
	if why == nil {
		return nil
	}
	return fmt.Errorf("the old certificate stays: %w", why)
}
