package bucket

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"
)

const (
	attempts = 12
	// lastStart is how long after the first attempt another one may begin; each
	// ends by itself within answerTimeout or stallTimeout.
	lastStart = 10 * time.Second
	callLimit = 20 * time.Second // of a call without a large body
	// workLimit is of a call that the store has work with, as long as it shows
	// in between that it is alive.
	workLimit  = 10 * time.Minute
	workPause  = 8 * time.Second // before it is asked, and between
	pulseLimit = 5 * time.Second // of its answer
	firstPause = 30 * time.Millisecond
	mostPause  = 2 * time.Second

	// While the store has just been found not to answer, a call waits less: one
	// request of a client is several calls.
	downFor       = 10 * time.Second
	downLastStart = 1 * time.Second
	downCallLimit = 4 * time.Second
	downWorkPause = 2 * time.Second
)

// patience knows whether the store answered last time.
type patience struct{ down atomic.Int64 } // until when, unix nanoseconds

func (p *patience) impatient() bool { return time.Now().UnixNano() < p.down.Load() }

func (p *patience) note(err error) {
	switch {
	case err == nil:
		p.down.Store(0)
	case kindOf(err) == ErrUnavailable:
		p.down.Store(time.Now().Add(downFor).UnixNano())
	}
}

// do calls f until it succeeds, fails for good or the time is up. f is told
// how many attempts there were before, to know its own lost answers.
func (b *Bucket) do(ctx context.Context, op, key string, f func(ctx context.Context, before int) error) error {
	limit := callLimit
	if b.patience.impatient() {
		limit = downCallLimit
	}
	bounded, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	return b.attempt(bounded, ctx, false, op, key, f)
}

// doWork is do for what the store may have minutes of work with. It is asked for
// a sign of life meanwhile: no answer ends the call.
func (b *Bucket) doWork(ctx context.Context, op, key string, f func(ctx context.Context, before int) error) error {
	bounded, cancel := context.WithTimeout(ctx, workLimit)
	defer cancel()
	watched, stop := context.WithCancelCause(bounded)
	defer stop(nil)
	go b.watch(watched, stop)
	return b.attempt(watched, ctx, true, op, key, f)
}

// watch ends a call when the store shows no sign of life.
func (b *Bucket) watch(ctx context.Context, stop context.CancelCauseFunc) {
	wait := workPause
	if b.patience.impatient() {
		wait = downWorkPause
	}
	for sleep(ctx, wait) {
		pulse, cancel := context.WithTimeout(ctx, pulseLimit)
		_, err := b.client.HeadBucket(pulse, &s3.HeadBucketInput{Bucket: b.bucket()})
		cancel()
		if err != nil && status(err) == 0 {
			stop(errStalled)
			return
		}
		wait = workPause
	}
}

// doOpen is do without a limit on one attempt, for bodies that take their time:
// those are cut when they stall.
func (b *Bucket) doOpen(ctx context.Context, op, key string, f func(ctx context.Context, before int) error) error {
	return b.attempt(ctx, ctx, false, op, key, f)
}

// attempt calls f again and again. given is the caller's context, whose end is
// nothing that the store is blamed for.
func (b *Bucket) attempt(ctx, given context.Context, work bool, op, key string, f func(ctx context.Context, before int) error) error {
	until := time.Now().Add(lastStart)
	if b.patience.impatient() {
		until = time.Now().Add(downLastStart)
	}
	var err error
	for before := range attempts {
		began, last := time.Now(), err
		if err = f(ctx, before); err == nil {
			break
		}
		if last != nil && errors.Is(given.Err(), context.DeadlineExceeded) { // says more than that the time is up
			err = last
			break
		}
		if given.Err() != nil {
			return &Error{Op: op, Key: key, Err: given.Err()}
		}
		if cause := context.Cause(ctx); cause != nil {
			err = fmt.Errorf("%w: %w", cause, err)
			break
		}
		if !again(err, before) {
			break
		}
		wait := pause(before)
		if work && time.Since(began) > lastStart { // its answer may be lost: look
			until = time.Now().Add(2 * wait)
		}
		if time.Now().Add(wait).After(until) || !sleep(ctx, wait) {
			break
		}
	}
	if err == nil {
		b.patience.note(nil)
		return nil
	}
	b.patience.note(err)
	var have *Error
	if errors.As(err, &have) {
		return err
	}
	return &Error{Op: op, Key: key, Err: err, kind: kindOf(err)}
}

// again tells whether another attempt may help. The next one reads the credentials and the
// clock's offset again.
func again(err error, before int) bool {
	switch code(err) {
	case "ConditionalRequestConflict": // 409: two writers at the same moment
		return true
	case "BadDigest", "XAmzContentChecksumMismatch", "InvalidDigest": // changed on its way
		return before < 2
	case "ExistingObjectIsDirectory":
		// A store on a file system, versitygw: so it answers too while the deletion of
		// a neighbour takes an empty directory away.
		return before < 5
	}
	return kindOf(err) == ErrUnavailable && explainTrust(err) == nil && !nowhere(err)
}

func pause(before int) time.Duration {
	most := min(firstPause<<min(before, 10), mostPause)
	return most/2 + rand.N(most/2+1)
}

func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
