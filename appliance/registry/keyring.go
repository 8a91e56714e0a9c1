package registry

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"github.com/redoubt-registry/redoubt/appliance/access/token"
	"github.com/redoubt-registry/redoubt/appliance/storage/bucket"
	"github.com/redoubt-registry/redoubt/appliance/storage/sharedstate"
)

const (
	// keysAge is how old keys may be before they are read again: a new one signs an hour
	// after it was made.
	keysAge = 10 * time.Minute
	// keysPause is between two looks for a key that is not there.
	keysPause = 2 * time.Second
	keysTime  = 5 * time.Second // of one look
)

// keyring reads the keys that redoubt renew makes, for the tokens of a generation.
type keyring struct {
	store  sharedstate.Store
	issuer *token.Issuer
	now    func() time.Time
	warn   func(error)

	mu   sync.Mutex
	last time.Time // of the last look
}

// stateOption is the option of our access controller that says where the keys of tokens and
// the robots are: a directory, or in the bucket, where machines share them. Distribution's
// own words have none for it.
const stateOption = "state"

// openState finds where they are; nil is nowhere.
func (g *generation) openState() (sharedstate.Store, error) {
	where, set := g.config.Auth.Parameters()[stateOption]
	text, _ := where.(string)
	switch kind := g.config.Storage.Type(); {
	case !set:
		return nil, nil
	case filepath.IsAbs(text):
		return sharedstate.Dir{Path: text, GID: -1, Now: time.Now}, nil
	case text != "bucket" || kind != "s3" && kind != "s3aws":
		return nil, fmt.Errorf("cannot use auth.%s.%s: it must be a directory, or bucket with a bucket for storage", g.config.Auth.Type(), stateOption)
	}
	b, err := bucket.OpenDefault(g.config.Storage.Parameters())
	if err != nil {
		return nil, err
	}
	return sharedstate.TokensIn(b), nil
}

// openKeys makes the issuer of a generation's tokens.
func (g *generation) openKeys(s *server) error {
	audience := display(g.config.HTTP.Host)
	if audience == "" {
		audience = "redoubt"
	}
	g.keys = &keyring{issuer: token.NewIssuer(audience, time.Now), now: time.Now, warn: func(err error) {
		s.log.WithError(err).Warn("cannot read the keys of tokens")
	}}
	store, err := g.openState()
	switch {
	case err != nil:
		return err
	case store == nil: // tokens of this process alone
		g.keys.issuer.SetKeys(s.keys)
	default:
		g.keys.store = store
		g.keys.refresh(context.Background(), keysAge)
	}
	return nil
}

// refresh reads the keys again if the last look was longer ago.
func (k *keyring) refresh(ctx context.Context, age time.Duration) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.store == nil || k.now().Sub(k.last).Abs() < age {
		return
	}
	k.last = k.now()
	ctx, cancel := context.WithTimeout(ctx, keysTime)
	defer cancel()
	data, _, err := k.store.Get(ctx, token.KeysObject)
	if errors.Is(err, sharedstate.ErrNotFound) {
		return // redoubt renew has not been here yet
	}
	var keys token.Keys
	if err == nil {
		keys, err = token.ParseKeys(data)
	}
	if err != nil {
		k.warn(err)
		return
	}
	k.issuer.SetKeys(keys)
}

// ready says whether there are tokens to be had. It looks for keys where there are none,
// and in the background where they are old.
func (k *keyring) ready(ctx context.Context) bool {
	if !k.issuer.Ready() {
		k.refresh(ctx, keysPause)
		return k.issuer.Ready()
	}
	if k.store != nil && k.mu.TryLock() {
		old := k.now().Sub(k.last).Abs() >= keysAge
		k.mu.Unlock()
		if old {
			go k.refresh(context.WithoutCancel(ctx), keysAge)
		}
	}
	return true
}
