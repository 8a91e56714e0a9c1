// Package progress shows a person how far a long task is.
package progress

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// Meter counts what a task has done. The task writes it while Show reads it.
type Meter struct {
	Objects      atomic.Int64 // done
	Bytes        atomic.Int64 // done
	Moved        atomic.Int64 // of Bytes, those that were read or written: the rate
	TotalObjects atomic.Int64 // to be done; 0 while it is not known
	TotalBytes   atomic.Int64
	Faults       atomic.Int64

	mu    sync.Mutex
	phase string
}

// Begin starts a phase of the task, with how much there is to do: 0 where that is not
// known.
func (m *Meter) Begin(phase string, objects, bytes int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.phase = phase
	m.Objects.Store(0)
	m.Bytes.Store(0)
	m.Moved.Store(0)
	m.TotalObjects.Store(objects)
	m.TotalBytes.Store(bytes)
}

// Phase is what the task is doing.
func (m *Meter) Phase() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.phase
}

// line is the meter as text; rate is in bytes a second.
func (m *Meter) line(rate float64) string {
	objects, bytes := m.Objects.Load(), m.Bytes.Load()
	allObjects, allBytes := m.TotalObjects.Load(), m.TotalBytes.Load()
	text := m.Phase() + ": " + of(fmt.Sprint(objects), fmt.Sprint(allObjects), allObjects)
	if bytes > 0 || allBytes > 0 {
		text += ", " + of(Size(bytes), Size(allBytes), allBytes)
	}
	if allBytes > 0 {
		text += fmt.Sprintf(" (%d %%)", min(100, bytes*100/allBytes))
	}
	if rate >= 1 {
		text += ", " + Size(int64(rate)) + "/s"
		if left := allBytes - bytes; left > 0 {
			text += ", " + remaining(float64(left)/rate) + " left"
		}
	}
	if n := m.Faults.Load(); n > 0 {
		text += fmt.Sprintf(", %d faults", n)
	}
	return text
}

func of(done, all string, known int64) string {
	if known == 0 {
		return done
	}
	return done + " of " + all
}

// remaining is the time left, rounded.
func remaining(seconds float64) string {
	d := time.Duration(min(seconds, 1e8) * float64(time.Second))
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%d s", int(d.Seconds())+1)
	case d < time.Hour:
		return fmt.Sprintf("%d min %d s", int(d.Minutes()), int(d.Seconds())%60)
	}
	return fmt.Sprintf("%d h %d min", int(d.Hours()), int(d.Minutes())%60)
}
