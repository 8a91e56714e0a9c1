// Package registry is the registry's server: distribution embedded, on sockets
// that systemd holds, with certificates and configuration that change while it
// serves.
package registry

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/redoubt-registry/redoubt/appliance/registry/bounds"
	"github.com/redoubt-registry/redoubt/appliance/registry/socket"
	"github.com/redoubt-registry/redoubt/appliance/storage/trash"
)

// Options are what Serve is told on the command line.
type Options struct {
	Config       string // registry.yml, distribution's own configuration
	Maintenance  string // maintenance.json; while it exists nothing else is served
	Certificates string // directory with tls.crt and tls.key, for maintenance without a configuration
	Challenges   string // directory with the answers to an ACME CA's challenges, by token
	Renewal      string // what redoubt renew says of the certificate, for the metrics
	Collection   string // what redoubt gc did last, for the metrics
	Backup       string // how the last backup went, for the metrics
	Storage      string // what redoubt health says of the storage; empty: nobody looks
	// AccessJournal is the socket of the journal that has the access log, where systemd
	// has connected stderr to the journal; empty: stderr has it.
	AccessJournal string
	// AuditJournal is the socket of the journal that has the audit log, as AccessJournal is.
	AuditJournal string
	// AuditInbox is where other processes leave events for the audit log; empty: nowhere.
	AuditInbox string
	// Deliveries gets what the registry cannot hand on to others; empty: nothing does.
	Deliveries string
	// DeliveriesPatience is how long that may last until it is there; zero: a minute.
	DeliveriesPatience time.Duration
	// StorageRecord remembers which file system the storage is; empty: nothing does.
	StorageRecord string
	Listeners     []net.Listener // nil: those that systemd passes, or else http.addr
	Bounds        bounds.Bounds  // of connections; zero: the defaults
	// Grace is for how long a collection spares at least what a push has named; zero: an
	// hour, negative: not at all.
	Grace time.Duration
}

func (o Options) grace() time.Duration {
	if o.Grace == 0 {
		return trash.Least
	}
	return max(o.Grace, 0)
}

func (o Options) deliveriesPatience() time.Duration {
	return cmp.Or(o.DeliveriesPatience, deliveriesPatience)
}

// Serve runs the registry until ctx ends and its requests are drained. SIGHUP
// makes it read its configuration and certificate again; a request in flight
// ends as it began. What cannot be used then is refused and the old stays.
func Serve(ctx context.Context, opts Options) error {
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)
	limitMemory()
	if err := startTracing(ctx); err != nil {
		return err
	}

	s := newServer(opts, logrus.StandardLogger())
	if err := s.start(); err != nil {
		return err
	}
	defer s.close()
	sockets, err := s.listen()
	if err != nil {
		return err
	}
	failed := s.run(sockets)
	watchdog, stopWatchdog := context.WithCancel(ctx)
	defer stopWatchdog()
	s.feedWatchdog(watchdog, sockets.Front[0].Addr())
	s.notify("READY=1", s.status())
	for {
		select {
		case <-hup:
			s.reload()
		case err := <-failed:
			return fmt.Errorf("cannot serve: %w", err)
		case <-ctx.Done():
			return s.drain()
		}
	}
}

// listen takes the sockets that the options or systemd pass, or else binds
// http.addr itself. Passwords are not taken in the clear from elsewhere.
func (s *server) listen() (socket.Set, error) {
	g := s.acquire()
	defer g.release()
	passed := s.opts.Listeners
	if passed == nil {
		var err error
		if passed, err = socket.Activated(); err != nil {
			return socket.Set{}, err
		}
	}
	if len(passed) == 0 {
		l, err := socket.Bind(g.config.HTTP)
		if err != nil {
			return socket.Set{}, err
		}
		passed = []net.Listener{l}
	}
	if addr := socket.Exposed(passed); addr != "" && g.pair == nil && len(g.proxies) == 0 {
		return socket.Set{}, fmt.Errorf("cannot serve without TLS on %s: only on a loopback address, or behind a proxy (http.tls.certificate and listen.proxy.trust are not set)", addr)
	}
	s.sockets = passed
	return socket.Sort(passed, g.config.HTTP)
}

// run serves the sockets. The channel has the first failure.
func (s *server) run(sockets socket.Set) <-chan error {
	failed := make(chan error, len(sockets.Front)+len(sockets.Redirect))
	tlsConfig := s.tlsConfig()
	s.front = s.opts.Bounds.Server(s, s.gate)
	s.redirect = s.opts.Bounds.Server(http.HandlerFunc(s.serveRedirect), s.gate)
	s.front.Handler, s.redirect.Handler = s.resolved(s.front.Handler), s.resolved(s.redirect.Handler)
	s.front.TLSConfig = tlsConfig
	s.front.ErrorLog, s.redirect.ErrorLog = s.errorLog(), s.errorLog()
	for _, l := range sockets.Front {
		l := s.gated(l)
		go func() {
			if s.servesTLS() {
				failed <- s.front.ServeTLS(l, "", "")
				return
			}
			failed <- s.front.Serve(l)
		}()
	}
	for _, l := range sockets.Redirect {
		go func() { failed <- s.redirect.Serve(s.gated(l)) }()
	}
	return failed
}

// drain ends the server: no new connection is taken, those that are being
// answered and move are given the drain timeout. New clients wait in the held
// socket.
func (s *server) drain() error {
	timeout := s.drainTimeout()
	s.notify("STOPPING=1", "STATUS=ending, after the requests in flight",
		fmt.Sprintf("EXTEND_TIMEOUT_USEC=%d", (timeout+5*time.Second).Microseconds()))
	s.log.Info("ending, after the requests in flight")
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	s.gate.Drain()
	done := make(chan error, 1)
	go func() { done <- s.redirect.Shutdown(ctx) }()
	err := errors.Join(s.front.Shutdown(ctx), <-done)
	if errors.Is(err, context.DeadlineExceeded) {
		s.log.Warnf("requests were cut off: they took longer than the drain timeout of %s (http.draintimeout)", timeout)
		return errors.Join(s.front.Close(), s.redirect.Close())
	}
	return err
}
