//go:build faults

package faults

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

const (
	clients = 10
	// most is how long a request may wait. A machine that runs all tests at once
	// gets some seconds more.
	most = 30*time.Second + 5*time.Second
	// recovery is by when every client must have pushed what failed, after a fault.
	recovery = 4 * time.Minute
	// rest is how long a client does nothing between two images, at most.
	rest = 6 * time.Second
)

// load is clients that push and pull, each its own images, until they are told
// that it is enough.
type load struct {
	url string

	mu       sync.Mutex
	images   []image           // acknowledged, with their manifest
	blobs    map[string]stored // acknowledged, by repository and digest
	failed   map[string]int    // failures by what they say, shortened
	failures int
	slowest  time.Duration
	slow     string
	wrong    []string
	healed   bool // from here on nothing may fail for long
	pushed   [clients]int
}

// names are what differs between failures that are the same.
var names = regexp.MustCompile(`/v2/[^ ]*/|sha256:[0-9a-f]+|[0-9a-f]{8}-[0-9a-f-]+|client-[0-9.]+|127.0.0.1:[0-9]+`)

type stored struct {
	repository string
	blob       blob
}

func newLoad(url string) *load {
	return &load{url: url, blobs: map[string]stored{}, failed: map[string]int{}}
}

// run is all clients until the end, each with one image more once the fault is over.
func (l *load) run(t *testing.T) {
	var wg sync.WaitGroup
	for n := range clients {
		wg.Go(func() { l.client(t, n) })
	}
	wg.Wait()
}

func (l *load) client(t *testing.T, n int) {
	c, err := newClient(l.url, l.note)
	if err != nil {
		t.Error(err)
		return
	}
	for serial := 0; ; serial++ {
		last := l.over()
		i := newImage(fmt.Sprintf("team/%d", n%3), n, serial)
		l.pushUntilItSucceeds(t, c, i)
		if last {
			return
		}
		l.mu.Lock()
		l.pushed[n]++
		var other image
		if len(l.images) > 0 {
			other = l.images[rand.IntN(len(l.images))]
		}
		l.mu.Unlock()
		if other.tag != "" {
			l.judge("pull", c.pull(other))
		}
		time.Sleep(time.Duration(rand.Int64N(int64(rest))))
	}
}

// pushUntilItSucceeds repeats an image's push as a user does.
func (l *load) pushUntilItSucceeds(t *testing.T, c *client, i image) {
	var healed time.Time
	for {
		err := l.push(c, i)
		l.judge("push", err)
		if err == nil {
			return
		}
		if healed.IsZero() && l.over() {
			healed = time.Now()
		}
		if !healed.IsZero() && time.Since(healed) > recovery {
			t.Errorf("%s after the fault a push still fails: %v", recovery, err)
			return
		}
		time.Sleep(time.Duration(200+rand.IntN(800)) * time.Millisecond)
	}
}

// push pushes an image: its blobs at once, each in another way, then its manifest.
func (l *load) push(c *client, i image) error {
	errs := make([]error, len(i.blobs))
	var wg sync.WaitGroup
	for n, b := range i.blobs {
		wg.Go(func() {
			var err error
			has := false
			if rand.IntN(2) == 0 { // not every client asks first
				has, err = c.has(i.repository, b)
			}
			if err == nil && !has {
				err = c.push(i.repository, b, way((n+i.serial)%3))
			}
			if err == nil {
				l.mu.Lock()
				l.blobs[i.repository+"@"+b.digest] = stored{i.repository, b}
				l.mu.Unlock()
			}
			errs[n] = err
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	if err := c.tag(i); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.images = append(l.images, i)
	return nil
}

// over says whether the fault has ended.
func (l *load) over() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.healed
}

// heal says that the fault has ended: each client ends after its next image.
func (l *load) heal() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.healed = true
}

// warm waits until each client has pushed an image.
func (l *load) warm(t *testing.T) {
	t.Helper()
	for deadline := time.Now().Add(recovery); ; time.Sleep(50 * time.Millisecond) {
		l.mu.Lock()
		least := clients
		for _, n := range l.pushed {
			least = min(least, n)
		}
		l.mu.Unlock()
		if least > 0 {
			return
		}
		if time.Now().After(deadline) {
			l.report(t)
			t.Fatalf("%s without a fault and not every client has pushed an image", recovery)
		}
	}
}

// note keeps the slowest request.
func (l *load) note(request string, took time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if took > l.slowest {
		l.slowest, l.slow = took, request
	}
}

// judge keeps what failed, and how.
func (l *load) judge(what string, err error) {
	if err == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.failures++
	for line := range strings.Lines(err.Error()) {
		l.failed[what+": "+names.ReplaceAllString(strings.TrimSpace(line), "…")]++
	}
	if w := (wrong{}); errors.As(err, &w) {
		l.wrong = append(l.wrong, what+": "+w.text)
	}
}

// report says what happened, and fails for what may not.
func (l *load) report(t *testing.T) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	t.Logf("%d images and %d blobs acknowledged, %d failures, the slowest request took %s: %s",
		len(l.images), len(l.blobs), l.failures, l.slowest.Round(time.Millisecond), l.slow)
	for _, text := range slices.Sorted(maps.Keys(l.failed)) {
		t.Logf("%4d × %s", l.failed[text], text)
	}
	seen := map[string]bool{}
	for _, w := range l.wrong {
		if !seen[w] && len(seen) < 10 {
			t.Error(w)
		}
		seen[w] = true
	}
	if l.slowest > most {
		t.Errorf("a request took %s: %s", l.slowest, l.slow)
	}
}

// verify reads all that was acknowledged from a registry.
func (l *load) verify(t *testing.T, url string) {
	t.Helper()
	c, err := newClient(url, func(string, time.Duration) {})
	if err != nil {
		t.Fatal(err)
	}
	if len(l.images) < 2*clients {
		t.Errorf("only %d images were acknowledged", len(l.images))
	}
	for _, b := range l.blobs {
		if err := c.fetch(b.repository, b.blob); err != nil {
			t.Errorf("an acknowledged blob: %v", err)
		}
	}
	for _, i := range l.images {
		if err := c.manifest(i); err != nil {
			t.Errorf("an acknowledged manifest: %v", err)
		}
	}
}
