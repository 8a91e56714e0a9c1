package bucket

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/redoubt-registry/redoubt/appliance/outbound"
)

const (
	connectTimeout   = 5 * time.Second
	handshakeTimeout = 5 * time.Second
	// answerTimeout is from the end of the request to the answer's headers.
	answerTimeout = 13 * time.Second
	// stallTimeout cuts a body of which no byte moves.
	stallTimeout = 12 * time.Second
	idleTimeout  = 60 * time.Second
	connections  = 128
	networkBytes = 64 << 10
)

var (
	errStalled = errors.New("the connection stalled")
	errCut     = errors.New("the connection was cut")
)

// newTransport is the HTTP client's lower half: each wait in it has an end.
func newTransport(s Settings, answer time.Duration) (http.RoundTripper, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: s.SkipVerify}
	if s.CABundle != "" {
		pool, err := trust(s.CABundle)
		if err != nil {
			return nil, err
		}
		config.RootCAs = pool
	}
	dialer := &net.Dialer{Timeout: connectTimeout, KeepAlive: 15 * time.Second}
	proxy := outbound.Own("/")
	if s.Proxy != nil {
		proxy = *s.Proxy
	}
	return proxy.Through(&http.Transport{
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			c, err := dialer.DialContext(ctx, network, address)
			if err != nil {
				return nil, err
			}
			return conn{c}, nil
		},
		TLSClientConfig:       config,
		TLSHandshakeTimeout:   handshakeTimeout,
		ResponseHeaderTimeout: answer,
		IdleConnTimeout:       idleTimeout,
		MaxIdleConns:          connections,
		MaxIdleConnsPerHost:   connections,
		DisableCompression:    true,
		WriteBufferSize:       networkBytes,
		ReadBufferSize:        networkBytes,
	}), nil
}

// trust is the system's CAs and those of a file.
func trust(path string) (*x509.CertPool, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("cannot read storage.s3.cabundle: %w", err)
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	if !pool.AppendCertsFromPEM(data) {
		return nil, fmt.Errorf("cannot use storage.s3.cabundle: %s has no certificate in PEM", path)
	}
	return pool, nil
}

// conn is a connection whose writes do not wait for ever. Reads are watched
// where it is known that an answer is due: an idle connection may wait.
type conn struct{ net.Conn }

func (c conn) Write(p []byte) (int, error) {
	if err := c.SetWriteDeadline(time.Now().Add(stallTimeout)); err != nil {
		return 0, err
	}
	return c.Conn.Write(p)
}

// body is an answer's body that is cut when no byte comes for stallTimeout.
type body struct {
	io.ReadCloser
	cancel context.CancelFunc
	timer  *time.Timer

	mu      sync.Mutex
	stalled bool
}

func newBody(b io.ReadCloser, cancel context.CancelFunc) *body {
	r := &body{ReadCloser: b, cancel: cancel}
	r.timer = time.AfterFunc(stallTimeout, r.cut)
	r.timer.Stop()
	return r
}

func (b *body) cut() {
	b.mu.Lock()
	b.stalled = true
	b.mu.Unlock()
	b.cancel()
}

func (b *body) Read(p []byte) (int, error) {
	b.timer.Reset(stallTimeout)
	n, err := b.ReadCloser.Read(p)
	b.timer.Stop()
	if err == nil || errors.Is(err, io.EOF) {
		return n, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.stalled {
		return n, errStalled
	}
	return n, fmt.Errorf("%w: %w", errCut, err)
}

func (b *body) Close() error {
	b.timer.Stop()
	b.cancel()
	return b.ReadCloser.Close()
}
