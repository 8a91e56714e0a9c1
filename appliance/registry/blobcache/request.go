package blobcache

import (
	"context"
	"sync/atomic"
	"time"
)

// request is what one request has in common: how long it has waited for Redis,
// and the epoch in which it began.
type request struct {
	spent atomic.Int64 // nanoseconds
	epoch string
	known bool // the epoch is
}

type requestKey struct{}

// Request begins a request. Its context goes to the registry.
func (c *Cache) Request(ctx context.Context) context.Context {
	r := new(request)
	r.epoch, r.known = c.word()
	return context.WithValue(ctx, requestKey{}, r)
}

// requestOf is the request that ctx belongs to, or nil.
func requestOf(ctx context.Context) *request {
	r, _ := ctx.Value(requestKey{}).(*request)
	return r
}

// left is what is left of the budget.
func (r *request) left(budget time.Duration) time.Duration {
	if r == nil {
		return budget
	}
	return budget - time.Duration(r.spent.Load())
}

func (r *request) spend(d time.Duration) {
	if r != nil {
		r.spent.Add(int64(d))
	}
}
