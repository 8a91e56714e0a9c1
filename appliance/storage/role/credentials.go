// Package role gives the credentials of the instance's role to the registry, over a unix
// socket, so that only root needs to reach the metadata service, which gives its secrets
// to any process that asks.
package role

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"
)

// Credentials are those of a role, as the metadata service gives them and as the
// SDK's package endpointcreds reads them.
type Credentials struct {
	AccessKeyID     string `json:"AccessKeyId"`
	SecretAccessKey string
	Token           string
	Expiration      time.Time
}

// The codes of problems, for programs.
const (
	NoMetadata   = "NoMetadata"   // nobody is there
	MetadataOff  = "MetadataOff"  // the instance may not ask
	TokenRefused = "TokenRefused" // no IMDSv2
	NoRole       = "NoRole"       // the instance has none
	RoleFailed   = "RoleFailed"   // the cloud cannot assume it
	Unavailable  = "Unavailable"  // a failure that may pass
	Expired      = "Expired"      // the credentials are not valid now
	NotAllowed   = "NotAllowed"   // the user may not have them
	NotFound     = "NotFound"     // there is nothing at this path
)

// Problem is why there are no credentials, and how to fix it. It holds no secret.
type Problem struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

func (p *Problem) Error() string { return p.Code + ": " + p.Message }

// status is the HTTP status. The SDK retries one of 500 and above at once.
func (p *Problem) status() int {
	switch p.Code {
	case NotAllowed:
		return http.StatusForbidden
	case NoRole, MetadataOff, RoleFailed, TokenRefused, NotFound:
		return http.StatusNotFound
	}
	return http.StatusServiceUnavailable
}

func problem(code, message string) error { return &Problem{Code: code, Message: message} }

// Fetcher gets credentials from their source.
type Fetcher interface {
	// Fetch returns credentials that are valid until they expire. It gives up by
	// itself in seconds.
	Fetch(ctx context.Context) (Credentials, error)
}

const (
	// ahead is how long before they expire new credentials are asked for. EC2 has
	// new ones at least five minutes before.
	ahead = 10 * time.Minute
	// often is how long credentials are used without asking again: a changed role
	// takes effect then.
	often = 15 * time.Minute
	// pause is the time to wait after a failure, and between any two requests.
	pause = time.Second
)

// Cache keeps the credentials of a Fetcher, asks for new ones ahead of time, and keeps
// using those it has while the Fetcher fails. It is safe for concurrent use; the Fetcher
// is called by one goroutine at a time.
type Cache struct {
	Fetcher Fetcher
	Now     func() time.Time // the time
	Log     func(format string, args ...any)

	mu     sync.Mutex
	have   Credentials
	due    time.Time // when to ask again
	err    error     // of the last request
	flight singleflight.Group
}

// Get returns credentials that are valid now. Their Expiration is when the caller should
// ask again, at most often from now; they may be valid for longer. It does not wait if
// it has valid ones. The error is a *Problem.
func (c *Cache) Get(ctx context.Context) (Credentials, error) {
	c.mu.Lock()
	now := c.Now()
	valid := c.have.Expiration.After(now)
	// Credentials that expired early, by a clock that was set, are due too.
	due := !now.Before(c.due) || !valid && c.err == nil
	var answer <-chan singleflight.Result
	if due { // before the lock is free, or what is asked has been answered
		answer = c.flight.DoChan("", func() (any, error) { return c.fetch() })
	}
	have, err := c.have, c.err
	c.mu.Unlock()
	if valid {
		return lend(have, now), nil
	}
	if !due {
		return Credentials{}, err
	}
	select {
	case <-ctx.Done():
		return Credentials{}, problem(Unavailable, "nobody waits for the credentials any more")
	case got := <-answer:
		credentials, _ := got.Val.(Credentials)
		return credentials, got.Err
	}
}

// fetch asks the Fetcher, for all who wait.
func (c *Cache) fetch() (Credentials, error) {
	got, err := c.Fetcher.Fetch(context.Background())
	now := c.Now()
	if err == nil && !got.Expiration.After(now) {
		err = expired(got)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.note(err, now)
	if c.err = err; err != nil {
		c.due = now.Add(pause)
		return Credentials{}, err
	}
	c.have, c.due = got, now.Add(next(got.Expiration.Sub(now)))
	return lend(got, now), nil
}

// note logs changes: the first of several failures, and the end of them.
func (c *Cache) note(err error, now time.Time) {
	switch left := c.have.Expiration.Sub(now).Round(time.Second); {
	case err == nil && c.err != nil:
		c.Log("the metadata service gives credentials again")
	case err == nil || c.err != nil && c.err.Error() == err.Error():
	case left > 0:
		c.Log("no new credentials, those at hand are valid for another %v: %v", left, err)
	default:
		c.Log("no credentials: %v", err)
	}
}

// next is how long credentials are used that are valid for left.
func next(left time.Duration) time.Duration {
	return min(often, max(left-ahead, left/4, pause))
}

// lend returns c with the Expiration at which the caller should ask again.
func lend(c Credentials, now time.Time) Credentials {
	if ask := now.Add(often); c.Expiration.After(ask) {
		c.Expiration = ask
	}
	return c
}

func expired(c Credentials) error {
	return problem(Expired, fmt.Sprintf("the credentials of the role ended at %s: "+
		"look at the machine's clock (timedatectl) and at the cloud's health", c.Expiration.UTC().Format(time.RFC3339)))
}

// asProblem is err for a client.
func asProblem(err error) *Problem {
	if p, ok := errors.AsType[*Problem](err); ok {
		return p
	}
	return &Problem{Code: Unavailable, Message: err.Error()}
}
