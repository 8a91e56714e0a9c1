// Package storagecheck looks at the place where images lie, a directory or a bucket, by
// doing there what a registry does: it says what works, how long it takes and what
// to mend. What many looks come to is judged in package health.
package storagecheck

import (
	"context"
	"sync"
	"time"

	"github.com/redoubt-registry/redoubt/appliance/storage/health"
)

// Place is where images lie.
type Place interface {
	// String names the place for people. It has no secret.
	String() string
	// look tries the operations. before has what earlier looks found, by name of
	// the operation: what is dear to try need not be tried at each look.
	look(ctx context.Context, l *looker, before map[string]health.Operation)
}

// The bounds of a look. Nothing is waited for longer than ten seconds in all.
const (
	quick   = 2 * time.Second
	patient = 5 * time.Second
	grace   = 100 * time.Millisecond
	whole   = 10 * time.Second
)

// Probe looks at place once. all tries each operation; otherwise those of before that
// went well not long ago are taken over. What fails is in the look, not an error.
func Probe(ctx context.Context, place Place, before health.Look, all bool) health.Look {
	l := &looker{}
	known := map[string]health.Operation{}
	if before.Storage == place.String() && !all {
		for _, o := range before.Operations {
			known[o.Name] = o
		}
	}
	ctx, cancel := context.WithTimeout(ctx, whole)
	defer cancel()
	at := time.Now()
	place.look(ctx, l, known)
	return health.Look{Storage: place.String(), At: at, Operations: l.found()}
}

// looker collects what the operations of one look come to.
type looker struct {
	mu         sync.Mutex
	operations []health.Operation
	order      []string
}

// expect sets the order in which the operations are shown.
func (l *looker) expect(names ...string) { l.order = names }

// keep takes over what an earlier look found.
func (l *looker) keep(o health.Operation) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.operations = append(l.operations, o)
}

// fault is an error as people need it.
type fault struct {
	message string // what is wrong and how to mend it
	key     string // of the configuration, if it is the place to mend
	reason  string // a few words for clients
	sure    bool   // the next look would find the same
}

// Reason says in a few words, for clients, why a storage failed them.
func Reason(err error) string {
	if f := (Directory{}).explain(err); f.sure {
		return f.reason
	}
	return explainBucket(err).reason
}

// attempt is one operation to try.
type attempt struct {
	name    string
	timeout time.Duration
	without health.Grade // what the storage is without it
	explain func(error) fault
}

// try runs f, for no longer than the attempt may take. What does not end then is left
// behind and has failed.
func (l *looker) try(ctx context.Context, a attempt, f func(ctx context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, a.timeout)
	defer cancel()
	began := time.Now()
	done := make(chan error, 1)
	go func() { done <- f(ctx) }()
	var err error
	select {
	case err = <-done:
	case <-ctx.Done():
		select {
		case err = <-done: // what heeds ctx says more
		case <-time.After(grace):
			err = ctx.Err()
		}
	}
	took := time.Since(began)
	o := health.Operation{Name: a.name, Seconds: took.Seconds(), At: began.UTC(), Without: a.without}
	if err != nil {
		f := a.explain(err)
		o.Error, o.Key, o.Reason, o.Sure = f.message, f.key, f.reason, f.sure
	}
	l.keep(o)
	return err
}

// found is what was collected, in the expected order.
func (l *looker) found() []health.Operation {
	l.mu.Lock()
	defer l.mu.Unlock()
	var all []health.Operation
	for _, name := range l.order {
		for _, o := range l.operations {
			if o.Name == name {
				all = append(all, o)
			}
		}
	}
	return all
}
