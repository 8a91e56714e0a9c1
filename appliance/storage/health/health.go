// Package health turns the results of checks into a grade, and runs several checks at
// once in a bounded time.
package health

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

// Check is one check with a name.
type Check struct {
	Name string
	// Probe returns nil for good health. It should end when ctx does; if it does
	// not, it is abandoned and counts as failed.
	Probe func(ctx context.Context) error
}

// Result is the result of one Check.
type Result struct {
	Name    string
	Err     error // nil for good health
	Latency time.Duration
}

// Report holds the results in the order of the checks.
type Report []Result

// Run probes all checks in parallel, each for timeout at most.
func Run(ctx context.Context, timeout time.Duration, checks ...Check) Report {
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("no answer within %v", timeout))
	defer cancel()
	results := make([]chan Result, len(checks))
	start := time.Now()
	for i, c := range checks {
		results[i] = make(chan Result, 1)
		go func() { results[i] <- probe(ctx, c) }()
	}
	report := make(Report, len(checks))
	for i, c := range checks {
		select {
		case report[i] = <-results[i]:
		case <-ctx.Done():
			report[i] = late(ctx, c, results[i], time.Since(start))
		}
	}
	return report
}

// late prefers a result that came at the moment of the timeout.
func late(ctx context.Context, c Check, result <-chan Result, took time.Duration) Result {
	select {
	case r := <-result:
		return r
	default:
		return Result{Name: c.Name, Err: context.Cause(ctx), Latency: took}
	}
}

func probe(ctx context.Context, c Check) (r Result) {
	r.Name = c.Name
	start := time.Now()
	defer func() {
		if p := recover(); p != nil {
			r.Err = fmt.Errorf("the check itself failed: %v", p)
		}
		r.Latency = time.Since(start)
	}()
	r.Err = c.Probe(ctx)
	return r
}

// Err is nil if every check passed. Otherwise it names each one that did not.
func (r Report) Err() error {
	var errs []error
	for _, result := range r {
		if result.Err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", result.Name, result.Err))
		}
	}
	return errors.Join(errs...)
}

// String has one line for each check.
func (r Report) String() string {
	var b strings.Builder
	for _, result := range r {
		word := "ok"
		if result.Err != nil {
			word = result.Err.Error()
		}
		fmt.Fprintf(&b, "%s (%v): %s\n", result.Name, result.Latency.Round(time.Millisecond), word)
	}
	return b.String()
}
