package audit

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redoubt-registry/redoubt/appliance/files"
)

const (
	// queued is how many events wait for the sinks before more are lost.
	queued = 8192
	// batched is the most that is written at once.
	batched = 256
	// patience is the longest that Keep waits for the sinks.
	patience = 250 * time.Millisecond
)

// Sink takes lines for good. Write is called from one goroutine; an error means that the
// lines are lost there.
type Sink interface {
	Write(lines []byte) error
}

// Log hands events to sinks. It never makes a request wait for longer than it says.
type Log struct {
	now      func() time.Time
	queue    chan entry
	failures *failures
	dropped  atomic.Uint64 // and not told yet
	written  atomic.Uint64
	lost     atomic.Uint64

	journal Sink
	mu      sync.Mutex // of sinks
	sinks   []Sink     // beside the journal
	done    chan struct{}
	once    sync.Once
}

type entry struct {
	event Event
	line  []byte        // instead of an event: one that the journal has already
	kept  chan struct{} // nil: nobody waits
	end   bool          // of the log
}

// New makes a log and starts it. journal gets every event of this process.
func New(now func() time.Time, journal Sink) *Log {
	l := &Log{now: now, queue: make(chan entry, queued), journal: journal, done: make(chan struct{})}
	l.failures = newFailures(failuresPause, l.Write)
	go l.run()
	return l
}

// Use replaces the sinks beside the journal, for the events that come after it.
func (l *Log) Use(sinks ...Sink) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sinks = sinks
}

// Write hands e to the sinks and does not wait. What does not fit in memory any more is
// lost, and an event Lost says how many.
func (l *Log) Write(e Event) { l.put(entry{event: e.fill(l.now())}) }

// Keep hands e to the sinks and waits until they have it, for a quarter of a second at
// most: what a client is told has happened is written down then, whatever is killed.
func (l *Log) Keep(e Event) {
	kept := make(chan struct{})
	if !l.put(entry{event: e.fill(l.now()), kept: kept}) {
		return
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-kept:
	case <-timer.C:
	}
}

// Collect hands the events that Note left in the directory inbox to the sinks beside the
// journal, and removes them there. An error is of one that stays.
func (l *Log) Collect(inbox string) error {
	entries, err := os.ReadDir(inbox)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for _, file := range entries {
		if !strings.HasSuffix(file.Name(), inboxSuffix) {
			continue
		}
		path := filepath.Join(inbox, file.Name())
		data, readErr := os.ReadFile(path)
		if readErr == nil && bytes.Count(data, []byte("\n")) == 1 && bytes.HasSuffix(data, []byte("\n")) {
			kept := make(chan struct{})
			if !l.put(entry{line: data, kept: kept}) {
				return err // the next time
			}
			<-kept
		}
		if removeErr := os.Remove(path); removeErr != nil {
			err = errors.Join(err, fmt.Errorf("cannot take up an event: %w", files.Cause(removeErr)))
		}
	}
	return err
}

// Refused is for a login that was refused: the first of an address in each minute is
// written, and how many more there were at its end.
func (l *Log) Refused(e Event) {
	if l.failures.count(e.fill(l.now())) {
		l.Write(e)
	}
}

// Stats are how many events were handed to the sinks, and how many were lost before.
func (l *Log) Stats() (written, lost uint64) { return l.written.Load(), l.lost.Load() }

// Close tells of the refused logins that are counted, and returns when the sinks have all.
// Nothing is written after it.
func (l *Log) Close() {
	l.once.Do(func() {
		l.failures.tell()
		l.queue <- entry{end: true}
		<-l.done
	})
}

func (l *Log) put(e entry) bool {
	select {
	case l.queue <- e:
		return true
	default:
	}
	l.dropped.Add(1)
	l.lost.Add(1)
	return false
}

// run writes what is queued, as much at once as there is.
func (l *Log) run() {
	defer close(l.done)
	for e := range l.queue {
		batch, ended := l.collect(e)
		l.write(batch)
		if ended {
			return
		}
	}
}

func (l *Log) collect(e entry) (batch []entry, ended bool) {
	for {
		if e.end {
			return batch, true
		}
		batch = append(batch, e)
		if len(batch) == batched {
			return batch, false
		}
		select {
		case e = <-l.queue:
		default:
			return batch, false
		}
	}
}

func (l *Log) write(batch []entry) {
	var own, all []byte
	for _, e := range batch {
		line := e.line
		if line == nil {
			line = e.event.line()
			own = append(own, line...)
		}
		all = append(all, line...)
	}
	if n := l.dropped.Swap(0); n > 0 {
		line := LostEvent(n, "they came faster than they could be written", l.now())
		own, all = append(own, line...), append(all, line...)
	}
	if len(own) > 0 {
		_ = l.journal.Write(own) // it writes elsewhere what the journal does not take
	}
	l.mu.Lock()
	sinks := l.sinks
	l.mu.Unlock()
	for _, s := range sinks {
		_ = s.Write(all) // a sink says of itself that it fails
	}
	l.written.Add(uint64(len(batch)))
	for _, e := range batch {
		if e.kept != nil {
			close(e.kept)
		}
	}
}

// LostEvent is the line that says that n events were lost.
func LostEvent(n uint64, why string, now time.Time) []byte {
	return Event{Action: Lost, Result: Failed, Count: int(min(n, 1<<40)), Detail: fmt.Sprintf("%d events were lost: %s", n, why)}.fill(now).line()
}
