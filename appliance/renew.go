package appliance

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/redoubt-registry/redoubt/appliance/certificates/acme"
	"github.com/redoubt-registry/redoubt/appliance/paths"
	"github.com/redoubt-registry/redoubt/appliance/storage/bucket"
	"github.com/redoubt-registry/redoubt/appliance/storage/sharedstate"
	"github.com/redoubt-registry/redoubt/units"
)

// RenewOptions are what the caller of Renew chooses.
type RenewOptions struct {
	Force   bool   // renew what is not due, and do not wait after a failure
	Version string // of the program, for the CA
}

// Renew obtains or renews the server's certificate if that is due, publishes it
// and makes the registry read it. With nothing to do it does nothing. Whatever
// goes wrong, the old certificate stays in force.
//
// If an apply changes the configuration meanwhile, Renew starts again with the new one:
// the renewal that the apply started may be this run.
func (m *Machine) Renew(ctx context.Context, o RenewOptions) error {
	for {
		now := m.present()
		err := m.renewAs(ctx, now, o)
		if ctx.Err() != nil || m.still(now) {
			return err
		}
	}
}

func (m *Machine) renewAs(ctx context.Context, now inForce, o RenewOptions) error {
	if now.maintenance || now.names() == nil {
		return nil
	}
	var problem error
	if now.cfg.TLS.Mode == "acme" {
		problem = m.obtain(ctx, now.target, o)
	}
	return m.atRest(ctx, now.target, func() error {
		err := errors.Join(problem, m.publish(ctx, now), m.rotateTokenKeys(ctx, now.target))
		err = errors.Join(err, m.summarize(ctx, now.target, err))
		return errors.Join(err, m.tellOfClients(ctx, now.target))
	})
}

// obtain brings the state of the certificate up to date. It publishes nothing.
func (m *Machine) obtain(ctx context.Context, now target, o RenewOptions) error {
	r, err := m.renewer(now, o)
	if err != nil {
		return err
	}
	_, err = r.Tick(ctx)
	return err
}

func (m *Machine) renewer(now target, o RenewOptions) (*acme.Renewer, error) {
	want, err := m.wanted(now)
	if err != nil {
		return nil, err
	}
	gid, err := m.gid()
	if err != nil {
		return nil, err
	}
	r := &acme.Renewer{
		Store:      m.certificateState(),
		Challenges: sharedstate.Dir{Path: filepath.Join(m.Root, paths.Challenges), Mode: 0o640, GID: gid, Now: m.Now},
		Want:       want,
		Owner:      fmt.Sprintf("%s, process %d", m.ownName(), os.Getpid()),
		UserAgent:  "redoubt/" + o.Version,
		Now:        m.Now,
		Out:        m.Out,
		Force:      o.Force,
	}
	if now.cfg.Nodes > 1 {
		err = m.share(now, r)
	}
	return r, err
}

// share makes r work for all machines of a bucket.
func (m *Machine) share(now target, r *acme.Renewer) error {
	b, err := m.bucket(now)
	if err != nil {
		return fmt.Errorf("cannot share the certificate: %w", err)
	}
	r.Store, r.Local, r.Challenges = sharedstate.InBucket(b), m.certificateState(), sharedstate.ChallengesIn(b)
	return nil
}

// bucket is the bucket in the rendered registry.yml, which includes overlays.
func (m *Machine) bucket(now target) (*bucket.Bucket, error) {
	f, ok := now.files.Lookup(paths.RegistryYML)
	params := bucketParameters(f.Data)
	switch {
	case !ok:
		return nil, fmt.Errorf("there is no %s: run redoubt apply", paths.RegistryYML)
	case params == nil:
		return nil, errors.New("nodes is above 1, and storage.s3 is not set")
	}
	return bucket.OpenDefault(params)
}

// ownName distinguishes this machine from others with the same hostname.
func (m *Machine) ownName() string {
	if name, err := os.Hostname(); err == nil {
		return name
	}
	return "a machine without a name"
}

// publish puts the right certificate in force and makes the registry read it.
func (m *Machine) publish(ctx context.Context, now inForce) error {
	unlock, err := m.lockWithin(ctx, renewalPatience)
	if err != nil {
		return err
	}
	defer unlock()
	if !m.still(now) {
		return nil // Renew starts again
	}
	want := now.target
	if want.certificates, err = m.certificates(want, true); err != nil {
		return errors.Join(oldStays(err), m.ensureClientCA(want), m.refreshClientTrust(want))
	}
	c := change{applied: m.loadApplied(), certificates: want.certificates, clientCA: m.lacksClientCA(want)}
	c.plan.Actions = m.takeUp(c, nil)
	if !c.empty() {
		fmt.Fprint(m.Out, c)
	}
	if err := m.certify(want); err != nil {
		c.failed(err)
		c.plan.Actions = nil // there is nothing new to read
	}
	problem := errors.Join(oldStays(c.certificates.Problem), m.ensureClientCA(want), m.refreshClientTrust(want))
	if len(c.plan.Actions) > 0 {
		if err := m.act(ctx, c.plan); err != nil {
			return errors.Join(problem, err)
		}
		c.applied.Certificate = m.publishedCertificate()
		problem = errors.Join(problem, m.saveApplied(c.applied))
	}
	m.tellOfTrust(ctx, want, c.certificates.Trust)
	return problem
}

// renewSoon starts the renewal of a machine that has no public certificate yet,
// without waiting for it: the timer would take minutes.
func (m *Machine) renewSoon(ctx context.Context, want target) {
	if want.maintenance || want.cfg.TLS.Mode != "acme" {
		return
	}
	if memory, _, err := acme.Load(ctx, m.certificateState()); err != nil || memory.Fits(want.names()) {
		return // the renewal by the timer reports damage
	}
	if err := m.Units.Begin(ctx, units.Renew); err != nil {
		m.warn("the certificate is asked for in some minutes: %v", err)
	}
}
