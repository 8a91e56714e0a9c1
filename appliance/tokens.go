package appliance

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/redoubt-registry/redoubt/appliance/access/token"
	"github.com/redoubt-registry/redoubt/appliance/paths"
	"github.com/redoubt-registry/redoubt/appliance/storage/sharedstate"
)

// tokenTime bounds what an apply does for tokens in a bucket.
const tokenTime = 10 * time.Second

// tokenState keeps the keys of tokens and the robots: on this machine, or in the bucket
// where several share them.
func (m *Machine) tokenState(now target) (sharedstate.Store, error) {
	if now.cfg.Nodes > 1 {
		b, err := m.bucket(now)
		if err != nil {
			return nil, fmt.Errorf("cannot share tokens: %w", err)
		}
		return sharedstate.TokensIn(b), nil
	}
	gid, err := m.gid()
	if err != nil {
		return nil, err
	}
	return sharedstate.Dir{Path: filepath.Join(m.Root, paths.Tokens), Mode: 0o640, GID: gid, Now: m.Now}, nil
}

// rotateTokenKeys makes the key that signs tokens when there is none, or when it is old.
// The registry reads it by itself.
func (m *Machine) rotateTokenKeys(ctx context.Context, now target) error {
	if now.maintenance || now.names() == nil {
		return nil
	}
	store, err := m.tokenState(now)
	if err != nil {
		return err
	}
	data, version, err := store.Get(ctx, token.KeysObject)
	if err != nil && !errors.Is(err, sharedstate.ErrNotFound) {
		return fmt.Errorf("cannot read the keys of tokens: %w", err)
	}
	keys, err := token.ParseKeys(data)
	if err != nil && len(data) > 0 { // clients ask for new tokens by themselves
		m.warn("the keys of tokens are made again: %v", err)
	}
	keys, changed, err := keys.Rotate(m.Now())
	if err != nil || !changed {
		return err
	}
	if data, err = keys.Encode(); err != nil {
		return fmt.Errorf("cannot write the keys of tokens: %w", err)
	}
	_, err = store.Put(ctx, token.KeysObject, data, version)
	if errors.Is(err, sharedstate.ErrConflict) { // another machine has made one just now
		return nil
	}
	return err
}

// firstTokenKeys is rotateTokenKeys of an apply. A bucket that does not answer is no reason
// to hold it up: the renewal tries again.
func (m *Machine) firstTokenKeys(ctx context.Context, want target) error {
	ctx, cancel := context.WithTimeout(ctx, tokenTime)
	defer cancel()
	err := m.rotateTokenKeys(ctx, want)
	if err != nil && want.cfg.Nodes > 1 {
		m.warn("%v", err)
		return nil
	}
	return err
}
