package registry

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	storagedriver "github.com/distribution/distribution/v3/registry/storage/driver"

	"github.com/redoubt-registry/redoubt/appliance/registry/links"
	"github.com/redoubt-registry/redoubt/appliance/registry/metrics"
	"github.com/redoubt-registry/redoubt/appliance/registry/space"
	"github.com/redoubt-registry/redoubt/appliance/registry/uses"
	"github.com/redoubt-registry/redoubt/appliance/storage/bucket"
	"github.com/redoubt-registry/redoubt/appliance/storage/quota"
	"github.com/redoubt-registry/redoubt/appliance/storage/sharedstate"
)

const (
	// countGrace is that of redoubt gc by default: what is younger stays, and counts.
	countGrace = 24 * time.Hour
	// countPause is between two counts that pushes ask for.
	countPause = time.Minute
	// countParallel is how many manifests a count reads at a time.
	countParallel = 8
	// usageAge is how old the usage in the metrics may be, and usageTime how long it may
	// take to read.
	usageAge  = 10 * time.Second
	usageTime = 5 * time.Second
)

// quotas are those of a generation.
type quotas struct {
	ledger *quota.Ledger
	wanted chan struct{} // a count

	mu    sync.Mutex
	read  time.Time
	usage []quota.Usage
}

// takeQuotas reads what repositories may take. A cache of another registry takes no
// pushes.
func (g *generation) takeQuotas() error {
	rules, err := quota.Parse(g.config.Auth.Parameters()[quota.Option])
	if err != nil {
		return err
	}
	var store sharedstate.Store
	params := g.config.Storage.Parameters()
	switch kind := g.config.Storage.Type(); kind {
	case "filesystem":
		root, _ := params["rootdirectory"].(string)
		store = sharedstate.Beside(root)
	case "s3", "s3aws":
		b, err := bucket.OpenDefault(params)
		if err != nil {
			return err
		}
		store = sharedstate.InBucket(b)
	default:
		if rules.None() {
			return nil
		}
		return fmt.Errorf("cannot keep %s with storage.%s: it must be filesystem or s3", quota.Option, kind)
	}
	q := &quotas{wanted: make(chan struct{}, 1)}
	q.ledger = &quota.Ledger{Store: store, Rules: rules, Now: time.Now, Uncounted: q.want}
	g.quotas = q
	return nil
}

// keeper keeps quotas; nil: there are none.
func (g *generation) keeper(written *links.Links, used *uses.Index) *space.Keeper {
	if g.quotas == nil || g.quotas.ledger.Rules.None() {
		return nil
	}
	return &space.Keeper{Ledger: g.quotas.ledger, Links: written, Uses: used}
}

// want asks for a count of what is in the storage.
func (q *quotas) want() {
	select {
	case q.wanted <- struct{}{}:
	default:
	}
}

// run counts what is in the storage where that was not done for a rule, until the context
// ends. Pushes do not wait for it.
func (q *quotas) run(ctx context.Context, d storagedriver.StorageDriver, warn func(error)) {
	needed, err := q.ledger.Prepare(ctx)
	for {
		if err == nil && needed {
			err = q.ledger.Count(ctx, d, countGrace, countParallel, func(ctx context.Context) error { return ctx.Err() })
		}
		if err != nil && !errors.Is(err, context.Canceled) {
			warn(err)
			q.want() // again
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(countPause):
		}
		select {
		case <-ctx.Done():
			return
		case <-q.wanted:
			needed, err = q.ledger.Prepare(ctx)
		}
	}
}

// now is what the repositories of each quota take.
func (q *quotas) now() []quota.Usage {
	if q == nil || q.ledger.Rules.None() {
		return nil
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if age := time.Since(q.read); age > usageAge || age < 0 {
		ctx, cancel := context.WithTimeout(context.Background(), usageTime)
		defer cancel()
		if list, err := q.ledger.Usage(ctx); err == nil {
			q.usage = list
		}
		q.read = time.Now()
	}
	return q.usage
}

// quotaSamples are the quotas in force.
func (s *server) quotaSamples() []metrics.Vector {
	of := func(f func(quota.Usage) float64) func() map[string]float64 {
		return func() map[string]float64 {
			g := s.acquire()
			defer g.release()
			values := map[string]float64{}
			for _, u := range g.quotas.now() {
				values[u.Name()] = f(u)
			}
			return values
		}
	}
	return []metrics.Vector{
		{Name: "redoubt_quota_bytes", Help: "What the repositories of a quota may take together.", Label: "repositories", Values: of(func(u quota.Usage) float64 { return float64(u.Size) })},
		{Name: "redoubt_quota_used_bytes", Help: "What the repositories of a quota take: exact after each redoubt gc, never less than what is stored in between.", Label: "repositories", Values: of(func(u quota.Usage) float64 { return float64(u.Used) })},
		{Name: "redoubt_quota_counted", Help: "0 while what is in the storage is still to be counted for a quota.", Label: "repositories", Values: of(func(u quota.Usage) float64 { return number(u.Counted) })},
	}
}
