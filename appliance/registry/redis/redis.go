// Package redis opens connections to the one Redis that registry.yml names: the
// machine's own on a unix socket, or a shared one with a login and TLS.
package redis

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/distribution/distribution/v3/configuration"
	"github.com/redis/go-redis/v9"
)

// patience bounds the setup of one connection: DNS, handshake and login. No request waits
// for it.
const patience = 5 * time.Second

// Server is a Redis, which may not be running.
type Server struct {
	section     configuration.Redis
	credentials []string
}

// New reads distribution's own redis section. The login of a Redis elsewhere is not in it,
// but in the file Credential in one of the directories. Files are read again for each
// connection, so that a new password or CA needs no restart.
//
// TLS is used where the section names rootcas or a certificate, as upstream
// does. So the system's roots are asked for by their own file:
// rootcas: [/etc/ssl/certs/ca-certificates.crt].
func New(section configuration.Redis, credentials ...string) (*Server, error) {
	switch o := section.Options; {
	case len(o.Addrs) == 0 || o.Addrs[0] == "":
		return nil, errors.New("cannot use Redis: redis.addrs is empty")
	case len(o.Addrs) > 1 || o.MasterName != "":
		return nil, errors.New("cannot use Redis: redis.addrs must name one server; clusters and sentinels are not supported")
	case (section.TLS.Certificate == "") != (section.TLS.Key == ""):
		return nil, errors.New("cannot use Redis: redis.tls.certificate and redis.tls.key belong together")
	}
	return &Server{section: section, credentials: credentials}, nil
}

// Address is where the server is: host:port, or the path of its socket.
func (s *Server) Address() string { return s.section.Options.Addrs[0] }

// Shared says whether others may use this Redis too.
func (s *Server) Shared() bool { return !strings.HasPrefix(s.Address(), "/") }

// Conn is one connection, logged in. It must be closed after an error of the
// network; it does not come back by itself.
type Conn struct {
	*redis.Client
	Info map[string]string // what the server said of itself at the login, as INFO
	raw  net.Conn
}

// Run identifies this run of the server. It differs after a restart, and on another
// server.
func (c *Conn) Run() string { return c.Info["run_id"] }

// Open makes a connection to a server that accepts reads and writes.
func (s *Server) Open(ctx context.Context) (*Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	c, err := s.open(ctx)
	if err != nil {
		return nil, s.Explain(err)
	}
	return c, nil
}

func (s *Server) open(ctx context.Context) (*Conn, error) {
	login, err := s.login()
	if err != nil {
		return nil, err
	}
	raw, wire, err := s.dial(ctx)
	if err != nil {
		return nil, err
	}
	next := make(chan net.Conn, 1)
	next <- wire
	c := &Conn{raw: raw, Client: redis.NewClient(&redis.Options{
		Addr: s.Address(), DB: s.section.Options.DB, Username: login.Username, Password: login.Password,
		Dialer: func(context.Context, string, string) (net.Conn, error) {
			select {
			case wire := <-next:
				return wire, nil
			default:
				return nil, net.ErrClosed
			}
		},
		PoolSize: 1, MaxRetries: -1, ConnMaxIdleTime: -1, ContextTimeoutEnabled: true,
		PoolTimeout: patience, ReadTimeout: patience, WriteTimeout: patience,
		Protocol: 2, DisableIdentity: true,
	})}
	text, err := c.Client.Info(ctx).Result()
	if err == nil {
		c.Info = fields(text)
		err = usable(c.Info)
	}
	if err != nil {
		_ = c.Close() // the error that made it useless is returned
		_ = raw.Close()
		return nil, err
	}
	return c, nil
}

// fields parses the answer to INFO.
func fields(text string) map[string]string {
	m := map[string]string{}
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		m[name] = value
	}
	return m
}

var (
	errReplica = errors.New("it is a replica, which takes no writes: name the primary (cache.redis.address)")
	errCluster = errors.New("it is a node of a cluster, which is not supported (cache.redis.address)")
	errLoading = errors.New("it is still loading its data")
	errNoRun   = errors.New("it does not tell its run_id in INFO, so that a restart could not be noticed")
)

func usable(info map[string]string) error {
	switch {
	case info["loading"] == "1":
		return errLoading
	case info["role"] != "" && info["role"] != "master":
		return errReplica
	case info["redis_mode"] == "cluster" || info["cluster_enabled"] == "1":
		return errCluster
	case info["run_id"] == "":
		return errNoRun
	}
	return nil
}

// dial returns the TCP connection, and the one to use, which may be TLS on top of it.
func (s *Server) dial(ctx context.Context) (raw, wire net.Conn, err error) {
	config, err := s.tls()
	if err != nil {
		return nil, nil, err
	}
	network := "tcp"
	if !s.Shared() {
		network = "unix"
	}
	dialer := net.Dialer{KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 30 * time.Second, Interval: 10 * time.Second, Count: 3}}
	if raw, err = dialer.DialContext(ctx, network, s.Address()); err != nil {
		return nil, nil, err
	}
	if config == nil {
		return raw, raw, nil
	}
	secured := tls.Client(raw, config)
	if err := secured.HandshakeContext(ctx); err != nil {
		_ = raw.Close() // the error that made it useless is returned
		return nil, nil, handshakeError{err}
	}
	return raw, secured, nil
}

// handshakeError is a connection that was made, and cannot be secured.
type handshakeError struct{ error }

func (e handshakeError) Unwrap() error { return e.error }

// secured says whether TLS is asked for.
func (s *Server) secured() bool {
	return s.section.TLS.Certificate != "" || len(s.section.TLS.RootCAs) > 0
}

// tls returns nil where the section asks for none.
func (s *Server) tls() (*tls.Config, error) {
	section := s.section.TLS
	if !s.secured() {
		return nil, nil
	}
	host, _, err := net.SplitHostPort(s.Address())
	if err != nil {
		return nil, fmt.Errorf("redis.tls needs an address with a port in redis.addrs: %w", err)
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: host}
	if section.Certificate != "" {
		pair, err := tls.LoadX509KeyPair(section.Certificate, section.Key)
		if err != nil {
			return nil, fmt.Errorf("redis.tls.certificate and redis.tls.key: %w", err)
		}
		config.Certificates = []tls.Certificate{pair}
	}
	for _, path := range section.RootCAs {
		data, err := os.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("redis.tls.rootcas (cache.redis.caBundle): %w", err)
		}
		if config.RootCAs == nil {
			config.RootCAs = x509.NewCertPool()
		}
		if !config.RootCAs.AppendCertsFromPEM(data) {
			return nil, fmt.Errorf("redis.tls.rootcas (cache.redis.caBundle): %s holds no certificate", path)
		}
	}
	return config, nil
}

// Alive tells whether an idle connection is still open. A Redis sends nothing unasked, so
// anything to read is its closing the connection.
func (c *Conn) Alive() bool {
	sock, ok := c.raw.(syscall.Conn)
	if !ok {
		return false
	}
	control, err := sock.SyscallConn()
	if err != nil {
		return false
	}
	quiet := false
	err = control.Control(func(fd uintptr) {
		_, _, err := syscall.Recvfrom(int(fd), make([]byte, 1), syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		quiet = errors.Is(err, syscall.EAGAIN)
	})
	return err == nil && quiet
}
