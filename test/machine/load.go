package machine

import (
	"errors"
	"fmt"
	"net/http"
	"sync"
	"syscall"
	"time"
)

// Load is a crowd of clients that ask for the same thing until they are stopped:
// every other one keeps its connection, as an image client does, and the rest make
// a new one each time.
type Load struct {
	stop chan struct{}
	wg   sync.WaitGroup

	mu    sync.Mutex
	tally Tally
}

// Tally is what became of the requests of a Load.
type Tally struct {
	Requests int
	Failed   int
	Refused  int      // of the failed: nobody listened
	Reasons  []string // of the first failures
	Longest  time.Duration
}

func (t Tally) String() string {
	return fmt.Sprintf("%d requests, %d failed (%d refused), the longest took %v %q", t.Requests, t.Failed, t.Refused, t.Longest, t.Reasons)
}

// StartLoad starts clients that send the requests that request makes, and expect
// status 200.
func StartLoad(tr *http.Transport, clients int, request func() *http.Request) *Load {
	l := &Load{stop: make(chan struct{})}
	for i := range clients {
		tr := tr.Clone()
		tr.DisableKeepAlives = i%2 == 0
		l.wg.Go(func() {
			defer tr.CloseIdleConnections()
			for {
				select {
				case <-l.stop:
					return
				default:
				}
				start := time.Now()
				answer, err := Do(tr, request())
				if err == nil && answer.Status != http.StatusOK {
					err = fmt.Errorf("status %d: %.200s", answer.Status, answer.Body)
				}
				l.count(err, time.Since(start))
			}
		})
	}
	return l
}

func (l *Load) count(err error, took time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.tally.Requests++
	l.tally.Longest = max(l.tally.Longest, took)
	if err == nil {
		return
	}
	l.tally.Failed++
	if errors.Is(err, syscall.ECONNREFUSED) {
		l.tally.Refused++
	}
	if len(l.tally.Reasons) < 5 {
		l.tally.Reasons = append(l.tally.Reasons, err.Error())
	}
}

// Tally returns what has become of the requests so far.
func (l *Load) Tally() Tally {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.tally
}

// Stop waits for the requests under way and returns the final tally.
func (l *Load) Stop() Tally {
	close(l.stop)
	l.wg.Wait()
	return l.Tally()
}

// AwaitRequests waits until n more requests have ended, for a minute at most.
func (l *Load) AwaitRequests(n int) error {
	goal := l.Tally().Requests + n
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if l.Tally().Requests >= goal {
			return nil
		}
	}
	return fmt.Errorf("no %d requests ended within a minute: %v", n, l.Tally())
}
