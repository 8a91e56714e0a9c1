package quota

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/redoubt-registry/redoubt/appliance/storage/progress"
	"github.com/redoubt-registry/redoubt/appliance/storage/sharedstate"
)

const (
	object = "quotas"
	// patience is how long one change of the object may take, with all that wait for it.
	patience = 30 * time.Second
	// mostOpen bounds the pushes under way that are kept apart. The oldest of more count
	// as stored until the next count.
	mostOpen = 2000
)

// account is what the repositories of one rule take. All numbers are bytes.
type account struct {
	Base    int64             `json:"base"`   // that the last count of the storage found
	Since   int64             `json:"since"`  // that were stored since the account was opened
	Before  int64             `json:"before"` // Since when the last count began
	Counted bool              `json:"counted"`
	Cut     time.Time         `json:"cut"`            // links younger than it counted too
	Open    map[string]opened `json:"open,omitempty"` // pushes under way
}

type opened struct {
	Bytes int64     `json:"bytes"`
	At    time.Time `json:"at"`
}

func (a account) used() int64 {
	n := a.Base + a.Since - a.Before
	for _, o := range a.Open {
		n += o.Bytes
	}
	return n
}

type accounts map[string]account

// Ledger counts for one process. Its methods may be called side by side.
type Ledger struct {
	Store sharedstate.Store
	Rules Rules
	Now   func() time.Time
	// Uncounted is called when a push falls under a rule for which the storage was not
	// counted yet; nil: nobody is told. It must return at once.
	Uncounted func()

	mu      sync.Mutex
	waiting []*change
	busy    bool
}

// change is a change that waits for its turn. All that wait are written at once.
type change struct {
	do   func(accounts) error // it leaves them as they are where it returns an error
	done chan error
}

// change makes a change. Where the context ends first it may still be made.
func (l *Ledger) change(ctx context.Context, do func(accounts) error) error {
	c := &change{do, make(chan error, 1)}
	l.mu.Lock()
	l.waiting = append(l.waiting, c)
	first := !l.busy
	l.busy = true
	l.mu.Unlock()
	if first {
		go l.work()
	}
	select {
	case err := <-c.done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (l *Ledger) work() {
	for {
		l.mu.Lock()
		batch := l.waiting
		l.waiting = nil
		l.busy = len(batch) > 0
		l.mu.Unlock()
		if len(batch) == 0 {
			return
		}
		results, err := l.apply(batch)
		for i, c := range batch {
			if err != nil && results[i] == nil {
				results[i] = err
			}
			c.done <- results[i]
		}
	}
}

// apply makes changes in the object, again if another machine was faster. The error is for
// those that have none of their own.
func (l *Ledger) apply(batch []*change) (results []error, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for {
		results = make([]error, len(batch))
		all, version, err := l.read(ctx)
		if err != nil {
			return results, err
		}
		wanted := false
		for i, c := range batch {
			results[i] = c.do(all)
			wanted = wanted || results[i] == nil
		}
		if !wanted {
			return results, nil
		}
		data, err := json.Marshal(all)
		if err == nil {
			_, err = l.Store.Put(ctx, object, data, version)
		}
		if errors.Is(err, sharedstate.ErrConflict) {
			select {
			case <-time.After(rand.N(20 * time.Millisecond)): // not all in step
				continue
			case <-ctx.Done():
				err = ctx.Err()
			}
		}
		if err != nil {
			return results, fmt.Errorf("cannot keep the count of quotas: %w", err)
		}
		return results, nil
	}
}

// read reads the object. What cannot be parsed is counted again.
func (l *Ledger) read(ctx context.Context) (accounts, string, error) {
	data, version, err := l.Store.Get(ctx, object)
	if errors.Is(err, sharedstate.ErrNotFound) {
		return accounts{}, "", nil
	}
	if err != nil {
		return nil, "", fmt.Errorf("cannot read the count of quotas: %w", err)
	}
	all := accounts{}
	if json.Unmarshal(data, &all) != nil {
		all = accounts{}
	}
	return all, version, nil
}

// Prepare forgets the rules that there are no more: what is pushed meanwhile is not
// counted. It tells whether the storage must be counted for one that there is.
func (l *Ledger) Prepare(ctx context.Context) (count bool, err error) {
	all, _, err := l.read(ctx)
	if err != nil {
		return false, err
	}
	stale := len(all)
	maps.DeleteFunc(all, l.foreign)
	switch stale -= len(all); {
	case stale > 0 && l.Rules.None():
		return false, l.Store.Delete(ctx, object)
	case stale > 0:
		err = l.change(ctx, func(all accounts) error {
			maps.DeleteFunc(all, l.foreign)
			return nil
		})
	}
	return slices.ContainsFunc(l.Rules.list, func(c compiled) bool { return !all[c.key()].Counted }), err
}

func (l *Ledger) foreign(key string, _ account) bool { return !l.Rules.has(key) }

// Usage is what the repositories of a rule take.
type Usage struct {
	Repositories []string `json:"repositories"`
	Size         int64    `json:"size"`    // bytes
	Used         int64    `json:"used"`    // bytes, at most
	Counted      bool     `json:"counted"` // whether what was there before the rule is among them
}

// Name names the rule by its patterns.
func (u Usage) Name() string { return Rule{Repositories: u.Repositories}.String() }

// String is the usage for people.
func (u Usage) String() string {
	text := fmt.Sprintf("%s of %s used", progress.Size(u.Used), progress.Size(u.Size))
	if !u.Counted {
		text += ", and what was there before the quota is still to be counted"
	}
	return text
}

// Usage is that of all rules, in their order.
func (l *Ledger) Usage(ctx context.Context) ([]Usage, error) {
	all, _, err := l.read(ctx)
	if err != nil {
		return nil, err
	}
	list := []Usage{}
	for _, r := range l.Rules.list {
		a := all[r.key()]
		list = append(list, Usage{r.Repositories, r.Size, max(a.used(), 0), a.Counted})
	}
	return list, nil
}

// Recount makes what was put into a storage by another way than a push be counted. Until
// then it may be missing.
func (l *Ledger) Recount(ctx context.Context) error {
	if l.Rules.None() {
		return nil
	}
	return l.change(ctx, func(all accounts) error {
		for key, a := range all {
			a.Counted = false
			all[key] = a
		}
		return nil
	})
}
