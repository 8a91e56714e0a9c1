package spool

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

func open(t *testing.T, dir string, limit int64) *Spool {
	t.Helper()
	s, err := Open(dir, limit)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func put(t *testing.T, s *Spool, lines ...string) {
	t.Helper()
	for _, l := range lines {
		if err := s.Append([]byte(l + "\n")); err != nil {
			t.Fatal(err)
		}
	}
}

// take delivers all that waits, n lines at a time.
func take(t *testing.T, s *Spool, n int) (got []string) {
	t.Helper()
	for {
		lines, end, err := s.read(n)
		if err != nil {
			t.Fatal(err)
		}
		if len(lines) == 0 {
			return got
		}
		for _, l := range lines {
			got = append(got, string(l))
		}
		if err := s.commit(end); err != nil {
			t.Fatal(err)
		}
	}
}

// What was not committed is there after the process was killed; what was is not.
func TestASpoolOutlivesItsProcess(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "spool")
	s := open(t, dir, 1<<20) // which is never closed: it was killed
	put(t, s, "a", "b", "c")
	lines, end, err := s.read(2)
	if err != nil || len(lines) != 2 {
		t.Fatal(lines, err)
	}
	if err := s.commit(end); err != nil {
		t.Fatal(err)
	}
	again := open(t, dir, 1<<20)
	put(t, again, "d")
	if got := strings.Join(take(t, again, 10), ""); got != "cd" {
		t.Errorf("got %s, want cd", got)
	}
	if n := again.Waiting(); n != 0 {
		t.Errorf("%d bytes wait", n)
	}
	third := open(t, dir, 1<<20)
	put(t, third, "e")
	if got := strings.Join(take(t, third, 10), ""); got != "e" {
		t.Errorf("got %s, want e", got)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*"+suffix))
	if err != nil || len(files) > 0 {
		t.Errorf("what is delivered stays: %v, %v", files, err)
	}
}

// Half a line of a killed process is none, and blocks nothing.
func TestHalfALine(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, dir, 1<<20)
	put(t, s, "whole")
	s.Close()
	name := filepath.Join(dir, s.name)
	data, err := os.ReadFile(name)
	if err == nil {
		err = os.WriteFile(name, append(data, "hal"...), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	again := open(t, dir, 1<<20)
	put(t, again, "next")
	if got := strings.Join(take(t, again, 10), " "); got != "whole next" {
		t.Errorf("got %q", got)
	}
}

func TestAFullSpool(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir(), 3<<20)
	line := append(bytes.Repeat([]byte("x"), 1023), '\n')
	kept := 0
	for range 4000 {
		switch err := s.Append(line); {
		case err == nil:
			kept++
		case !errors.Is(err, ErrFull):
			t.Fatal(err)
		}
	}
	if kept != 3<<10 || s.Waiting() != 3<<20 {
		t.Errorf("%d lines are kept, %d bytes", kept, s.Waiting())
	}
	if got := len(take(t, s, 100)); got != kept {
		t.Errorf("%d lines are delivered", got)
	}
	if err := s.Append(line); err != nil {
		t.Errorf("after it was emptied: %v", err)
	}
}

// All lines come, in order, whatever fails in between.
func TestACourierTriesAgain(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir(), 1<<20)
	var mu sync.Mutex
	var got []string
	calls, all := 0, make(chan struct{})
	c := &Courier{Spool: s, Most: 7, Least: time.Millisecond, Longest: 5 * time.Millisecond, Send: func(_ context.Context, lines [][]byte) error {
		mu.Lock()
		defer mu.Unlock()
		if calls++; calls%3 != 0 {
			return errors.New("not now")
		}
		for _, l := range lines {
			got = append(got, string(l))
		}
		if len(got) == 100 {
			close(all)
		}
		return nil
	}}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan struct{})
	go func() { defer close(ended); c.Run(ctx) }()
	for i := range 100 {
		put(t, s, fmt.Sprint(i))
	}
	select {
	case <-all:
	case <-time.After(time.Minute):
		t.Fatal("not all lines came")
	}
	cancel()
	<-ended
	for i, l := range got {
		if l != fmt.Sprint(i) {
			t.Fatalf("line %d is %s", i, l)
		}
	}
}

// A problem is told once a day, and again when it is another one.
func TestWorse(t *testing.T) {
	t.Parallel()
	path, told := filepath.Join(t.TempDir(), "state"), filepath.Join(t.TempDir(), "told")
	now := time.Now()
	worse := func(want bool) {
		t.Helper()
		if err := Worse(path, told, now); (err != nil) != want {
			t.Errorf("Worse: %v, want one: %v", err, want)
		}
	}
	write := func(problems ...string) {
		t.Helper()
		if err := WriteState(path, problems); err != nil {
			t.Fatal(err)
		}
	}
	worse(false)
	write()
	worse(false)
	write("one\x1b")
	worse(true)
	worse(false)
	now = now.Add(25 * time.Hour)
	worse(true)
	write("one\x1b", "two")
	worse(true)
	if got := Problem(path); got != "one?; two" {
		t.Errorf("%q", got)
	}
	write()
	worse(false)
	write("two")
	worse(true)
}
