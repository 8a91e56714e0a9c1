package appliance

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/redoubt-registry/redoubt/appliance/acme"
	"github.com/redoubt-registry/redoubt/appliance/config"
	"github.com/redoubt-registry/redoubt/appliance/state"
)

const (
	stateDir      = "/var/lib/redoubt/acme"
	challengesDir = "/var/lib/redoubt/challenges"
	// challengeAge is more than any challenge takes.
	challengeAge = 24 * time.Hour
)

// RenewOptions are what the caller of Renew chooses.
type RenewOptions struct {
	Force   bool   // renew what is not due, and do not wait after a failure
	Version string // of the program, for the CA
}

// Renew obtains or renews the server's certificate if that is due, publishes it
// and makes the registry read it. With nothing to do it does nothing. Whatever
// goes wrong, the certificate that was in force stays so.
func (m *Machine) Renew(ctx context.Context, o RenewOptions) error {
	now := m.present()
	if now.maintenance || now.names() == nil {
		return nil
	}
	var problem error
	if now.cfg.TLS.Mode == "acme" {
		problem = m.obtain(ctx, now, o)
	}
	err := m.publishAtRest(ctx, now, o)
	return errors.Join(problem, err, m.summarize(ctx, now, errors.Join(problem, err)))
}

// obtain brings the state of the certificate up to date. It publishes nothing.
func (m *Machine) obtain(ctx context.Context, now target, o RenewOptions) error {
	r, err := m.renewer(now, o)
	if err != nil {
		return err
	}
	if challenges, ok := r.Challenges.(state.Dir); ok {
		if err := challenges.Sweep(challengeAge); err != nil {
			fmt.Fprintf(m.Out, "warning: %v\n", err)
		}
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
	return &acme.Renewer{
		Store:      m.certificateState(),
		Challenges: state.Dir{Path: filepath.Join(m.Root, challengesDir), Mode: 0o640, GID: gid, Now: m.Now},
		Want:       want,
		Owner:      fmt.Sprintf("%s, process %d", now.cfg.Hostname, os.Getpid()),
		UserAgent:  "redoubt/" + o.Version,
		Now:        m.Now,
		Out:        m.Out,
		Force:      o.Force,
	}, nil
}

func (m *Machine) certificateState() state.Dir {
	return state.Dir{Path: filepath.Join(m.Root, stateDir), Mode: 0o600, GID: -1, Now: m.Now}
}

// wanted is the certificate that the configuration asks for.
func (m *Machine) wanted(now target) (acme.Want, error) {
	c := now.cfg.TLS.ACME
	want := acme.Want{Names: now.names(), Directory: c.Directory, Email: c.Email, Profile: c.Profile, EABKeyID: c.EAB.KeyID}
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

// publish makes the certificate that is to be in force the one that is, and the
// registry read it. An apply that runs does the same.
func (m *Machine) publish(ctx context.Context, now target, o RenewOptions) error {
	unlock, err := m.lock()
	if err != nil {
		fmt.Fprintln(m.Out, "an apply is running: what is new is published by it, or by the next tick")
		return nil
	}
	defer unlock()
	c := change{applied: m.loadApplied()}
	if err := m.certify(now, &c); err != nil {
		return err
	}
	c.refused = errors.Join(c.refused, m.refreshClientTrust(now))
	if len(c.plan.Actions) == 0 {
		return c.refused
	}
	if err := m.act(ctx, c.plan); err != nil {
		return errors.Join(c.refused, err)
	}
	c.applied.Certificate = m.publishedCertificate()
	return errors.Join(c.refused, m.saveApplied(c.applied))
}
