// Package pulls keeps when images were pulled last, and when robots logged in, at the cost
// of one small write a minute for each machine: below /redoubt/pulls, in a directory for
// each day, each process of a registry writes one file. Who reads takes the latest of all
// of them.
package pulls

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/distribution/distribution/v3/registry/storage/driver"
)

const (
	// Root is the directory of the records.
	Root = "/redoubt/pulls"
	// since has the time from which on pulls are known.
	since = Root + "/since"
	// past has the records of days that are over.
	past = Root + "/past"

	every     = time.Minute      // between two writes
	writeTime = 20 * time.Second // for a write
)

// Recorder records the pulls of one process. Its methods may be called side by side.
type Recorder struct {
	Every time.Duration // between two writes; 0: a minute
	Now   func() time.Time
	// Failed is told what a write fails with. What was to be written waits for the next.
	Failed func(error)

	mu      sync.Mutex
	storage driver.StorageDriver
	file    string // of this process
	day     string // of the last write
	last    map[string]time.Time
	dirty   bool
	waits   bool // for the time to write
	begun   bool // since is there
}

// Use says where to write from now on.
func (r *Recorder) Use(d driver.StorageDriver) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.storage = d
}

// Robot is what the logins of a robot are called here: no repository has such a name.
func Robot(name string) string { return "@" + name }

// Note records a pull now of what is called REPOSITORY:TAG or REPOSITORY@DIGEST, or a login
// of Robot.
func (r *Recorder) Note(names ...string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.Now().UTC()
	if r.last == nil {
		r.last = map[string]time.Time{}
	}
	for _, name := range names {
		r.last[name] = now
	}
	r.dirty = true
	if !r.waits {
		r.waits = true
		pause := r.Every
		if pause == 0 {
			pause = every
		}
		time.AfterFunc(pause, func() {
			if err := r.Flush(); err != nil && r.Failed != nil {
				r.Failed(err)
			}
		})
	}
}

// Flush writes what is not written yet.
func (r *Recorder) Flush() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.waits = false
	if !r.dirty || r.storage == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), writeTime)
	defer cancel()
	now := r.Now().UTC()
	if r.file == "" {
		r.file = rand.Text()
	}
	if today := now.Format(time.DateOnly); r.day != today {
		// Older records are in the files of their days, which nobody writes to any more.
		maps.DeleteFunc(r.last, func(_ string, at time.Time) bool { return now.Sub(at) > 24*time.Hour })
		r.day = today
	}
	if err := r.begin(ctx); err != nil {
		return err
	}
	if err := r.storage.PutContent(ctx, Root+"/"+r.day+"/"+r.file, encode(r.last)); err != nil {
		return fmt.Errorf("cannot keep when images were pulled: %w", err)
	}
	r.dirty = false
	return nil
}

// begin notes from when on pulls are known.
func (r *Recorder) begin(ctx context.Context) error {
	if r.begun {
		return nil
	}
	_, err := r.storage.GetContent(ctx, since)
	if missing(err) {
		err = r.storage.PutContent(ctx, since, []byte(r.Now().UTC().Format(time.RFC3339)))
	}
	if err != nil {
		return fmt.Errorf("cannot keep when images were pulled: %w", err)
	}
	r.begun = true
	return nil
}

// Known is what is known of pulls.
type Known struct {
	Since time.Time // from when on; the time of now where nothing is
	last  map[string]time.Time
}

// Last is when something was pulled last, by the name that Note takes; zero: it is not
// known.
func (k Known) Last(name string) time.Time { return k.last[name] }

// Of makes what is known, for tests of what uses it.
func Of(since time.Time, last map[string]time.Time) Known { return Known{since, last} }

// encode writes records, one on each line.
func encode(last map[string]time.Time) []byte {
	var b bytes.Buffer
	for _, name := range slices.Sorted(maps.Keys(last)) {
		fmt.Fprintf(&b, "%s %s\n", last[name].UTC().Format(time.RFC3339), name)
	}
	return b.Bytes()
}

// merge adds records, of which the latest count. What is no record is left out.
func merge(last map[string]time.Time, data []byte) {
	for scan := bufio.NewScanner(bytes.NewReader(data)); scan.Scan(); {
		at, name, ok := strings.Cut(scan.Text(), " ")
		t, err := time.Parse(time.RFC3339, at)
		if ok && err == nil && t.After(last[name]) {
			last[name] = t
		}
	}
}
