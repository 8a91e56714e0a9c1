package blobcache

import (
	"context"
	"errors"
	"sync"

	"github.com/redoubt-registry/redoubt/appliance/registry/redis"
)

// maxConns bounds the connections to Redis. One exchange takes a fraction of a
// millisecond on the machine, and a few to another one.
const maxConns = 32

var errNone = errors.New("there is no connection to Redis yet")

// pool holds connections that are ready: open, secured and logged in. That may
// take a hundred milliseconds to a machine far away, so it is done in the
// background, and a request that finds no connection goes without.
type pool struct {
	server *redis.Server
	failed func(error) // there is not one connection, for this reason

	ready  chan *redis.Conn
	ctx    context.Context
	cancel context.CancelFunc
	done   sync.WaitGroup

	mu      sync.Mutex
	size    int // those that are ready or lent
	opening bool
}

func newPool(server *redis.Server, failed func(error)) *pool {
	p := &pool{server: server, failed: failed, ready: make(chan *redis.Conn, maxConns)}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	return p
}

// take lends a connection. If all are lent it waits for one.
func (p *pool) take(ctx context.Context) (*redis.Conn, error) {
	for {
		select {
		case c := <-p.ready:
			if c.Alive() {
				return c, nil
			}
			p.drop(c) // a server closes what was idle for long
			continue
		default:
		}
		if p.grow() == 0 {
			return nil, errNone
		}
		select {
		case c := <-p.ready:
			return c, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (p *pool) give(c *redis.Conn) {
	if p.ctx.Err() != nil {
		p.drop(c)
		return
	}
	p.ready <- c
}

// add takes up a connection that the pool has not opened itself.
func (p *pool) add(c *redis.Conn) {
	p.mu.Lock()
	if p.size == maxConns || p.ctx.Err() != nil {
		p.mu.Unlock()
		_ = c.Close() // it was not used yet
		return
	}
	p.size++
	p.mu.Unlock()
	p.ready <- c
}

func (p *pool) drop(c *redis.Conn) {
	_ = c.Close() // it is of no use
	p.mu.Lock()
	p.size--
	p.mu.Unlock()
}

// empty drops the connections that nobody uses.
func (p *pool) empty() {
	for {
		select {
		case c := <-p.ready:
			p.drop(c)
		default:
			return
		}
	}
}

// grow opens one more connection in the background, and returns how many there
// are now.
func (p *pool) grow() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.opening || p.size == maxConns || p.ctx.Err() != nil {
		return p.size
	}
	p.opening = true
	p.done.Go(func() {
		c, err := p.server.Open(p.ctx)
		p.mu.Lock()
		p.opening = false
		none := p.size == 0
		p.mu.Unlock()
		if err == nil {
			p.add(c)
		} else if none && p.ctx.Err() == nil {
			p.failed(err)
		}
	})
	return p.size
}

func (p *pool) close() {
	p.mu.Lock()
	p.cancel()
	p.mu.Unlock()
	p.done.Wait()
	p.empty()
}
