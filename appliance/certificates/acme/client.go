package acme

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/mholt/acmez/v3/acme"
)

const (
	requestTimeout = 30 * time.Second
	pollTimeout    = 90 * time.Second
	pollInterval   = 250 * time.Millisecond
)

// ca is the CA as one tick sees it.
type ca struct {
	*acme.Client
	http *http.Client
	seen *witness
}

func newCA(w Want, userAgent string) (*ca, error) {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	if w.Roots != "" {
		transport.TLSClientConfig.RootCAs = x509.NewCertPool()
		if !transport.TLSClientConfig.RootCAs.AppendCertsFromPEM([]byte(w.Roots)) {
			return nil, errors.New("cannot use tls.acme.caBundle: it holds no PEM certificate")
		}
	}
	seen := &witness{next: w.Proxy.Through(transport)}
	client := &http.Client{Transport: seen, Timeout: requestTimeout}
	return &ca{
		Client: &acme.Client{Directory: w.Directory, HTTPClient: client, UserAgent: userAgent,
			PollInterval: pollInterval, PollTimeout: pollTimeout},
		http: client, seen: seen,
	}, nil
}

// offer reads the directory, and with it the CA's clock.
func (c *ca) offer(ctx context.Context) (acme.Directory, error) {
	dir, err := c.GetDirectory(ctx)
	if err == nil && c.seen.clock().IsZero() { // it was remembered
		_, err = c.get(ctx, c.Directory)
	}
	if err != nil {
		return dir, fmt.Errorf("cannot read the directory %s of the CA: %w", c.Directory, err)
	}
	return dir, nil
}

// get fetches a small document.
func (c *ca) get(ctx context.Context, url string) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	response, err := c.http.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the CA answers %s", response.Status)
	}
	const enough = 1 << 20
	return io.ReadAll(io.LimitReader(response.Body, enough))
}

// witness notes the time and the Retry-After in the CA's answers.
type witness struct {
	next http.RoundTripper

	mu         sync.Mutex
	date       time.Time
	status     int
	retryAfter time.Duration
}

// RoundTrip follows RFC 9110, 6.6.1 (Date) and 10.2.3 (Retry-After).
func (w *witness) RoundTrip(r *http.Request) (*http.Response, error) {
	response, err := w.next.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	date, _ := http.ParseTime(response.Header.Get("Date")) // none is the zero time
	w.mu.Lock()
	defer w.mu.Unlock()
	if !date.IsZero() {
		w.date = date
	}
	w.status = response.StatusCode
	w.retryAfter = retryAfter(response.Header.Get("Retry-After"), date)
	return response, nil
}

func retryAfter(value string, date time.Time) time.Duration {
	if seconds, err := strconv.Atoi(value); err == nil {
		return time.Duration(min(max(seconds, 0), 1<<30)) * time.Second
	}
	at, err := http.ParseTime(value)
	if err != nil || date.IsZero() {
		return 0
	}
	return max(at.Sub(date), 0)
}

// clock is the CA's time of its last answer, or zero.
func (w *witness) clock() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.date
}

// hold is the Retry-After of the last answer.
func (w *witness) hold() time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.retryAfter
}

// refused is hold, if the last answer was a temporary refusal.
func (w *witness) refused() time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.status != http.StatusTooManyRequests && w.status != http.StatusServiceUnavailable {
		return 0
	}
	return w.retryAfter
}
