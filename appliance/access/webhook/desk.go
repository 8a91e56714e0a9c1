package webhook

import (
	"encoding/json"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redoubt-registry/redoubt/appliance/access/audit"
)

const (
	// queued is how many events wait for their spools before more are lost.
	queued = 8192
	// patienceKept is the longest that a request waits until its event is in the spools.
	patienceKept = 250 * time.Millisecond
)

// Desk takes events of requests and puts them into the lanes of the endpoints that are told
// of them. A request costs it no more than a place in a queue, however slow a disk is.
type Desk struct {
	queue chan entry
	lanes atomic.Pointer[[]*Lane]
	done  chan struct{}
	once  sync.Once

	mu sync.Mutex // held while lanes are written to, or changed
}

type entry struct {
	event   audit.Event
	request Request
	kept    chan struct{}
	end     bool // of the desk
}

// NewDesk makes a desk without lanes, and starts it.
func NewDesk() *Desk {
	d := &Desk{queue: make(chan entry, queued), done: make(chan struct{})}
	d.lanes.Store(&[]*Lane{})
	go d.run()
	return d
}

// Change makes the lanes those that f returns. While f runs events wait, and no lane is
// written to.
func (d *Desk) Change(f func() []*Lane) {
	d.mu.Lock()
	defer d.mu.Unlock()
	lanes := f()
	d.lanes.Store(&lanes)
}

// Kept is an event on its way into spools.
type Kept <-chan struct{}

// Wait returns when the event is in the spools, which a process that is killed leaves
// behind, and after a quarter of a second at most.
func (k Kept) Wait() {
	if k == nil {
		return
	}
	timer := time.NewTimer(patienceKept)
	defer timer.Stop()
	select {
	case <-k:
	case <-timer.C:
	}
}

// Put takes an event; request is asked for the rest only if somebody is told of it.
func (d *Desk) Put(e audit.Event, request func() Request) Kept {
	if !tells(e) {
		return nil
	}
	var wanted []*Lane
	for _, l := range *d.lanes.Load() {
		if l.Wants(e) {
			wanted = append(wanted, l)
		}
	}
	if len(wanted) == 0 {
		return nil
	}
	kept := make(chan struct{})
	select {
	case d.queue <- entry{event: e, request: request(), kept: kept}:
		return kept
	default:
	}
	for _, l := range wanted {
		l.lose(1)
	}
	return nil
}

// Close returns when the spools have all. Nothing is taken after it.
func (d *Desk) Close() {
	d.once.Do(func() {
		d.queue <- entry{end: true}
		<-d.done
	})
}

func (d *Desk) run() {
	defer close(d.done)
	for e := range d.queue {
		if e.end {
			return
		}
		d.write(e)
		close(e.kept)
	}
}

func (d *Desk) write(e entry) {
	var lines []byte
	for _, n := range From(e.event, e.request) {
		line, err := json.Marshal(n)
		if err != nil {
			panic(err) // of strings, numbers and a time after year 9999
		}
		lines = append(append(lines, line...), '\n')
	}
	if len(lines) == 0 {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, l := range *d.lanes.Load() {
		if l.Wants(e.event) {
			l.put(lines)
		}
	}
}
