package machine

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"time"
)

// CA returns the machine's own authority.
func (m *Machine) CA() *x509.CertPool {
	m.t.Helper()
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM([]byte(m.Run("cat", "/var/lib/redoubt/ca/ca.crt"))) {
		m.t.Fatal("no certificate in /var/lib/redoubt/ca/ca.crt")
	}
	return pool
}

// Transport is an HTTP transport into the machine: whatever the name in a URL, it
// connects to the machine, at the URL's port, and trusts its authority alone.
func (m *Machine) Transport() *http.Transport {
	m.t.Helper()
	return m.transport(&tls.Config{RootCAs: m.CA(), MinVersion: tls.VersionTLS12})
}

func (m *Machine) transport(config *tls.Config) *http.Transport {
	tr := &http.Transport{
		TLSClientConfig:   config,
		ForceAttemptHTTP2: true,
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			_, port, err := net.SplitHostPort(address)
			if err != nil {
				return nil, err
			}
			return m.Dial(ctx, network, net.JoinHostPort(Address, port))
		},
	}
	m.t.Cleanup(tr.CloseIdleConnections)
	return tr
}

// Stranger is a Transport that trusts whatever answers.
func (m *Machine) Stranger() *http.Transport {
	m.t.Helper()
	return m.transport(&tls.Config{InsecureSkipVerify: true})
}

// Answer is a response that was read to its end.
type Answer struct {
	Status int
	Header http.Header
	Body   string
}

// Get asks the machine for a URL without following a redirection.
func (m *Machine) Get(rt http.RoundTripper, url string) (Answer, error) {
	req, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		return Answer{}, err
	}
	return Do(rt, req)
}

// Do sends one request, waits a minute at most, and reads the whole answer.
func Do(rt http.RoundTripper, req *http.Request) (Answer, error) {
	ctx, cancel := context.WithTimeout(req.Context(), time.Minute)
	defer cancel()
	resp, err := rt.RoundTrip(req.WithContext(ctx))
	if err != nil {
		return Answer{}, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return Answer{Status: resp.StatusCode, Header: resp.Header, Body: string(body)}, err
}
