package acme

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/redoubt-registry/redoubt/appliance/state"
)

// load reads the memory. A store that several machines share and that is still
// empty gets what this machine knows: one that was alone before, or whose bucket
// is a new one, has a certificate already, and none is ordered.
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

// keepCopy keeps m beside the store that it came from. What serves is published
// from the copy, so that a store that is out of reach changes nothing.
func keepCopy(ctx context.Context, local state.Store, m *Memory) error {
	data, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return fmt.Errorf("cannot keep a copy of the state of the certificate: %w", err)
	}
	_, version, err := local.Get(ctx, stateKey)
	if err == nil || errors.Is(err, state.ErrNotFound) {
		_, err = local.Put(ctx, stateKey, data, version)
	}
	if err != nil && !errors.Is(err, state.ErrConflict) { // another tick on this machine keeps its own
		return fmt.Errorf("cannot keep a copy of the state of the certificate: %w", err)
	}
	return nil
}
