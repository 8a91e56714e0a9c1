package blobcache

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/distribution/distribution/v3/registry/storage/driver"
)

// The machines that share a storage and a Redis also share an epoch: a word in
// the storage, next to the images. A descriptor counts only in the epoch that it
// was cached in. So a machine that cannot tell Redis of a deletion tells the
// storage, and all that is cached is forgotten, now or when Redis is back.
const (
	epochPath = "/redoubt/state/cache-epoch"
	// lease is how long an epoch is believed after it was read: the longest that
	// another machine may go on with what was forgotten without Redis.
	lease = 5 * time.Second
	// renewal is the age at which a request has the epoch read again, beside it.
	renewal = 2 * time.Second
	// epochTimeout bounds a call of the storage.
	epochTimeout = 10 * time.Second
	maxEpoch     = 64
)

var errNoStorage = errors.New("cannot turn the epoch of the cache: it was given no storage")

// epoch is what one process knows of the word in the storage.
type epoch struct {
	storage atomic.Pointer[driver.StorageDriver]
	known   atomic.Pointer[reading]
	asking  atomic.Bool

	mu sync.Mutex // orders what is read and what is written here
	n  int        // counts what was written here
}

// reading is the epoch at a time.
type reading struct {
	word string
	at   time.Time // before the storage was asked
}

// use sets the storage; each configuration has a driver of its own for it.
func (e *epoch) use(d driver.StorageDriver) {
	e.storage.Store(&d)
	e.renew()
}

// current is the epoch, if it is known well enough to believe anything. It sees
// to it that it is known next time.
func (e *epoch) current() (string, bool) {
	r := e.known.Load()
	if r == nil || time.Since(r.at) > renewal {
		e.renew()
	}
	if r == nil || time.Since(r.at) > lease {
		return "", false
	}
	return r.word, true
}

// doubt makes the process ask the storage before it believes anything again.
func (e *epoch) doubt() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.n++ // what is being read now counts for nothing
	e.known.Store(nil)
}

// renew reads the epoch beside the request that finds it old.
func (e *epoch) renew() {
	if e.storage.Load() == nil || !e.asking.CompareAndSwap(false, true) {
		return
	}
	go func() {
		defer e.asking.Store(false)
		ctx, cancel := context.WithTimeout(context.Background(), epochTimeout)
		defer cancel()
		e.read(ctx)
	}()
}

// read asks the storage. Without an answer the lease runs out.
func (e *epoch) read(ctx context.Context) {
	e.mu.Lock()
	n := e.n
	e.mu.Unlock()
	at := time.Now()
	data, err := (*e.storage.Load()).GetContent(ctx, epochPath)
	if errors.As(err, new(driver.PathNotFoundError)) {
		data, err = nil, nil // the first one has no word yet
	}
	if err != nil || len(data) > maxEpoch {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if n == e.n {
		e.known.Store(&reading{string(data), at})
	}
}

// turn begins a new epoch. The others know of it after the lease at the latest.
func (e *epoch) turn(ctx context.Context) error {
	d := e.storage.Load()
	if d == nil {
		return errNoStorage
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), epochTimeout)
	defer cancel()
	r := &reading{rand.Text(), time.Now()}
	err := (*d).PutContent(ctx, epochPath, []byte(r.word))
	e.mu.Lock()
	defer e.mu.Unlock()
	e.n++
	e.known.Store(nil)
	if err != nil { // it may have been written all the same
		return fmt.Errorf("cannot make the other machines forget the descriptor: %w", err)
	}
	e.known.Store(r)
	return nil
}
