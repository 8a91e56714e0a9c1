package progress

import (
	"bytes"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestLine(t *testing.T) {
	var m Meter
	m.Begin("blobs", 0, 0)
	m.Objects.Store(12)
	if got := m.line(0); got != "blobs: 12" {
		t.Error(got)
	}
	m.Begin("blobs", 200, 4<<30)
	m.Objects.Store(50)
	m.Bytes.Store(1 << 30)
	if got := m.line(0); got != "blobs: 50 of 200, 1 GiB of 4 GiB (25 %)" {
		t.Error(got)
	}
	m.Faults.Store(2)
	if got := m.line(10 << 20); got != "blobs: 50 of 200, 1 GiB of 4 GiB (25 %), 10 MiB/s, 5 min 7 s left, 2 faults" {
		t.Error(got)
	}
	m.Bytes.Store(5 << 30) // some came since they were counted
	if got := m.line(10 << 20); got != "blobs: 50 of 200, 5 GiB of 4 GiB (100 %), 10 MiB/s, 2 faults" {
		t.Error(got)
	}
}

func TestRemaining(t *testing.T) {
	for seconds, want := range map[float64]string{0.5: "1 s", 59: "60 s", 61: "1 min 1 s", 7384: "2 h 3 min", 1e300: "27777 h 46 min"} {
		if got := remaining(seconds); got != want {
			t.Errorf("%v: %q, want %q", seconds, got, want)
		}
	}
}

func TestSize(t *testing.T) {
	for n, want := range map[int64]string{0: "0 B", 1023: "1023 B", 1024: "1 KiB", 1_048_524: "1023.9 KiB", 1_048_525: "1 MiB", 21_495_808: "20.5 MiB", 5 << 60: "5120 PiB"} {
		if got := Size(n); got != want {
			t.Errorf("%d: %q, want %q", n, got, want)
		}
	}
}

func TestParseRate(t *testing.T) {
	for text, want := range map[string]int64{"0": 0, "20MB/s": 20e6, "20MB": 20e6, "1.5GB/s": 15e8, "64MiB/s": 64 << 20, "500kB/s": 5e5, "500KB/s": 5e5, "1024B": 1024} {
		if got, err := ParseRate(text); err != nil || got != want {
			t.Errorf("%s: %d, %v, want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"", "20", "-1MB/s", "20Mb/s", "20 MB/s", "1e9B", "1023B/s", "99999TB/s", "MB/s", "1..5MB/s"} {
		if got, err := ParseRate(text); err == nil {
			t.Errorf("%q is %d", text, got)
		}
	}
}

// The rate is that of the last seconds, and of this phase alone.
func TestRate(t *testing.T) {
	var m Meter
	var r rate
	m.Begin("a", 0, 0)
	now := time.Now()
	for i := range 100 {
		m.Moved.Store(int64(i) * 1000)
		got := r.at(now.Add(time.Duration(i)*time.Second), &m)
		if want := 1000.0; i > 0 && got != want {
			t.Fatalf("after %d s: %v", i, got)
		}
	}
	for i := 100; i < 130; i++ { // nothing more comes
		got := r.at(now.Add(time.Duration(i)*time.Second), &m)
		if i == 129 && got != 0 {
			t.Errorf("%v", got)
		}
	}
	m.Begin("b", 0, 0)
	if got := r.at(now.Add(200*time.Second), &m); got != 0 {
		t.Errorf("another phase begins with %v", got)
	}
}

type locked struct {
	mu sync.Mutex
	bytes.Buffer
}

func (l *locked) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.Buffer.Write(p)
}

func (l *locked) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.Buffer.String()
}

// On a terminal the line is written over, is no longer than the terminal is wide,
// and is gone at the end; messages stay.
func TestTerminal(t *testing.T) {
	var w locked
	o := NewOutput(&w, 20)
	var m Meter
	m.Begin("a long name of a phase", 0, 0)
	stop := o.Show(&m)
	for deadline := time.Now().Add(30 * time.Second); !strings.Contains(w.String(), "a long name"); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("no line of progress")
		}
	}
	o.Println("a message")
	stop()
	if got := w.String(); !strings.HasPrefix(got, "a long name of a ph\r\x1b[K") || !strings.HasSuffix(got, "\r\x1b[Ka message\n") {
		t.Errorf("%q", got)
	}
}

func TestLog(t *testing.T) {
	var w locked
	o := NewOutput(&w, 0)
	o.progress("one")
	o.Println("two")
	o.progress("three")
	o.Show(&Meter{})()
	if got := w.String(); got != "one\ntwo\nthree\n" {
		t.Errorf("%q", got)
	}
}
