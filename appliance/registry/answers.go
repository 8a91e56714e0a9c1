package registry

import (
	"context"
	"errors"
	"maps"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/redoubt-registry/redoubt/appliance/storage/sharedstate"
)

const (
	// answersPause is between two readings of the bucket, whoever asks: anybody
	// can ask for a token that does not exist.
	answersPause = time.Second
	// answersTime is for one reading.
	answersTime = 5 * time.Second
	// answersWait is how long a request waits. A CA waits ten seconds.
	answersWait = 9 * time.Second
	// answersMost is more than one certificate has names.
	answersMost = 500
)

// sharedStore is where several machines keep the answers; state.Bucket is one.
type sharedStore interface {
	Versions(ctx context.Context, limit int) (map[string]string, error)
	Get(ctx context.Context, token string) (data []byte, version string, err error)
}

// answers are those to a CA's challenges that several machines share. All that
// there are, which is a few at most, are read together and remembered, so that
// strangers who ask cost one reading a second and keep no CA waiting.
type answers struct {
	store sharedStore
	warn  func(error)

	mu      sync.Mutex
	known   map[string]sharedAnswer
	began   time.Time // the last reading that has ended
	failure error     // of that
	reading singleflight.Group
}

type sharedAnswer struct {
	data    []byte
	version string
}

// get returns the answer for a token. That there is none is only said after a
// reading that began when it was asked for.
func (a *answers) get(ctx context.Context, token string) ([]byte, error) {
	asked := time.Now()
	ctx, cancel := context.WithTimeout(ctx, answersWait)
	defer cancel()
	for {
		a.mu.Lock()
		have, ok := a.known[token]
		done, failure := a.began.After(asked), a.failure
		var reading <-chan singleflight.Result
		if !ok && !done {
			notBefore := a.began.Add(answersPause)
			reading = a.reading.DoChan("", func() (any, error) {
				a.read(notBefore)
				return nil, nil
			})
		}
		a.mu.Unlock()
		switch {
		case ok:
			return have.data, nil
		case done && failure != nil:
			return nil, failure
		case done:
			return nil, sharedstate.ErrNotFound
		}
		select {
		case <-reading:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// read reads all answers, not before a time. What is known already is not read
// again.
func (a *answers) read(notBefore time.Time) {
	time.Sleep(time.Until(notBefore))
	began := time.Now()
	a.mu.Lock()
	next := maps.Clone(a.known)
	a.mu.Unlock()
	if next == nil {
		next = map[string]sharedAnswer{}
	}
	ctx, cancel := context.WithTimeout(context.Background(), answersTime)
	defer cancel()
	err := a.refresh(ctx, next)
	if err != nil {
		a.warn(err)
	}
	a.mu.Lock()
	a.known, a.began, a.failure = next, began, err
	a.mu.Unlock()
}

func (a *answers) refresh(ctx context.Context, known map[string]sharedAnswer) error {
	versions, err := a.store.Versions(ctx, answersMost)
	if err != nil {
		return err
	}
	maps.DeleteFunc(known, func(token string, have sharedAnswer) bool { return versions[token] != have.version })
	for token, version := range versions {
		if _, ok := known[token]; ok || !challengeToken.MatchString(token) {
			continue
		}
		data, _, err := a.store.Get(ctx, token)
		if errors.Is(err, sharedstate.ErrNotFound) { // removed since
			continue
		}
		if err != nil {
			return err
		}
		known[token] = sharedAnswer{data, version}
	}
	return nil
}
