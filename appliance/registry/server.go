package registry

import (
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/redoubt-registry/redoubt/appliance/access/audit"
	"github.com/redoubt-registry/redoubt/appliance/access/token"
	"github.com/redoubt-registry/redoubt/appliance/access/users"
	"github.com/redoubt-registry/redoubt/appliance/access/webhook"
	"github.com/redoubt-registry/redoubt/appliance/certificates/cert"
	"github.com/redoubt-registry/redoubt/appliance/journal"
	"github.com/redoubt-registry/redoubt/appliance/registry/blobcache"
	"github.com/redoubt-registry/redoubt/appliance/registry/bounds"
	"github.com/redoubt-registry/redoubt/appliance/registry/metrics"
	"github.com/redoubt-registry/redoubt/appliance/registry/socket"
	"github.com/redoubt-registry/redoubt/appliance/storage/directory"
	"github.com/redoubt-registry/redoubt/appliance/storage/pulls"
	"github.com/redoubt-registry/redoubt/appliance/storage/sharedstate"
	"github.com/redoubt-registry/redoubt/units"
)

// server is what outlives a reload.
type server struct {
	opts            Options
	log             *logrus.Logger
	accessOut       io.Writer // of the access log
	audit           *audit.Log
	desk            *webhook.Desk // of events for endpoints
	deliveries      *deliveries
	metrics         *metrics.Metrics
	front, redirect *http.Server
	gate            *bounds.Gate
	sockets         []net.Listener
	debug           debugServer
	challenges      sharedstate.Store  // nil: none are answered
	watchdogAgent   string             // random: requests with it are left out of the access log
	uploads         *directory.Uploads // to a store that is a directory
	pulls           *pulls.Recorder
	grade           *storageGrade    // what the storage is good for
	self            *tls.Certificate // what the watchdog shows where client certificates are required
	keys            token.Keys       // of tokens, where the configuration has no place for them

	mu      sync.RWMutex // held for writing only while the generation changes
	current *generation
}

func newServer(opts Options, logger *logrus.Logger) *server {
	register()
	opts.Bounds = opts.Bounds.OrDefault()
	s := &server{opts: opts, gate: bounds.NewGate(opts.Bounds), log: logger, uploads: directory.NewUploads(),
		watchdogAgent: "redoubt-watchdog/" + rand.Text()}
	s.pulls = &pulls.Recorder{Now: time.Now, Failed: s.keepPulls}
	s.accessOut = logger.Out
	if opts.AccessJournal != "" && os.Getenv("JOURNAL_STREAM") != "" {
		s.accessOut = &journal.Journal{Socket: opts.AccessJournal, Identifier: "redoubt", Holds: "the access log", Else: logger.Out}
	}
	s.audit = audit.New(time.Now, s.auditJournal())
	s.self = ephemeral()
	s.keys = ephemeralKeys()
	s.grade = &storageGrade{path: opts.Storage}
	if opts.Challenges != "" {
		s.challenges = openChallenges(opts.Challenges)
	}
	s.desk = webhook.NewDesk()
	s.deliveries = newDeliveries(s)
	s.metrics = metrics.New(s.samples()...)
	s.metrics.Add(s.deliveries.samples()...)
	s.metrics.Add(s.gradeSamples()...)
	s.metrics.Add(s.quotaSamples()...)
	return s
}

// ephemeral makes a pair that exists in this process alone.
func ephemeral() *tls.Certificate {
	certPEM, key, err := cert.SelfSigned([]string{"localhost"}, time.Now(), rand.Reader)
	if err != nil {
		panic(err) // of constants and crypto/rand
	}
	pair, err := cert.ParsePair(certPEM, key)
	if err != nil {
		panic(err) // it was made just now
	}
	return pair
}

// ephemeralKeys makes keys that exist in this process alone.
func ephemeralKeys() token.Keys {
	keys, _, err := token.Keys{}.Rotate(time.Now())
	if err != nil {
		panic(err) // of crypto/rand alone
	}
	return keys
}

// start builds the first generation. There is no old one to fall back on.
func (s *server) start() error {
	g, err := s.build(nil)
	if err != nil {
		return err
	}
	s.pulls.Use(g.storage)
	s.current = g // before the first scrape
	s.deliveries.use(g)
	if err := s.moveDebug(g); err != nil {
		g.close()
		return err
	}
	return nil
}

// acquire returns the generation in force; release ends its use.
func (s *server) acquire() *generation {
	s.mu.RLock()
	defer s.mu.RUnlock()
	s.current.inFlight.Add(1)
	return s.current
}

func (g *generation) release() { g.inFlight.Done() }

// reload puts a new generation in force, or says why the old one stays.
func (s *server) reload() {
	s.notifyReloading()
	err := s.swap()
	s.metrics.Reload(err)
	if err != nil {
		s.log.WithError(err).Error("the reload is refused; what was in force stays so")
		s.notify("READY=1", "STATUS="+units.ReloadRefused+oneLine(err))
		return
	}
	s.log.Info("reloaded")
	s.notify("READY=1", s.status())
}

func (s *server) swap() error {
	old := s.acquire()
	old.release() // only this goroutine retires generations
	g, err := s.build(old)
	if err != nil {
		return err
	}
	err = s.agrees(g, old)
	if err == nil {
		err = s.moveDebug(g)
	}
	if err != nil {
		g.refuse(old)
		return err
	}
	s.pulls.Use(g.storage)
	s.put(g)
	s.deliveries.use(g)
	if g.cache != nil {
		g.cache.Reloaded()
	}
	s.retire(old, g)
	return nil
}

func (s *server) put(g *generation) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.current = g
}

// agrees returns an error if g cannot serve on the open sockets.
func (s *server) agrees(g, old *generation) error {
	if (g.pair == nil) != (old.pair == nil) {
		return errors.New("cannot turn TLS on or off in a reload (http.tls): restart the service")
	}
	if s.sockets == nil {
		return nil
	}
	now, err := socket.Sort(s.sockets, g.config.HTTP)
	if err != nil {
		return err
	}
	before, err := socket.Sort(s.sockets, old.config.HTTP)
	if err != nil || len(now.Front) != len(before.Front) || now.Front[0] != before.Front[0] {
		return fmt.Errorf("cannot change http.addr to %s in a reload: restart the service", g.config.HTTP.Addr)
	}
	return nil
}

// retire closes a generation when its last request has been answered, or when
// the drain timeout is over; that does not cut the requests that still run.
func (s *server) retire(old, now *generation) {
	go func() {
		idle := make(chan struct{})
		go func() { old.inFlight.Wait(); close(idle) }()
		select {
		case <-idle:
		case <-time.After(old.drainTimeout()):
		}
		old.discard(now)
	}()
}

func (s *server) close() {
	s.debug.close()
	s.keepPulls(s.pulls.Flush())
	s.deliveries.close()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.current.close()
}

// keepPulls says that it could not be kept when images were pulled.
func (s *server) keepPulls(err error) {
	if err != nil {
		s.log.WithError(err).Warn("the times of the last pulls wait to be written")
	}
}

func (s *server) drainTimeout() time.Duration {
	g := s.acquire()
	defer g.release()
	return g.drainTimeout()
}

// servesTLS says whether the registry is served with TLS.
func (s *server) servesTLS() bool {
	g := s.acquire()
	defer g.release()
	return g.pair != nil
}

// tlsConfig uses the generation in force at each handshake.
func (s *server) tlsConfig() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		NextProtos: []string{"h2", "http/1.1"},
		GetCertificate: func(h *tls.ClientHelloInfo) (*tls.Certificate, error) {
			g := s.acquire()
			defer g.release()
			return g.pair.GetCertificate(h)
		},
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			g := s.acquire()
			defer g.release()
			return g.tls, nil
		},
	}
}

// errorLog logs errors that scanners cause only at level debug.
func (s *server) errorLog() *log.Logger {
	return log.New(writerFunc(func(p []byte) (int, error) {
		text := strings.TrimSpace(string(p))
		if strings.Contains(text, "TLS handshake error") {
			s.log.Debug(text)
		} else {
			s.log.Warn(text)
		}
		return len(p), nil
	}), "", 0)
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

func oneLine(err error) string { return strings.ReplaceAll(err.Error(), "\n", "; ") }

// debugHandler serves metrics and health of whichever generation is in force.
func (s *server) debugHandler() http.Handler {
	return s.guarded(s.metrics.Handler(func(r *http.Request) map[string]string {
		g := s.acquire()
		defer g.release()
		failed := g.failures(r.Context())
		if g.grade != nil {
			g.grade.note(failed)
		}
		return failed
	}))
}

// samples are read at each scrape.
func (s *server) samples() []metrics.Sample {
	of := func(f func(*generation) float64) func() float64 {
		return func() float64 {
			g := s.acquire()
			defer g.release()
			return f(g)
		}
	}
	stats := func(f func(blobcache.Stats) float64) func() float64 {
		return of(func(g *generation) float64 {
			if g.cache == nil {
				return 0
			}
			return f(g.cache.Stats())
		})
	}
	logins := func(f func(users.Stats) float64) func() float64 {
		return of(func(g *generation) float64 {
			if g.table == nil {
				return 0
			}
			return f(g.table.Stats())
		})
	}
	return append(slices.Concat(s.renewalSamples(), s.collectionSamples(), s.backupSamples()), []metrics.Sample{
		{Name: "redoubt_audit_events_total", Counter: true, Help: "Events that were written to the audit log.", Value: func() float64 { n, _ := s.audit.Stats(); return float64(n) }},
		{Name: "redoubt_audit_lost_total", Counter: true, Help: "Events that the audit log has lost: they came faster than they could be written.", Value: func() float64 { _, n := s.audit.Stats(); return float64(n) }},
		{Name: "redoubt_connections", Help: "Connections that are open.", Value: func() float64 { return float64(s.gate.Open()) }},
		{Name: "redoubt_connections_closed_total", Counter: true, Help: "Connections that were closed because there were too many.", Value: func() float64 { return float64(s.gate.Refused()) }},
		{Name: "redoubt_logins_refused_total", Counter: true, Help: "Requests with a wrong user or password, answered 401.", Value: logins(func(s users.Stats) float64 { return float64(s.Refused) })},
		{Name: "redoubt_logins_limited_total", Counter: true, Help: "Requests whose password was not checked, answered 429: too many failures, or too many logins at once.", Value: logins(func(s users.Stats) float64 { return float64(s.Limited) })},
		{Name: "redoubt_logins_waiting", Help: "Passwords that wait for their check.", Value: logins(func(s users.Stats) float64 { return float64(s.Waiting) })},
		{Name: "redoubt_login_sources_down", Help: "Issuers of auth.oidc, and the directory of auth.ldap, that did not answer when they were last asked.", Value: of((*generation).sourcesDown)},
		{Name: "redoubt_storage_checked_seconds", Help: "When the storage was last looked at, Unix time.", Value: s.gradeChecked},
		{Name: "redoubt_certificate_not_after_seconds", Help: "End of the server certificate, Unix time.", Value: of((*generation).certificateEnd)},
		{Name: "redoubt_maintenance", Help: "1 while the machine is in maintenance.", Value: of(func(g *generation) float64 { return number(g.maintenance != nil) })},
		{Name: "redoubt_users_stale", Help: "1 while the newest table of users is not in force.", Value: of(func(g *generation) float64 {
			return number(g.table != nil && g.table.Err() != nil)
		})},
		{Name: "redoubt_client_trust_stale", Help: "1 while the newest client CAs and revocation lists are not in force.", Value: of(func(g *generation) float64 {
			return number(g.clients != nil && g.clients.Err() != nil)
		})},
		{Name: "redoubt_cache_breaker_open", Help: "1 while Redis is left out.", Value: stats(func(s blobcache.Stats) float64 { return number(s.Open) })},
		{Name: "redoubt_cache_breaker_opened_total", Counter: true, Help: "How often Redis was given up.", Value: stats(func(s blobcache.Stats) float64 { return float64(s.Opened) })},
		{Name: "redoubt_cache_hits_total", Counter: true, Help: "Descriptors found in the cache.", Value: stats(func(s blobcache.Stats) float64 { return float64(s.Hits) })},
		{Name: "redoubt_cache_misses_total", Counter: true, Help: "Descriptors not found in the cache.", Value: stats(func(s blobcache.Stats) float64 { return float64(s.Misses) })},
		{Name: "redoubt_cache_errors_total", Counter: true, Help: "Failed exchanges with Redis.", Value: stats(func(s blobcache.Stats) float64 { return float64(s.Errors) })},
	}...)
}

func number(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
