package redis

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"

	"github.com/redis/go-redis/v9"
)

// Explain says why this Redis cannot be used, and which key to fix. The same cause always
// gives the same text, without secrets.
func (s *Server) Explain(err error) error {
	if s.Shared() {
		return &problem{text: "cannot use the Redis at " + s.Address() + ": " + s.why(err), cause: err}
	}
	why, _, _ := strings.Cut(s.why(err), " (cache.redis.") // it has no such keys
	return &problem{text: "cannot use the machine's own Redis (redoubt-redis.service): " + why, cause: err}
}

type problem struct {
	text  string
	cause error
}

func (p *problem) Error() string { return p.text }
func (p *problem) Unwrap() error { return p.cause }

func (s *Server) why(err error) string {
	var explained *problem
	if errors.As(err, &explained) {
		err = explained.cause
	}
	var answer redis.Error
	switch {
	case errors.Is(err, net.ErrClosed), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF),
		errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE), errors.Is(err, redis.ErrClosed):
		return "it cut the connection" + s.perhaps()
	case errors.As(err, &answer):
		return refusal(answer.Error())
	}
	if text := certificate(err); text != "" {
		return text
	}
	return network(err)
}

// perhaps is why a server may close a new connection without an answer.
func (s *Server) perhaps() string {
	switch {
	case !s.Shared():
		return ""
	case !s.secured():
		return "; if it wants TLS, set cache.redis.tls"
	case s.section.TLS.Certificate == "":
		return "; if it asks for a client certificate, that is not supported (tls-auth-clients of the server)"
	}
	return ""
}

// refusal is an answer of the server that is an error. The first word tells the
// kind (https://redis.io/docs/latest/develop/reference/protocol-spec/).
func refusal(answer string) string {
	kind, _, _ := strings.Cut(answer, " ")
	switch {
	case kind == "WRONGPASS", strings.Contains(answer, "without any password configured"), strings.Contains(answer, "invalid password"):
		return "it refuses the login (cache.redis.username and cache.redis.password)"
	case kind == "NOAUTH":
		return "it wants a password (cache.redis.password)"
	case kind == "NOPERM":
		return "the user may not do what the cache needs (cache.redis.username): ~redoubt:* +@read +@write +@connection +@transaction +info"
	case kind == "DENIED":
		return "it is in protected mode, which serves its own machine alone: give it a password (requirepass or a user)"
	case kind == "READONLY":
		return errReplica.Error()
	case kind == "MOVED" || kind == "ASK" || kind == "CLUSTERDOWN" || kind == "CROSSSLOT":
		return errCluster.Error()
	case kind == "LOADING" || kind == "MASTERDOWN":
		return errLoading.Error()
	case kind == "OOM":
		return "it is full and evicts nothing (maxmemory and maxmemory-policy of the server)"
	case strings.Contains(answer, "max number of clients"):
		return "it has as many clients as it takes (maxclients of the server)"
	}
	return fmt.Sprintf("it answers with an error of kind %.20q", kind)
}

// certificate is what is wrong with TLS, or empty.
func certificate(err error) string {
	var (
		authority x509.UnknownAuthorityError
		hostname  x509.HostnameError
		invalid   x509.CertificateInvalidError
		record    tls.RecordHeaderError
		alert     tls.AlertError
	)
	switch {
	case errors.As(err, &authority):
		return "its certificate is not from a CA that is trusted here (cache.redis.caBundle)"
	case errors.As(err, &hostname):
		return "its certificate is for another name (cache.redis.address): " + hostname.Error()
	case errors.As(err, &invalid):
		return "its certificate cannot be used: " + invalid.Error()
	case errors.As(err, &record):
		return "it does not speak TLS on this port (cache.redis.tls, cache.redis.address)"
	case errors.As(err, &alert), err != nil && strings.Contains(err.Error(), "remote error: tls: "):
		if strings.Contains(err.Error(), "certificate") {
			return "it asks for a client certificate, which is not supported (tls-auth-clients of the server)"
		}
		return "it refuses the TLS handshake: " + err.Error()
	}
	return ""
}

func network(err error) string {
	var (
		name    *net.DNSError
		timeout net.Error
		op      *net.OpError
	)
	switch {
	case errors.As(err, &name):
		return "its name cannot be resolved (cache.redis.address)"
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.ENOENT) && errors.As(err, &op):
		return "nobody listens there (cache.redis.address)"
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		if errors.As(err, new(handshakeError)) {
			return "it does not answer the TLS handshake: is this its port for TLS (cache.redis.address, cache.redis.tls)?"
		}
		return "it does not answer in time"
	case strings.HasPrefix(err.Error(), "redis: "): // the client, of an answer
		if strings.Contains(err.Error(), `\x15\x03`) { // a TLS alert
			return "it wants TLS (cache.redis.tls)"
		}
		return "what answers there is no Redis (cache.redis.address)"
	case errors.As(err, &op):
		return op.Err.Error()
	}
	return err.Error()
}
