package sharedstate

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// Lease is the right of one process to do a task that should be done once. It saves
// work; Put is what keeps an object safe: a process that was frozen past its lease gets
// ErrConflict.
type Lease struct {
	store   Store
	key     string
	version string
	holder  Holder
}

// Holder is the process that has a lease, as it is stored.
type Holder struct {
	Owner   string    `json:"owner"`
	Epoch   int64     `json:"epoch"` // grows by one with each holder
	Granted time.Time `json:"granted"`
	Until   time.Time `json:"until"` // by the store's clock; in the past: the lease is free
	// Nonce distinguishes two holders with the same name that take the lease at
	// the same time: machines of one image have equal process numbers.
	Nonce string `json:"nonce,omitempty"`
}

// Held is the error for a lease that another process has.
type Held struct{ Holder }

func (h *Held) Error() string {
	return fmt.Sprintf("%s is at work on it, until %s at the latest", h.Owner, h.Until.UTC().Format(time.RFC3339))
}

// Take takes the lease of key for ttl, or returns *Held. A lease that cannot be read is
// taken: it would only say whom to wait for. So is one from the future: the clock was
// set back meanwhile.
func Take(ctx context.Context, store Store, key, owner string, ttl time.Duration) (*Lease, error) {
	now, err := store.Time(ctx)
	if err != nil {
		return nil, fmt.Errorf("cannot tell the time of the lease: %w", err)
	}
	data, version, err := store.Get(ctx, key)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return nil, fmt.Errorf("cannot read the lease: %w", err)
	}
	var old Holder
	if err := json.Unmarshal(data, &old); err != nil {
		old = Holder{}
	}
	if now.Before(old.Until) && !now.Before(old.Granted.Add(-ttl)) {
		return nil, &Held{old}
	}
	l := &Lease{store: store, key: key, version: version,
		holder: Holder{Owner: owner, Epoch: old.Epoch + 1, Granted: now, Until: now.Add(ttl), Nonce: rand.Text()}}
	if err := l.put(ctx); err != nil {
		if errors.Is(err, ErrConflict) {
			return nil, &Held{Holder{Owner: "another", Until: now.Add(ttl)}}
		}
		return nil, fmt.Errorf("cannot take the lease: %w", err)
	}
	return l, nil
}

// Epoch grows with each holder.
func (l *Lease) Epoch() int64 { return l.holder.Epoch }

// Check returns an error if the lease is over, or another process has it.
func (l *Lease) Check(ctx context.Context) error {
	now, err := l.store.Time(ctx)
	if err != nil {
		return fmt.Errorf("cannot tell the time of the lease: %w", err)
	}
	_, version, err := l.store.Get(ctx, l.key)
	switch {
	case err != nil:
		return fmt.Errorf("cannot read the lease: %w", err)
	case version != l.version:
		return errors.New("another process has the lease: this process was stopped for too long")
	case !now.Before(l.holder.Until):
		return errors.New("the lease is over: this process was stopped for too long")
	}
	return nil
}

// Extend makes the lease last for ttl from now. It returns an error if the lease is over,
// or another process has it.
func (l *Lease) Extend(ctx context.Context, ttl time.Duration) error {
	if err := l.Check(ctx); err != nil {
		return err
	}
	now, err := l.store.Time(ctx)
	if err != nil {
		return fmt.Errorf("cannot tell the time of the lease: %w", err)
	}
	l.holder.Until = now.Add(ttl)
	if err := l.put(ctx); err != nil {
		return fmt.Errorf("cannot extend the lease: %w", err)
	}
	return nil
}

// Release gives the lease back, if this process still has it.
func (l *Lease) Release(ctx context.Context) error {
	l.holder.Until = l.holder.Granted
	err := l.put(ctx)
	if errors.Is(err, ErrConflict) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("cannot release the lease: %w", err)
	}
	return nil
}

func (l *Lease) put(ctx context.Context) error {
	data, err := json.Marshal(l.holder)
	if err != nil {
		return err
	}
	l.version, err = l.store.Put(ctx, l.key, data, l.version)
	return err
}
