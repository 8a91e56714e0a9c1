package bucket

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"golang.org/x/sync/singleflight"
)

const (
	roleTimeout = 8 * time.Second
	// renewBefore is how long before they expire credentials are asked for again.
	renewBefore = 5 * time.Minute
	// renewPause is the time between two requests while the old ones are still valid.
	renewPause = 15 * time.Second
)

// roleError: the helper has no credentials. Its own message says how to fix that.
type roleError struct {
	err    error
	status int // the helper's answer; 0 for none
}

func (e *roleError) Error() string {
	return "cannot get the credentials of the instance's role: " + e.err.Error()
}

func (e *roleError) Unwrap() error { return e.err }

// kind distinguishes what may pass from what an operator must fix.
func (e *roleError) kind() error {
	if e.status == 0 || e.status >= http.StatusInternalServerError {
		return ErrUnavailable
	}
	return ErrDenied
}

// role asks a socket for the credentials of the instance's role, and again before they
// expire. While they are valid nobody waits for newer ones.
type role struct {
	client *http.Client
	now    func() time.Time

	flight singleflight.Group // a question to the helper
	mu     sync.Mutex
	have   aws.Credentials
	asked  time.Time
}

func newRole(socket string) *role {
	return &role{now: time.Now, client: &http.Client{
		Timeout: roleTimeout,
		Transport: &http.Transport{
			DisableKeepAlives: true, // minutes lie between two questions
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return (&net.Dialer{}).DialContext(ctx, "unix", socket)
			},
		},
	}}
}

// Retrieve implements aws.CredentialsProvider.
func (r *role) Retrieve(ctx context.Context) (aws.Credentials, error) {
	have, answer := r.look(ctx)
	if answer == nil {
		return have, nil
	}
	select {
	case <-ctx.Done():
		return aws.Credentials{}, &roleError{ctx.Err(), 0}
	case got := <-answer:
		c, _ := got.Val.(aws.Credentials)
		return c, got.Err
	}
}

// look gives the credentials at hand, or else what to wait for. It asks the helper where
// that is due: once for all, whoever leaves.
func (r *role) look(ctx context.Context) (aws.Credentials, <-chan singleflight.Result) {
	r.mu.Lock() // not free between what was answered and what is due
	defer r.mu.Unlock()
	now := r.now()
	good := r.have.HasKeys() && (!r.have.CanExpire || now.Before(r.have.Expires))
	if good && (!r.have.CanExpire || now.Before(r.have.Expires.Add(-renewBefore)) || now.Sub(r.asked) < renewPause) {
		return r.have, nil
	}
	answer := r.flight.DoChan("", func() (any, error) { return r.ask(context.WithoutCancel(ctx)) })
	if good { // nobody waits for newer ones
		return r.have, nil
	}
	return aws.Credentials{}, answer
}

func (r *role) ask(ctx context.Context) (aws.Credentials, error) {
	c, status, err := r.request(ctx)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asked = r.now()
	if err != nil {
		return aws.Credentials{}, &roleError{err, status}
	}
	r.have = c
	return c, nil
}

func (r *role) request(ctx context.Context) (creds aws.Credentials, status int, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://role/credentials", nil)
	if err != nil {
		return aws.Credentials{}, 0, err
	}
	answer, err := r.client.Do(req)
	if err != nil {
		return aws.Credentials{}, 0, err
	}
	defer answer.Body.Close()
	data, err := io.ReadAll(io.LimitReader(answer.Body, 1<<16))
	if err != nil {
		return aws.Credentials{}, 0, err
	}
	var problem struct{ Message string }
	if answer.StatusCode != http.StatusOK && json.Unmarshal(data, &problem) == nil && problem.Message != "" {
		return aws.Credentials{}, answer.StatusCode, errors.New(problem.Message)
	}
	if answer.StatusCode != http.StatusOK {
		return aws.Credentials{}, answer.StatusCode, fmt.Errorf("the helper answered %s", answer.Status)
	}
	var c struct {
		AccessKeyID     string `json:"AccessKeyId"`
		SecretAccessKey string
		Token           string
		Expiration      *time.Time
	}
	if json.Unmarshal(data, &c) != nil || c.AccessKeyID == "" || c.SecretAccessKey == "" {
		return aws.Credentials{}, 0, errors.New("the helper's answer has none")
	}
	out := aws.Credentials{AccessKeyID: c.AccessKeyID, SecretAccessKey: c.SecretAccessKey, SessionToken: c.Token, Source: "role"}
	if c.Expiration != nil {
		out.CanExpire, out.Expires = true, *c.Expiration
	}
	return out, answer.StatusCode, nil
}
