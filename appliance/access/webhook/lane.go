package webhook

import (
	"bytes"
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redoubt-registry/redoubt/appliance/access/audit"
	"github.com/redoubt-registry/redoubt/appliance/spool"
)

// Endpoint is who is told, as the configuration has it.
type Endpoint struct {
	Name          string   `json:"name"`
	URL           string   `json:"url"`
	Format        Format   `json:"format"`
	Secret        string   `json:"secret"`
	Authorization string   `json:"authorization"`
	Repositories  []string `json:"repositories"`
	Actions       []string `json:"actions"`
	CAs           string   `json:"cas"`   // PEM; empty: those of the system
	Spool         string   `json:"spool"` // the directory
	Limit         int64    `json:"limit"` // of the spool, in bytes
}

// refusedPatience is how long an event is sent again that the endpoint refuses: then the
// ones behind it get their turn.
const refusedPatience = 10 * time.Minute

// Lane is the way of events to one endpoint: through a spool of its own, so that none waits
// for another one.
type Lane struct {
	Courier *spool.Courier

	spool    *spool.Spool
	client   *Client
	filter   Filter
	most     int
	patience time.Duration

	refused []byte    // the line that the endpoint refuses
	since   time.Time // when it did so first

	lost   atomic.Uint64
	mu     sync.Mutex
	err    error     // why the last event is not in the spool; nil if it is
	lostAt time.Time // the last of those that are lost
}

// Open opens the lane of an endpoint. Nothing is delivered before Courier runs.
func Open(e Endpoint) (*Lane, error) {
	kept, err := spool.Open(e.Spool, e.Limit)
	if err != nil {
		return nil, err
	}
	l := &Lane{
		spool: kept, filter: NewFilter(e.Repositories, e.Actions), most: e.Format.Most(), patience: refusedPatience,
		client: &Client{URL: e.URL, Secret: e.Secret, Authorization: e.Authorization, Format: e.Format, HTTP: NewHTTP(e.URL, []byte(e.CAs)), Now: time.Now},
	}
	l.Courier = &spool.Courier{Spool: kept, Most: l.most, Send: l.send, Least: time.Second, Longest: time.Minute}
	return l, nil
}

// Wants says whether the endpoint is told of an event of the audit log.
func (l *Lane) Wants(e audit.Event) bool { return l.filter.Wants(e.Action, e.Repository) }

// put keeps whole lines until they are delivered. What there is no room for is lost, and
// counted.
func (l *Lane) put(lines []byte) {
	err := l.spool.Append(lines)
	if err != nil {
		l.lose(uint64(bytes.Count(lines, []byte("\n"))))
	}
	if errors.Is(err, spool.ErrFull) {
		err = nil // Lost says so
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.err = err
}

func (l *Lane) lose(n uint64) {
	l.lost.Add(n)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lostAt = time.Now()
}

// Lost is how many events the endpoint was not told of and will not be.
func (l *Lane) Lost() uint64 { return l.lost.Load() }

// Problems are what people must know of the lane, beside that Courier fails. A loss is told
// for an hour. name is what the lane is called there.
func (l *Lane) Problems(name string) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var problems []string
	if l.err != nil {
		problems = append(problems, name+": "+l.err.Error())
	}
	if !l.lostAt.IsZero() && time.Since(l.lostAt) < time.Hour {
		problems = append(problems, name+": events were lost: the spool was full, or the endpoint refuses them")
	}
	return problems
}

// Spool is what waits.
func (l *Lane) Spool() *spool.Spool { return l.spool }

// send is the courier's. What an endpoint refuses is found by sending one at a time, and
// is lost after a while: it must not be in the way of all others for ever.
func (l *Lane) send(ctx context.Context, lines [][]byte) error {
	err := l.client.Send(ctx, lines)
	answer, ok := errors.AsType[Answer](err)
	switch {
	case err == nil:
		l.refused = nil
		l.Courier.Most = min(2*l.Courier.Most, l.most)
		return nil
	case !ok || !answer.refuses():
		return err
	case len(lines) > 1:
		l.Courier.Most = 1
		return err
	}
	now := l.client.Now()
	if !bytes.Equal(l.refused, lines[0]) {
		l.refused, l.since = bytes.Clone(lines[0]), now
	}
	if now.Sub(l.since) < l.patience {
		return err
	}
	l.lose(1)
	l.refused = nil
	return nil
}
