package sharedstate

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/redoubt-registry/redoubt/appliance/storage/bucket"
)

const (
	// probeRounds and probeRacers make a race that a service fails which compares
	// and then writes, in two steps.
	probeRounds = 4
	probeRacers = 8
	probeAge    = time.Hour // after which the objects of a killed probe are removed
)

// Unconditional is a service without conditional writes, which several machines
// cannot share.
type Unconditional struct{ Why string }

func (u *Unconditional) Error() string {
	return "the bucket's service cannot be shared by several machines: " + u.Why +
		". Each of them would order certificates and overwrite those of the others. " +
		"Use a service with conditional writes (If-Match, If-None-Match), as AWS S3, MinIO and versitygw have them, or set nodes to 1"
}

// Probe finds out whether a bucket's service compares and swaps, with small objects that
// it removes again. If it does not, the error is *Unconditional. Any other error means
// that the service could not be reached. It takes about eighty calls.
func Probe(ctx context.Context, b *bucket.Bucket) error {
	s := Bucket{b, probePrefix}
	if err := s.Sweep(ctx, probeAge); err != nil {
		return err
	}
	return probe(ctx, s)
}

func probe(ctx context.Context, s Store) (err error) {
	p := &prober{store: s, key: "probe-" + rand.Text()}
	defer func() {
		err = errors.Join(err, s.Delete(context.WithoutCancel(ctx), p.key))
	}()
	first, err := s.Put(ctx, p.key, p.data(), "")
	if err != nil {
		return err
	}
	if err := p.refused(ctx, "", "it creates an object that exists already, and ignores If-None-Match"); err != nil {
		return err
	}
	second, err := s.Put(ctx, p.key, p.data(), first)
	if errors.Is(err, ErrConflict) {
		return &Unconditional{"it does not replace an object whose ETag is the one of If-Match"}
	}
	if err != nil {
		return err
	}
	if first == second {
		return &Unconditional{"an object that was replaced keeps its ETag"}
	}
	if err := p.refused(ctx, first, "it replaces an object that has changed, and ignores If-Match"); err != nil {
		return err
	}
	return p.races(ctx, second)
}

// prober is one run of the probe, on one object.
type prober struct {
	store Store
	key   string
}

// data is never the same twice.
func (p *prober) data() []byte { return []byte(rand.Text() + "\n") }

// refused puts on an old version, which must fail.
func (p *prober) refused(ctx context.Context, version, why string) error {
	_, err := p.store.Put(ctx, p.key, p.data(), version)
	switch {
	case errors.Is(err, ErrConflict):
		return nil
	case err == nil:
		return &Unconditional{why}
	}
	return err
}

// races lets several write on one version, and checks that exactly one wins.
func (p *prober) races(ctx context.Context, version string) error {
	for round := range probeRounds {
		if round%2 == 1 { // one race to create, one to replace, and so on
			if err := p.store.Delete(ctx, p.key); err != nil {
				return err
			}
			version = ""
		}
		next, err := p.race(ctx, version)
		if err != nil {
			return err
		}
		version = next
	}
	return nil
}

func (p *prober) race(ctx context.Context, version string) (string, error) {
	var mu sync.Mutex
	var wins []string
	var won string
	var problem error
	var all sync.WaitGroup
	start := make(chan struct{})
	for range probeRacers {
		all.Go(func() {
			data := p.data()
			<-start
			v, err := p.store.Put(ctx, p.key, data, version)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				wins, won = append(wins, v), string(data)
			case !errors.Is(err, ErrConflict):
				problem = err
			}
		})
	}
	close(start)
	all.Wait()
	if len(wins) > 1 {
		return "", &Unconditional{fmt.Sprintf("of %d that write at the same time, %d are told that they succeeded", probeRacers, len(wins))}
	}
	if problem != nil {
		return "", problem
	}
	have, now, err := p.store.Get(ctx, p.key)
	switch {
	case err != nil:
		return "", err
	case len(wins) == 0:
		return "", &Unconditional{"of several that write at the same time, none succeeds"}
	case string(have) != won || now != wins[0]:
		return "", &Unconditional{"an object that it acknowledged is not there"}
	}
	return now, nil
}
