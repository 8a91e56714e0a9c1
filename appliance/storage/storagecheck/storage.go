// Package storagecheck checks the storage, a directory or a bucket, by doing what a
// registry does there: it says what works, how long it takes and what to fix. Package
// health turns the results of several checks into a grade.
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
	// look tries the operations. before has the results of earlier checks, by name of
	// the operation: an expensive one need not be tried at each check.
	look(ctx context.Context, l *looker, before map[string]health.Operation)
}

// The time limits of a check: ten seconds in all, and more on a host that is slow.
const (
	quick   = 2 * time.Second
	patient = 5 * time.Second
	grace   = 100 * time.Millisecond
	whole   = 10 * time.Second
)

// Probe checks place once. all tries each operation; otherwise recent good results of
// before are reused. A failure is in the Look, and no error.
func Probe(ctx context.Context, place Place, before health.Look, all bool) health.Look {
	return probe(ctx, place, before, all, 1)
}

// probe is Probe with limits that are pace times longer.
func probe(ctx context.Context, place Place, before health.Look, all bool, pace int) health.Look {
	l := &looker{pace: time.Duration(pace)}
	known := map[string]health.Operation{}
	if before.Storage == place.String() && !all {
		for _, o := range before.Operations {
			known[o.Name] = o
		}
	}
	ctx, cancel := context.WithTimeout(ctx, l.pace*whole)
	defer cancel()
	at := time.Now()
	place.look(ctx, l, known)
	return health.Look{Storage: place.String(), At: at, Operations: l.found()}
}

// looker collects the results of the operations of one check.
type looker struct {
	pace       time.Duration // how many times longer an attempt may take
	mu         sync.Mutex
	operations []health.Operation
	order      []string
}

// expect sets the order in which the operations are shown.
func (l *looker) expect(names ...string) { l.order = names }

// keep reuses the result of an earlier check.
func (l *looker) keep(o health.Operation) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.operations = append(l.operations, o)
}

// fault is an error for the operator.
type fault struct {
	message string // what is wrong and how to fix it
	key     string // of the configuration, if that is what to fix
	reason  string // a few words for clients
	sure    bool   // permanent: the next check would find the same
}

// Reason says in a few words, for clients, why the storage failed.
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
	without health.Grade // the grade while it fails
	explain func(error) fault
}

// try runs f, for no longer than the attempt may take at this pace. An f that does not end in time
// is abandoned and has failed.
func (l *looker) try(ctx context.Context, a attempt, f func(ctx context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, l.pace*a.timeout)
	defer cancel()
	began := time.Now()
	done := make(chan error, 1)
	go func() { done <- f(ctx) }()
	var err error
	select {
	case err = <-done:
	case <-ctx.Done():
		select {
		case err = <-done: // an error of f itself says more
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

// found is the collected results, in the expected order.
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
