package progress

import (
	"context"
	"fmt"
	"io"
	"sync"
	"time"
)

// How often a line goes to a terminal and to a log.
const (
	onTerminal = time.Second
	inLog      = 10 * time.Second
)

// window is how far back the rate is measured.
const window = 20 * time.Second

// Output is where progress and messages go together. On a terminal the line of progress
// is overwritten, and messages stand above it.
type Output struct {
	w     io.Writer
	width int
	mu    sync.Mutex
	shown bool // a line of progress is there
}

// NewOutput writes to w: a terminal of width columns, or with 0 a log.
func NewOutput(w io.Writer, width int) *Output {
	return &Output{w: w, width: width}
}

// Println writes a message.
func (o *Output) Println(text string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.clear()
	fmt.Fprintln(o.w, text)
}

// Show writes a line with the state of m every few seconds, until stop is called. stop
// removes the last one from a terminal.
func (o *Output) Show(m *Meter) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		every := inLog
		if o.width > 0 {
			every = onTerminal
		}
		ticker := time.NewTicker(every)
		defer ticker.Stop()
		var r rate
		for {
			select {
			case <-ctx.Done():
				return
			case now := <-ticker.C:
				o.progress(m.line(r.at(now, m)))
			}
		}
	}()
	return func() {
		cancel()
		<-done
		o.mu.Lock()
		defer o.mu.Unlock()
		o.clear()
	}
}

func (o *Output) progress(line string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.width == 0 {
		fmt.Fprintln(o.w, line)
		return
	}
	o.clear()
	fmt.Fprint(o.w, line[:min(len(line), o.width-1)]) // a longer one could not be cleared
	o.shown = true
}

// clear removes the line of progress.
func (o *Output) clear() {
	if o.shown {
		fmt.Fprint(o.w, "\r\x1b[K")
		o.shown = false
	}
}

// rate is the speed over the window.
type rate struct {
	phase  string
	points []point
}

type point struct {
	at    time.Time
	bytes int64
}

// at is the rate in bytes a second at now.
func (r *rate) at(now time.Time, m *Meter) float64 {
	if phase := m.Phase(); phase != r.phase {
		r.phase, r.points = phase, nil
	}
	r.points = append(r.points, point{now, m.Moved.Load()})
	for len(r.points) > 2 && now.Sub(r.points[0].at) > window {
		r.points = r.points[1:]
	}
	first, last := r.points[0], r.points[len(r.points)-1]
	if seconds := last.at.Sub(first.at).Seconds(); seconds > 0 {
		return float64(last.bytes-first.bytes) / seconds
	}
	return 0
}
