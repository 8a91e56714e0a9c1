package storagecheck

import (
	"context"
	"testing"
	"time"

	"github.com/redoubt-registry/redoubt/appliance/storage/health"
)

func TestPace(t *testing.T) {
	t.Parallel()
	for took, want := range map[time.Duration]int{-1: 1, 0: 1, 40 * time.Millisecond: 1, usual: 1, 2 * usual: 2, time.Hour: slowest} {
		if got := pace(took); got != want {
			t.Errorf("%s: %d, want %d", took, got, want)
		}
	}
	if first := age(); first <= 0 || first > time.Hour {
		t.Errorf("this process has run for %s", first)
	}
}

// limits notes how long an operation may take.
type limits struct{ operation, all time.Duration }

func (*limits) String() string { return "limits" }

func (p *limits) look(ctx context.Context, l *looker, _ map[string]health.Operation) {
	left := func(ctx context.Context) time.Duration {
		until, _ := ctx.Deadline()
		return time.Until(until)
	}
	p.all = left(ctx)
	_ = l.try(ctx, attempt{name: "put", timeout: quick}, func(ctx context.Context) error {
		p.operation = left(ctx)
		return nil
	})
}

// On a host that is slow a check may take longer.
func TestLimitsFollowThePace(t *testing.T) {
	t.Parallel()
	var place limits
	probe(t.Context(), &place, health.Look{}, true, 1)
	if place.operation > quick || place.all > whole {
		t.Errorf("usually %s of %s", place.operation, place.all)
	}
	probe(t.Context(), &place, health.Look{}, true, slowest)
	if place.operation <= quick || place.all <= whole {
		t.Errorf("on a slow host %s of %s", place.operation, place.all)
	}
}
