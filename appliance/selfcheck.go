package appliance

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"strconv"
	"time"

	"github.com/redoubt-registry/redoubt/appliance/certificates/cert"
	"github.com/redoubt-registry/redoubt/appliance/configuration/config"
	"github.com/redoubt-registry/redoubt/appliance/configuration/render"
	"github.com/redoubt-registry/redoubt/appliance/paths"
	"github.com/redoubt-registry/redoubt/appliance/registryyml"
)

// errUnwell is a registry that answers, and not as it should. It may recover by
// itself, as when its storage is away for a while.
var errUnwell = errors.New("the registry is not healthy")

const (
	// probeTimeout is for an answer to status: on a slow host it may take long.
	probeTimeout = 30 * time.Second
	probePause   = 100 * time.Millisecond
	// slowness is how many times longer than Machine.Patience an answer is waited for: one
	// that comes late is no fault, while one that is wrong stays wrong.
	slowness = 6
)

// serves waits until the registry answers a client of this machine as it should
// with want: over its own port, with a certificate of the own CA for its name.
func (m *Machine) serves(ctx context.Context, want target) error {
	ctx, cancel := context.WithTimeout(ctx, slowness*m.Patience)
	defer cancel()
	began := time.Now()
	check := func(ctx context.Context) error { return m.probe(ctx, want) }
	var last error
	for {
		found := runChecks(ctx, slowness*m.Patience, check)[0]
		if found.err == nil {
			return nil
		}
		if last == nil || ctx.Err() == nil {
			last = found.err // the end of our patience is no news of the registry
		}
		took := time.Since(began)
		if ctx.Err() != nil || took >= m.Patience {
			return fmt.Errorf("after %v: %w; the reason is in: journalctl -u redoubt-registry", took.Round(time.Second), last)
		}
		select {
		case <-ctx.Done():
		case <-time.After(min(probePause, m.Patience-took)):
		}
	}
}

// probe asks for /v2/ once.
func (m *Machine) probe(ctx context.Context, want target) error {
	client, base, err := m.client(want)
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, base+prefix(want)+"/v2/", nil)
	if err != nil {
		return err
	}
	response, err := client.Do(request)
	if err != nil {
		if e, ok := errors.AsType[*net.OpError](err); ok && e.Op == "remote error" && m.refusesClients(want) {
			return nil // it answers as it must: it refuses whoever comes
		}
		if e, ok := errors.AsType[*net.OpError](err); ok && e.Op == "dial" {
			err = e.Err
		}
		return fmt.Errorf("the registry does not answer: %w", err)
	}
	response.Body.Close()
	switch code := response.StatusCode; {
	case want.maintenance && code == http.StatusServiceUnavailable:
		return nil
	case !want.maintenance && (code == http.StatusOK || code == http.StatusUnauthorized):
		return nil
	default:
		return fmt.Errorf("%w: it answers %s", errUnwell, response.Status)
	}
}

// client returns a client that reaches the registry on the loopback address
// under its own name, and the URL for it.
func (m *Machine) client(want target) (*http.Client, string, error) {
	port := strconv.Itoa(443)
	if !want.maintenance { // which has the ports of the unit
		port = strconv.Itoa(render.Port(want.cfg))
	}
	dial := func(ctx context.Context, network, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, network, net.JoinHostPort("127.0.0.1", port))
	}
	transport := &http.Transport{DialContext: dial, DisableKeepAlives: true}
	client := &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	if want.cfg.TLS.Mode == "off" && !want.maintenance {
		return client, "http://" + net.JoinHostPort("127.0.0.1", port), nil
	}
	trust := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: want.cfg.Hostname}
	transport.TLSClientConfig = trust
	if want.maintenance { // perhaps without a name to have a certificate for
		trust.InsecureSkipVerify = true // only the answer 503 is looked for
		return client, "https://127.0.0.1", nil
	}
	var err error
	if trust.Certificates, err = m.probeCertificate(want); err != nil {
		return nil, "", err
	}
	cas, err := m.servingCAs(want)
	if err != nil {
		return nil, "", err
	}
	if len(cas) == 0 || cas[0].file == "" { // of a CA that this machine need not know
		trust.InsecureSkipVerify = true // it must be the very one that is published
		trust.VerifyConnection = func(s tls.ConnectionState) error { return m.isPublished(s, want.cfg.Hostname) }
		return client, "https://" + net.JoinHostPort(want.cfg.Hostname, port), nil
	}
	trust.RootCAs = x509.NewCertPool()
	trust.RootCAs.AppendCertsFromPEM(cas[0].pem)
	return client, "https://" + net.JoinHostPort(want.cfg.Hostname, port), nil
}

// isPublished says whether a server shows the published certificate.
func (m *Machine) isPublished(state tls.ConnectionState, name string) error {
	pair, err := cert.Current(filepath.Join(m.Root, paths.Certificates))
	if err != nil {
		return fmt.Errorf("cannot read the certificate: %w", err)
	}
	if !bytes.Equal(state.PeerCertificates[0].Raw, pair.Leaf.Raw) {
		return errors.New("it shows another certificate than the published one")
	}
	return pair.Leaf.VerifyHostname(name)
}

// prefix is http.prefix of the rendered registry.yml, which an overlay may set.
func prefix(want target) string {
	f, _ := want.files.Lookup(paths.RegistryYML)
	c, err := registryyml.Read(f.Data)
	if err != nil {
		return "" // it was rendered from a parsed document
	}
	return c.HTTP.Prefix
}

// address is what clients call the registry.
func address(cfg config.Config) string {
	port := strconv.Itoa(render.Port(cfg))
	if cfg.TLS.Mode == "off" && len(cfg.Listen.Proxy.Trust) > 0 {
		return "https://" + cfg.Hostname // by the proxy
	}
	if cfg.TLS.Mode == "off" {
		return "http://" + net.JoinHostPort(cfg.Hostname, port)
	}
	if port == "443" {
		return "https://" + cfg.Hostname
	}
	return "https://" + net.JoinHostPort(cfg.Hostname, port)
}

// check returns nil for good health. It should end when ctx does; if it does not, it is
// abandoned and counts as failed.
type check func(ctx context.Context) error

// result is the result of one check.
type result struct {
	err     error // nil for good health
	latency time.Duration
}

// runChecks makes all checks in parallel, each for timeout at most. The results are in the
// order of the checks.
func runChecks(ctx context.Context, timeout time.Duration, checks ...check) []result {
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("no answer within %v", timeout))
	defer cancel()
	results := make([]chan result, len(checks))
	start := time.Now()
	for i, c := range checks {
		results[i] = make(chan result, 1)
		go func() { results[i] <- c.run(ctx) }()
	}
	all := make([]result, len(checks))
	for i := range checks {
		select {
		case all[i] = <-results[i]:
		case <-ctx.Done():
			all[i] = late(ctx, results[i], time.Since(start))
		}
	}
	return all
}

// late prefers a result that came at the moment of the timeout.
func late(ctx context.Context, one <-chan result, took time.Duration) result {
	select {
	case r := <-one:
		return r
	default:
		return result{err: context.Cause(ctx), latency: took}
	}
}

// run makes one check. A panic in it is a failure.
func (c check) run(ctx context.Context) (r result) {
	start := time.Now()
	defer func() {
		if p := recover(); p != nil {
			r.err = fmt.Errorf("the check itself failed: %v", p)
		}
		r.latency = time.Since(start)
	}()
	r.err = c(ctx)
	return r
}
