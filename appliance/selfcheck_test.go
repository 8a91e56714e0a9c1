package appliance

import (
	"context"
	"errors"
	"testing"
	"time"
)

func TestRunIsParallelAndKeepsTheOrder(t *testing.T) {
	// Each probe waits for the other: one after the other would never end.
	a, b := make(chan bool), make(chan bool)
	results := runChecks(t.Context(), time.Minute,
		func(context.Context) error { close(a); <-b; return nil },
		func(context.Context) error { close(b); <-a; return errors.New("sick") },
	)
	if len(results) != 2 || results[0].err != nil || results[1].err == nil || results[1].err.Error() != "sick" {
		t.Errorf("got %+v", results)
	}
}

func TestRunDoesNotWaitForADeafProbe(t *testing.T) {
	release := make(chan bool)
	defer close(release)
	results := runChecks(t.Context(), 10*time.Millisecond,
		func(context.Context) error { <-release; return nil },
		func(context.Context) error { return nil },
	)
	if results[0].err == nil || results[0].err.Error() != "no answer within 10ms" || results[0].latency <= 0 {
		t.Errorf("got %+v", results[0])
	}
	if results[1].err != nil {
		t.Errorf("got %+v", results[1])
	}
}

func TestAPanicIsAFailedCheck(t *testing.T) {
	results := runChecks(t.Context(), time.Minute, func(context.Context) error { panic("oh") })
	if err := results[0].err; err == nil || err.Error() != "the check itself failed: oh" {
		t.Errorf("got %v", err)
	}
}
