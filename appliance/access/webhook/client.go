package webhook

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strconv"
	"syscall"
	"time"

	"github.com/redoubt-registry/redoubt/appliance/access/target"
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
	URL           string
	Secret        string // empty: requests are not signed
	Authorization string // the header of that name; empty: none
	Format        Format
	HTTP          *http.Client // see NewHTTP
	Now           func() time.Time
}

const (
	patience     = 30 * time.Second // for all of a request and its answer
	stepPatience = 10 * time.Second // to connect, and for the handshake
)

// NewHTTP is a client for the endpoint: it follows no redirect, goes through the proxy that
// the machine has, reads a bounded answer in bounded time, connects to no metadata service,
// without TLS only to private addresses, and to this machine only where the endpoint is
// that by its name. cas are PEM; none: those of the system.
func NewHTTP(endpoint string, cas []byte) *http.Client {
	u, err := url.Parse(endpoint)
	if err != nil {
		u = &url.URL{} // Send says so
	}
	dialer := &net.Dialer{Timeout: stepPatience, ControlContext: func(ctx context.Context, _, address string, _ syscall.RawConn) error {
		if outbound.ToProxy(ctx) {
			return guardProxy(u)
		}
		return guard(u, address)
	}}
	transport := &http.Transport{
		DialContext: dialer.DialContext, TLSHandshakeTimeout: stepPatience, MaxResponseHeaderBytes: answerLimit,
		MaxIdleConns: 1, IdleConnTimeout: 90 * time.Second, ForceAttemptHTTP2: true,
		TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12},
	}
	if len(cas) > 0 {
		transport.TLSClientConfig.RootCAs = x509.NewCertPool()
		transport.TLSClientConfig.RootCAs.AppendCertsFromPEM(cas)
	}
	return &http.Client{
		Transport: outbound.Own("/").Through(transport), Timeout: patience,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// guardProxy says whether the endpoint may be asked for through a proxy, which finds the
// address by itself.
func guardProxy(endpoint *url.URL) error {
	if endpoint.Scheme != "https" {
		return errors.New("http is for private addresses alone, and not through a proxy: use https, or put the endpoint into proxy.noProxy")
	}
	return nil
}

// guard says whether the endpoint may be at an address, whatever its name leads to.
func guard(endpoint *url.URL, address string) error {
	end, err := netip.ParseAddrPort(address)
	if err != nil {
		return errors.New("the endpoint has no address")
	}
	local := endpoint.Hostname() == "localhost"
	if a, err := netip.ParseAddr(endpoint.Hostname()); err == nil {
		local = a.Unmap().IsLoopback()
	}
	if err := target.Problem(end.Addr(), local); err != nil {
		return err
	}
	if endpoint.Scheme != "https" && !target.Private(end.Addr()) {
		return fmt.Errorf("the address %s is not private, and http is for private ones alone: use https", end.Addr())
	}
	return nil
}

// Answer is the status of an answer other than 2xx.
type Answer int

func (a Answer) Error() string {
	text := fmt.Sprintf("the endpoint answers %d", int(a))
	if name := http.StatusText(int(a)); name != "" {
		text += " " + name
	}
	if a >= 300 && a < 400 {
		text += ", which is not followed: name where it leads"
	}
	return text
}

// refuses says whether the answer is about what was sent: it will be the same the next time.
func (a Answer) refuses() bool {
	switch int(a) {
	case http.StatusBadRequest, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType, http.StatusUnprocessableEntity:
		return true
	}
	return false
}

// Send posts lines, each an event in JSON. Every answer but 2xx is an error, an Answer.
func (c *Client) Send(ctx context.Context, lines [][]byte) error {
	body, mediaType, err := c.Format.body(lines)
	if err != nil {
		return fmt.Errorf("cannot make a request of the events: %w", err)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, c.URL, bytes.NewReader(body))
	if err != nil {
		return errors.New("cannot post events: the URL is none")
	}
	if c.Authorization != "" {
		r.Header.Set("Authorization", c.Authorization)
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
		return fmt.Errorf("cannot post events: %w", Answer(answer.StatusCode))
	}
	return nil
}

// cause is err without the URL, which may have a secret in it, and without addresses, whose
// ports differ each time.
func cause(err error) error {
	if e, ok := errors.AsType[*outbound.Error](err); ok {
		return e
	}
	if e, ok := errors.AsType[*url.Error](err); ok {
		err = e.Err
	}
	if e, ok := errors.AsType[*net.OpError](err); ok {
		err = e.Err
	}
	if e, ok := errors.AsType[*os.SyscallError](err); ok {
		err = e.Err
	}
	return err
}

// Sign is the signature of a request with the timestamp and the body.
func Sign(secret, timestamp string, body []byte) string {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(timestamp + "."))
	mac.Write(body)
	return "v1=" + hex.EncodeToString(mac.Sum(nil))
}
