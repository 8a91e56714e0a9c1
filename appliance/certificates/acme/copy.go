package acme

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/redoubt-registry/redoubt/appliance/storage/sharedstate"
)

// load reads the memory. If a shared store is still empty, this machine's copy goes into
// it: a machine that was alone before, or whose bucket is new, has a certificate already
// and need not order one.
func (r *Renewer) load(ctx context.Context) (*Memory, error) {
	m, version, err := Load(ctx, r.Store)
	if err != nil || version != "" || r.Local == nil {
		return m, err
	}
	own, known, err := Load(ctx, r.Local)
	if err != nil || known == "" {
		return m, err
	}
	err = save(ctx, r.Store, own, &version)
	if errors.Is(err, errFenced) { // another machine was faster: its memory counts
		m, _, err = Load(ctx, r.Store)
		return m, err
	}
	if err != nil {
		return nil, err
	}
	r.logf("what this machine knows of the certificate is shared from now on: %s", where(r.Store))
	return own, nil
}

// keepCopy keeps a copy of m on this machine. The certificate is published from the copy,
// so that a store that cannot be reached changes nothing.
func keepCopy(ctx context.Context, local sharedstate.Store, m *Memory) error {
	data, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return fmt.Errorf("cannot keep a copy of the state of the certificate: %w", err)
	}
	_, version, err := local.Get(ctx, stateKey)
	if err == nil || errors.Is(err, sharedstate.ErrNotFound) {
		_, err = local.Put(ctx, stateKey, data, version)
	}
	if err != nil && !errors.Is(err, sharedstate.ErrConflict) { // another tick on this machine keeps its own
		return fmt.Errorf("cannot keep a copy of the state of the certificate: %w", err)
	}
	return nil
}

// dissentTime is how long a machine orders nothing after another machine's configuration
// replaced its own.
const dissentTime = 24 * time.Hour

// outvoted tells whether another machine's configuration replaced this one's less than
// dissentTime ago.
func (r *Renewer) outvoted(m *Memory) bool {
	return r.Local != nil && !r.Force && m.Replaced == r.wanted() && r.Now().Sub(m.ReplacedAt).Abs() < dissentTime
}

// dissent is an error if this machine wants another certificate than the one that another
// machine ordered meanwhile.
func (r *Renewer) dissent(m *Memory) error {
	if why := r.Want.change(m, true); why != "" && r.outvoted(m) {
		return fmt.Errorf("nothing is ordered: another machine has had the certificate changed, and by the configuration of this one %s: "+
			"give hostname, aliases and tls.acme the same values on all machines, then run redoubt renew --force on one of them", why)
	}
	return nil
}

// change is why a certificate must be ordered, apart from its age; empty for no reason.
func (r *Renewer) change(m *Memory) string {
	if r.outvoted(m) {
		return ""
	}
	return r.Want.change(m, r.Local != nil)
}
