package logs

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sirupsen/logrus"
)

const (
	// refusalsTold is how many refusals of strangers are logged one by one in each
	// refusalsPause: enough to see why a login fails, too few to fill the journal.
	refusalsTold  = 30
	refusalsPause = time.Minute
	// refusalsRemotes bounds the addresses that are counted apart.
	refusalsRemotes = 256
)

// refusals counts the requests of strangers that were refused, and tells of them
// in one line for each pause.
type refusals struct {
	log   *logrus.Logger
	told  int
	pause time.Duration

	mu       sync.Mutex
	began    time.Time
	single   int // logged one by one since began
	statuses map[int]int
	remotes  map[string]int
	pending  bool // a summary will be written
}

func newRefusals(log *logrus.Logger, told int, pause time.Duration) *refusals {
	return &refusals{log: log, told: told, pause: pause, statuses: map[int]int{}, remotes: map[string]int{}}
}

// count notes a refusal. It returns false for one that is to be logged by itself.
func (c *refusals) count(remote string, status int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now := time.Now(); now.Sub(c.began) >= c.pause {
		c.began, c.single = now, 0
	}
	if c.single < c.told {
		c.single++
		return false
	}
	c.statuses[status]++
	if _, known := c.remotes[remote]; known || len(c.remotes) < refusalsRemotes {
		c.remotes[remote]++
	}
	if !c.pending {
		c.pending = true
		time.AfterFunc(c.pause, c.tell)
	}
	return true
}

// tell writes the summary.
func (c *refusals) tell() {
	c.mu.Lock()
	defer c.mu.Unlock()
	var statuses []string
	all := 0
	for status, n := range c.statuses {
		all += n
		statuses = append(statuses, fmt.Sprintf("%d of status %d", n, status))
	}
	slices.Sort(statuses)
	most, from := 0, ""
	for remote, n := range c.remotes {
		if n > most || n == most && remote < from {
			most, from = n, remote
		}
	}
	c.log.Infof("refused requests without a login, not logged one by one: %d in %v (%s); %d of them from %s",
		all, c.pause, strings.Join(statuses, ", "), most, from)
	clear(c.statuses)
	clear(c.remotes)
	c.pending = false
}
