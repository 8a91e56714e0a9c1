package webhook

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/redoubt-registry/redoubt/appliance/files"
	"github.com/redoubt-registry/redoubt/appliance/outbound"
)

// The headers of a signed request. The signature is v1= and, in hexadecimal digits, the
// HMAC-SHA256 of the timestamp, a dot and the body.
const (
	TimestampHeader = "Redoubt-Timestamp" // in seconds since 1970
	SignatureHeader = "Redoubt-Signature"
)

// answerLimit is how much of an answer is read: only so that the connection can be used again.
const answerLimit = 64 << 10

// Client posts events to an endpoint.
type Client struct {
	URL     string
	Secret  string            // empty: requests are not signed
	Headers map[string]string // of each request
	Format  Format
	HTTP    *http.Client // see NewHTTP
	Now     func() time.Time
}

// NewHTTP is a client that follows no redirect, goes through the proxy that the machine
// has, and gives up after timeout. transport's TLS settings are used. A dialer that guards
// where it connects to lets outbound.ToProxy pass.
func NewHTTP(transport *http.Transport, timeout time.Duration) *http.Client {
	transport.MaxResponseHeaderBytes = answerLimit
	return &http.Client{
		Transport: outbound.Own("/").Through(transport), Timeout: timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// Send posts lines, each an event in JSON. Every answer but 2xx is an error.
func (c *Client) Send(ctx context.Context, lines [][]byte) error {
	body, mediaType, err := c.Format.body(lines)
	if err != nil {
		return fmt.Errorf("cannot make a request of the events: %w", err)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, c.URL, bytes.NewReader(body))
	if err != nil {
		return errors.New("cannot post events: the URL is none")
	}
	for name, value := range c.Headers {
		r.Header.Set(name, value)
	}
	r.Header.Set("Content-Type", mediaType)
	if c.Secret != "" {
		stamp := strconv.FormatInt(c.Now().Unix(), 10)
		r.Header.Set(TimestampHeader, stamp)
		r.Header.Set(SignatureHeader, Sign(c.Secret, stamp, body))
	}
	answer, err := c.HTTP.Do(r)
	if err != nil {
		return fmt.Errorf("cannot post events: %w", cause(err))
	}
	defer answer.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(answer.Body, answerLimit))
	if answer.StatusCode < 200 || answer.StatusCode > 299 {
		return fmt.Errorf("cannot post events: the endpoint answers %d", answer.StatusCode)
	}
	return nil
}

// cause is err without the URL, which may have a secret in it.
func cause(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err
	}
	return files.Cause(err)
}

// Sign is the signature of a request with the timestamp and the body.
func Sign(secret, timestamp string, body []byte) string {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(timestamp + "."))
	mac.Write(body)
	return "v1=" + hex.EncodeToString(mac.Sum(nil))
}
