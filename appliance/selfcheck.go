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

	"go.yaml.in/yaml/v3"

	"github.com/redoubt-registry/redoubt/appliance/certificates/cert"
	"github.com/redoubt-registry/redoubt/appliance/configuration/config"
	"github.com/redoubt-registry/redoubt/appliance/configuration/render"
	"github.com/redoubt-registry/redoubt/appliance/storage/health"
)

// errUnwell is a registry that answers, and not as it should. It may recover by
// itself, as when its storage is away for a while.
var errUnwell = errors.New("the registry is not healthy")

const (
	probeTimeout = 5 * time.Second
	probePause   = 100 * time.Millisecond
)

// serves waits until the registry answers a client of this machine as it should
// with want: over its own port, with a certificate of the own CA for its name.
func (m *Machine) serves(ctx context.Context, want target) error {
	ctx, cancel := context.WithTimeout(ctx, m.Patience)
	defer cancel()
	check := health.Check{Name: "registry", Probe: func(ctx context.Context) error { return m.probe(ctx, want) }}
	var last error
	for {
		report := health.Run(ctx, probeTimeout, check)
		if report[0].Err == nil {
			return nil
		}
		if last == nil || ctx.Err() == nil {
			last = report[0].Err // the end of our patience is no news of the registry
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("after %v: %w; the reason is in: journalctl -u redoubt-registry", m.Patience, last)
		case <-time.After(probePause):
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
		trust.InsecureSkipVerify = true //nolint:gosec // only the answer 503 is looked for
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
		trust.InsecureSkipVerify = true //nolint:gosec // it must be the very one that is published
		trust.VerifyConnection = func(s tls.ConnectionState) error { return m.isPublished(s, want.cfg.Hostname) }
		return client, "https://" + net.JoinHostPort(want.cfg.Hostname, port), nil
	}
	trust.RootCAs = x509.NewCertPool()
	trust.RootCAs.AppendCertsFromPEM(cas[0].pem)
	return client, "https://" + net.JoinHostPort(want.cfg.Hostname, port), nil
}

// isPublished says whether a server shows the published certificate.
func (m *Machine) isPublished(state tls.ConnectionState, name string) error {
	pair, err := cert.Current(filepath.Join(m.Root, certificatesDir))
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
	var document struct {
		HTTP struct {
			Prefix string `yaml:"prefix"`
		} `yaml:"http"`
	}
	f, _ := want.files.Lookup(render.RegistryPath)
	if err := yaml.Unmarshal(f.Data, &document); err != nil {
		return "" // it was rendered from a parsed document
	}
	return document.HTTP.Prefix
}

// address is what clients call the registry.
func address(cfg config.Config) string {
	port := strconv.Itoa(render.Port(cfg))
	if cfg.TLS.Mode == "off" {
		return "http://" + net.JoinHostPort(cfg.Hostname, port)
	}
	if port == "443" {
		return "https://" + cfg.Hostname
	}
	return "https://" + net.JoinHostPort(cfg.Hostname, port)
}
