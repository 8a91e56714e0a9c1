package registry

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/distribution/distribution/v3/configuration"
	"github.com/distribution/distribution/v3/health"
	"github.com/distribution/distribution/v3/registry/handlers"
	storagedriver "github.com/distribution/distribution/v3/registry/storage/driver"
	"github.com/sirupsen/logrus"

	"github.com/redoubt-registry/redoubt/appliance/access/clients"
	"github.com/redoubt-registry/redoubt/appliance/access/ldap"
	"github.com/redoubt-registry/redoubt/appliance/access/oidc"
	"github.com/redoubt-registry/redoubt/appliance/access/users"
	"github.com/redoubt-registry/redoubt/appliance/access/webhook"
	"github.com/redoubt-registry/redoubt/appliance/certificates/cert"
	"github.com/redoubt-registry/redoubt/appliance/registry/blobcache"
	"github.com/redoubt-registry/redoubt/appliance/registry/forwarded"
	"github.com/redoubt-registry/redoubt/appliance/registry/logs"
	"github.com/redoubt-registry/redoubt/appliance/registry/page"
	"github.com/redoubt-registry/redoubt/appliance/registry/socket"
	"github.com/redoubt-registry/redoubt/appliance/registryyml"
)

// defaultDrain is used where http.draintimeout is not set.
const defaultDrain = time.Minute

// generation is one configuration in force, and the requests that it answers.
type generation struct {
	config      *configuration.Configuration
	maintenance *page.Maintenance // not nil: this is all that is served
	handler     http.Handler
	settings    logs.Settings
	undoLog     func()
	log         *logrus.Logger
	accessLog   *logs.Access // nil: off
	tls         *tls.Config
	pair        *cert.KeyPair    // nil: no TLS
	pairFiles   [2]string        // where pair comes from; empty: made here
	clients     *clients.Clients // nil: client certificates are not asked for
	proxies     forwarded.Proxies
	users       clients.Users // whom they log in
	table       *users.Table  // nil: another kind of authentication
	tablePath   string
	auditTo     auditOptions // beside the journal
	syslogCAs   []byte       // PEM; empty: those of the system
	endpoints   []webhook.Endpoint
	monitor     *monitor         // nil: metrics are on a loopback address
	rights      *rights          // nil: another kind of authentication
	keys        *keyring         // of tokens; nil: another kind of authentication
	robots      *robots          // nil: another kind of authentication
	issuers     *oidc.Source     // nil: no ID tokens
	directory   *ldap.Directory  // nil: no users but those of the table
	base        string           // of the paths of the API, such as /v2
	cache       *blobcache.Cache // in Redis; nil: none
	descriptors *blobcache.Kinds // nil: nothing is cached
	cacheKey    string
	root        string   // of a filesystem store
	chunk       int64    // bytes that a client's chunks are to have at least
	answers     *answers // nil: the answers to challenges are this machine's own
	health      *health.Registry
	quotas      *quotas       // nil: nothing is pushed
	disk        *storageDisk  // nil: the store is elsewhere
	grade       *storageGrade // nil: the configuration turns it off
	app         *handlers.App
	storage     storagedriver.StorageDriver // nil: nothing is served
	cancel      context.CancelFunc

	inFlight sync.WaitGroup
}

// build makes a generation from the files. It takes over from the old one what may stay:
// the table of users with the logins it knows, the cache, the certificate.
func (s *server) build(old *generation) (*generation, error) {
	g := &generation{log: s.log, maintenance: page.ReadMaintenance(s.opts.Maintenance), cancel: func() {}}
	config, err := s.readConfig(g.maintenance != nil)
	if err != nil {
		return nil, err
	}
	g.config = config
	if g.settings, err = logs.Read(config.Log); err != nil {
		return nil, err
	}
	if !config.Log.AccessLog.Disabled {
		g.accessLog = g.settings.NewAccess(s.accessOut)
	}
	g.undoLog = g.settings.Apply(s.log)
	// Also in maintenance, which may end with a certificate.
	if err := g.openAnswers(s); err != nil && g.maintenance == nil {
		g.refuse(old)
		return nil, err
	}
	if err := g.openProxies(); err != nil && g.maintenance == nil {
		g.refuse(old)
		return nil, err
	}
	if g.maintenance != nil {
		g.handler = g.maintenance
		g.health = health.NewRegistry()
	} else {
		err = g.buildApp(s, old)
		g.disk = newDisk(g.root, s.opts.StorageRecord)
	}
	if err == nil {
		err = s.buildTLS(g, old)
	}
	if err == nil && g.maintenance == nil {
		err = errors.Join(g.openMonitor(), g.readAudit(), g.readNotifications())
	}
	if err != nil {
		g.refuse(old)
		return nil, err
	}
	return g, nil
}

// readConfig reads registry.yml. In maintenance the file may be missing or unusable: what
// is served then needs none of it.
func (s *server) readConfig(maintenance bool) (*configuration.Configuration, error) {
	data, err := os.ReadFile(s.opts.Config)
	var config *configuration.Configuration
	if err == nil {
		config, err = registryyml.ReadServed(data)
	}
	switch {
	case err == nil:
	case maintenance:
		config = &configuration.Configuration{}
		config.HTTP.Addr = ":443"
		config.HTTP.TLS.Certificate = filepath.Join(s.opts.Certificates, "tls.crt")
		config.HTTP.TLS.Key = filepath.Join(s.opts.Certificates, "tls.key")
		return config, nil
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("cannot read the configuration: %w (redoubt apply makes it)", err)
	default:
		return nil, fmt.Errorf("cannot use %s: %w", s.opts.Config, err)
	}
	if maintenance {
		return config, nil
	}
	if err := checkConfig(config); err != nil {
		return nil, fmt.Errorf("cannot use %s: %w", s.opts.Config, err)
	}
	return config, nil
}

// checkConfig refuses settings that would serve an open registry, break uploads at a
// reload, or be ignored silently.
func checkConfig(c *configuration.Configuration) error {
	switch {
	case c.HTTP.Secret == "":
		return errors.New("http.secret must be set: without it a reload breaks uploads in flight")
	case c.HTTP.Addr == "":
		return errors.New("http.addr must be set")
	case c.Auth.Type() == "" || c.Auth.Type() == "none":
		return errors.New("auth must be set: a registry open to everyone is never served")
	case c.HTTP.TLS.LetsEncrypt.CacheFile != "":
		return errors.New("http.tls.letsencrypt is not supported: use http.tls.certificate")
	case (c.HTTP.TLS.Certificate == "") != (c.HTTP.TLS.Key == ""):
		return errors.New("http.tls.certificate and http.tls.key belong together")
	case c.HTTP.TLS.Certificate == "" && len(c.HTTP.TLS.ClientCAs) > 0:
		return errors.New("http.tls.clientcas needs http.tls.certificate: without TLS there are no client certificates")
	case len(c.HTTP.TLS.ClientCAs) == 0 && c.HTTP.TLS.ClientAuth != "":
		return errors.New("http.tls.clientauth needs http.tls.clientcas")
	}
	return nil
}

// buildTLS sets the pair and what a handshake may use.
func (s *server) buildTLS(g, old *generation) error {
	section := g.config.HTTP.TLS
	if section.Certificate == "" {
		return nil
	}
	if err := g.openPair(s, old); err != nil {
		return err
	}
	g.tls = &tls.Config{
		MinVersion:     tls.VersionTLS12,
		NextProtos:     []string{"h2", "http/1.1"},
		GetCertificate: g.pair.GetCertificate,
	}
	if g.config.HTTP.HTTP2.Disabled {
		g.tls.NextProtos = []string{"http/1.1"}
	}
	if err := g.openClients(s); err != nil {
		return err
	}
	switch section.MinimumTLS {
	case "", "tls1.2":
	case "tls1.3":
		g.tls.MinVersion = tls.VersionTLS13
	default:
		return errors.New("cannot use http.tls.minimumtls: it must be tls1.2 or tls1.3")
	}
	return g.setCiphers(section.CipherSuites)
}

func (g *generation) setCiphers(names []string) error {
	for _, name := range names {
		found := false
		for _, suite := range tls.CipherSuites() {
			if suite.Name == name {
				g.tls.CipherSuites = append(g.tls.CipherSuites, suite.ID)
				found = true
			}
		}
		if !found {
			return fmt.Errorf("cannot use http.tls.ciphersuites: %q is unknown or unsafe", name)
		}
	}
	return nil
}

// openPair returns the old pair, read again, or a new one. A server without a usable pair
// starts with one that no client trusts, so that an operator can reach and fix it; so does
// a server in maintenance.
func (g *generation) openPair(s *server, old *generation) error {
	files := [2]string{g.config.HTTP.TLS.Certificate, g.config.HTTP.TLS.Key}
	var err error
	if old != nil && old.pair != nil && old.pairFiles == files {
		g.pair, g.pairFiles = old.pair, files
		if err = g.pair.Reload(); err == nil || g.maintenance != nil {
			return nil
		}
		return err
	}
	if g.pair, err = cert.OpenKeyPair(files[0], files[1], time.Now); err == nil {
		g.pair.Local, g.pairFiles = socket.Local, files
		return nil
	}
	if old != nil && g.maintenance == nil {
		return err
	}
	if old != nil && old.pair != nil {
		g.pair, g.pairFiles = old.pair, old.pairFiles
		return nil
	}
	s.log.WithError(err).Error("no usable certificate: serving on one that no client trusts until a reload finds one")
	certPEM, key, err := cert.SelfSigned([]string{"localhost"}, time.Now(), rand.Reader)
	if err != nil {
		return fmt.Errorf("cannot make a certificate: %w", err)
	}
	g.pair, err = cert.NewKeyPair(certPEM, key)
	return err
}

func (g *generation) drainTimeout() time.Duration {
	if g.config.HTTP.DrainTimeout > 0 {
		return g.config.HTTP.DrainTimeout
	}
	return defaultDrain
}

func (g *generation) certificateEnd() float64 {
	if g.pair == nil {
		return 0
	}
	return float64(g.pair.NotAfter().Unix())
}

// failures are the health checks that fail, by name.
func (g *generation) failures(ctx context.Context) map[string]string {
	failed := g.health.CheckStatus(ctx)
	if g.root != "" {
		if info, err := os.Stat(g.root); err != nil || !info.IsDir() {
			failed["storage"] = "the root directory of the store is not there"
		} else if g.disk.other() {
			failed["storage"] = "the disk of the store is not mounted, or the registry was started before it: systemctl restart redoubt-registry"
		}
	}
	return failed
}

// refuse discards a generation that was never in force.
func (g *generation) refuse(old *generation) {
	g.undoLog()
	g.discard(old)
}

// discard closes g, except for a cache that other shares and keeps using.
func (g *generation) discard(other *generation) { g.closeBut(other.sharesCache(g)) }

func (g *generation) sharesCache(other *generation) bool { return g != nil && g.cache == other.cache }

// close releases what only this generation uses.
func (g *generation) close() { g.closeBut(false) }

func (g *generation) closeBut(keepCache bool) {
	g.cancel()
	if g.app != nil {
		_ = g.app.Shutdown() // only a pull-through cache can fail here
	}
	if g.cache != nil && !keepCache {
		_ = g.cache.Close() // nobody uses it any more
	}
}
