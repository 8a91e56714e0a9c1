// Package health turns the results of checks into a grade, and runs several checks at
// once in a bounded time.
package health

import (
	"context"
	"fmt"
	"time"
)

// Check returns nil for good health. It should end when ctx does; if it does not, it is
// abandoned and counts as failed.
type Check func(ctx context.Context) error

// Result is the result of one Check.
type Result struct {
	Err     error // nil for good health
	Latency time.Duration
}

// Run makes all checks in parallel, each for timeout at most. The results are in the order
// of the checks.
func Run(ctx context.Context, timeout time.Duration, checks ...Check) []Result {
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("no answer within %v", timeout))
	defer cancel()
	results := make([]chan Result, len(checks))
	start := time.Now()
	for i, c := range checks {
		results[i] = make(chan Result, 1)
		go func() { results[i] <- probe(ctx, c) }()
	}
	all := make([]Result, len(checks))
	for i := range checks {
		select {
		case all[i] = <-results[i]:
		case <-ctx.Done():
			all[i] = late(ctx, results[i], time.Since(start))
		}
	}
	return all
}

// late prefers a result that came at the moment of the timeout.
func late(ctx context.Context, result <-chan Result, took time.Duration) Result {
	select {
	case r := <-result:
		return r
	default:
		return Result{Err: context.Cause(ctx), Latency: took}
	}
}

func probe(ctx context.Context, c Check) (r Result) {
	start := time.Now()
	defer func() {
		if p := recover(); p != nil {
			r.Err = fmt.Errorf("the check itself failed: %v", p)
		}
		r.Latency = time.Since(start)
	}()
	r.Err = c(ctx)
	return r
}
