package health_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/redoubt-registry/redoubt/appliance/storage/health"
)

func TestRunIsParallelAndKeepsTheOrder(t *testing.T) {
	// Each probe waits for the other: one after the other would never end.
	a, b := make(chan bool), make(chan bool)
	report := health.Run(t.Context(), time.Minute,
		health.Check{Name: "a", Probe: func(context.Context) error { close(a); <-b; return nil }},
		health.Check{Name: "b", Probe: func(context.Context) error { close(b); <-a; return errors.New("sick") }},
	)
	if len(report) != 2 || report[0].Name != "a" || report[0].Err != nil || report[1].Name != "b" {
		t.Errorf("got %+v", report)
	}
	if err := report.Err(); err == nil || err.Error() != "b: sick" {
		t.Errorf("got %v", err)
	}
}

func TestRunDoesNotWaitForADeafProbe(t *testing.T) {
	release := make(chan bool)
	defer close(release)
	report := health.Run(t.Context(), 10*time.Millisecond,
		health.Check{Name: "deaf", Probe: func(context.Context) error { <-release; return nil }},
		health.Check{Name: "quick", Probe: func(context.Context) error { return nil }},
	)
	if report[0].Err == nil || report[0].Err.Error() != "no answer within 10ms" || report[0].Latency <= 0 {
		t.Errorf("got %+v", report[0])
	}
	if report[1].Err != nil {
		t.Errorf("got %+v", report[1])
	}
}

func TestAPanicIsAFailedCheck(t *testing.T) {
	report := health.Run(t.Context(), time.Minute, health.Check{Name: "p", Probe: func(context.Context) error { panic("oh") }})
	if err := report.Err(); err == nil || !strings.Contains(err.Error(), "p: the check itself failed: oh") {
		t.Errorf("got %v", err)
	}
	if !strings.Contains(report.String(), "p (") {
		t.Errorf("got %q", report.String())
	}
}
