package registry

import (
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"

	"go.yaml.in/yaml/v2"

	"github.com/redoubt-registry/redoubt/appliance/registry/page"
)

// monitorOption is the option of our access controller that says who may read the metrics
// from elsewhere. Distribution's own words have none for it.
const monitorOption = "monitor"

// monitor is who may read the metrics, over TLS: who has the token, or a certificate of
// one of the CAs.
type monitor struct {
	token [sha256.Size]byte // its hash
	byKey bool
	cas   *x509.CertPool // nil: none
}

// openMonitor reads who may read the metrics. Without it they are on a loopback address.
func (g *generation) openMonitor() error {
	given := g.config.Auth.Parameters()[monitorOption]
	if given == nil {
		return nil
	}
	var options struct{ Token, CAs string }
	data, err := yaml.Marshal(given)
	if err == nil {
		err = yaml.UnmarshalStrict(data, &options)
	}
	if err != nil {
		return fmt.Errorf("cannot use auth.%s: %w", monitorOption, err)
	}
	m := &monitor{}
	if options.Token != "" {
		hash, err := hex.DecodeString(strings.TrimPrefix(options.Token, "sha256:"))
		if err != nil || len(hash) != len(m.token) {
			return fmt.Errorf("cannot use auth.%s.token: it must be sha256: and 64 digits", monitorOption)
		}
		copy(m.token[:], hash)
		m.byKey = true
	}
	if options.CAs != "" {
		data, err := os.ReadFile(options.CAs)
		if err != nil {
			return fmt.Errorf("cannot use auth.%s.cas: %w", monitorOption, err)
		}
		m.cas = x509.NewCertPool()
		if !m.cas.AppendCertsFromPEM(data) {
			return fmt.Errorf("cannot use auth.%s.cas: there is no certificate in it", monitorOption)
		}
	}
	if !m.byKey && m.cas == nil {
		return errors.New("cannot use auth." + monitorOption + ": it names nobody")
	}
	g.monitor = m
	return nil
}

// may says whether a request may read the metrics.
func (m *monitor) may(r *http.Request) bool {
	if m.cas != nil && r.TLS != nil && len(r.TLS.VerifiedChains) > 0 {
		return true
	}
	scheme, token, ok := strings.Cut(r.Header.Get("Authorization"), " ")
	hash := sha256.Sum256([]byte(strings.TrimSpace(token)))
	return ok && m.byKey && strings.EqualFold(scheme, "Bearer") && subtle.ConstantTimeCompare(hash[:], m.token[:]) == 1
}

// guarded lets only those pass who may read the metrics, if that is said.
func (s *server) guarded(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		g := s.acquire()
		m := g.monitor
		g.release()
		if m == nil && r.TLS != nil || m != nil && !m.may(r) {
			w.Header().Set("WWW-Authenticate", `Bearer realm="metrics"`)
			page.Refused(w, http.StatusUnauthorized, "the metrics need the token or the client certificate of metrics.auth")
			return
		}
		next.ServeHTTP(w, r)
	})
}

// monitorTLS is TLS for the metrics: the certificate of the machine.
func (s *server) monitorTLS() *tls.Config {
	config := s.tlsConfig()
	config.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
		g := s.acquire()
		defer g.release()
		c := &tls.Config{MinVersion: g.tls.MinVersion, NextProtos: []string{"h2", "http/1.1"}, GetCertificate: g.pair.GetCertificate, CipherSuites: g.tls.CipherSuites}
		if g.monitor != nil && g.monitor.cas != nil {
			c.ClientAuth, c.ClientCAs = tls.VerifyClientCertIfGiven, g.monitor.cas
		}
		return c, nil
	}
	return config
}

// moveDebug puts the metrics where g has them.
func (s *server) moveDebug(g *generation) error {
	if g.monitor == nil {
		return s.debug.move(g.config.HTTP.Debug.Addr, s.debugHandler(), nil)
	}
	if g.pair == nil {
		return errors.New("cannot use auth." + monitorOption + ": it needs http.tls.certificate")
	}
	return s.debug.move(g.config.HTTP.Debug.Addr, s.debugHandler(), s.monitorTLS())
}
