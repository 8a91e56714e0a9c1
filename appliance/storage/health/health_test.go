package health_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/redoubt-registry/redoubt/appliance/storage/health"
)

func TestRunIsParallelAndKeepsTheOrder(t *testing.T) {
	// Each probe waits for the other: one after the other would never end.
	a, b := make(chan bool), make(chan bool)
	results := health.Run(t.Context(), time.Minute,
		func(context.Context) error { close(a); <-b; return nil },
		func(context.Context) error { close(b); <-a; return errors.New("sick") },
	)
	if len(results) != 2 || results[0].Err != nil || results[1].Err == nil || results[1].Err.Error() != "sick" {
		t.Errorf("got %+v", results)
	}
}

func TestRunDoesNotWaitForADeafProbe(t *testing.T) {
	release := make(chan bool)
	defer close(release)
	results := health.Run(t.Context(), 10*time.Millisecond,
		func(context.Context) error { <-release; return nil },
		func(context.Context) error { return nil },
	)
	if results[0].Err == nil || results[0].Err.Error() != "no answer within 10ms" || results[0].Latency <= 0 {
		t.Errorf("got %+v", results[0])
	}
	if results[1].Err != nil {
		t.Errorf("got %+v", results[1])
	}
}

func TestAPanicIsAFailedCheck(t *testing.T) {
	results := health.Run(t.Context(), time.Minute, func(context.Context) error { panic("oh") })
	if err := results[0].Err; err == nil || err.Error() != "the check itself failed: oh" {
		t.Errorf("got %v", err)
	}
}
