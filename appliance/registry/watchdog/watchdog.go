// Package watchdog proves that a server is alive by asking it a question
// through its own socket.
package watchdog

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/redoubt-registry/redoubt/appliance/registry/socket"
)

// Watchdog asks a server that listens on Addr.
type Watchdog struct {
	Addr   net.Addr
	TLS    bool
	Agent  string        // User-Agent of its requests
	Period time.Duration // systemd's WatchdogSec
	Alive  func()        // called while it answers
	// Certificate is shown to a server that asks for one.
	Certificate *tls.Certificate
}

// patience is how many periods an answer may take: a server that answers late is slow, and
// a restart would make it slower. A process that is frozen is replaced after one period,
// since it says nothing at all.
const patience = 4

// Run asks one question after the other until ctx ends, and calls Alive four times in each
// period while the last answer is not too old. The status of the answer does not matter: a
// restart does not fix a full disk.
func (w Watchdog) Run(ctx context.Context) {
	var answered atomic.Int64
	answered.Store(time.Now().UnixNano())
	go w.each(ctx, func() {
		if w.ask(ctx) == nil {
			answered.Store(time.Now().UnixNano())
		}
	})
	w.each(ctx, func() {
		if time.Since(time.Unix(0, answered.Load())) < patience*w.Period {
			w.Alive()
		}
	})
}

// each calls f four times in each period, or less often if f takes longer.
func (w Watchdog) each(ctx context.Context, f func()) {
	tick := time.NewTicker(w.Period / 4)
	defer tick.Stop()
	for {
		f()
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// ask makes one request over a new connection.
func (w Watchdog) ask(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience*w.Period)
	defer cancel()
	transport := &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, w.Addr.Network(), socket.Reachable(w.Addr))
		},
		// It is this process at the other end, whatever its certificate says.
		TLSClientConfig: &tls.Config{
			InsecureSkipVerify: true,
			GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
				if w.Certificate == nil {
					return &tls.Certificate{}, nil
				}
				return w.Certificate, nil
			},
		},
	}
	defer transport.CloseIdleConnections()
	scheme := "http"
	if w.TLS {
		scheme = "https"
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, scheme+"://localhost/v2/", nil)
	if err != nil {
		return err
	}
	r.Header.Set("User-Agent", w.Agent)
	answer, err := transport.RoundTrip(r)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	_, err = io.Copy(io.Discard, answer.Body)
	return err
}
