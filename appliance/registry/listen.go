package registry

import (
	"errors"
	"fmt"
	"net"
	"strings"

	"github.com/coreos/go-systemd/v22/activation"
	"github.com/distribution/distribution/v3/configuration"
)

// sockets are what the server listens on: the registry's own, and those that
// only send a client there.
type sockets struct {
	front, redirect []net.Listener
}

// listen takes the sockets that the options or systemd pass, or else binds
// http.addr itself. Of those that are passed the registry's is the one on
// http.addr's port.
func (s *server) listen() (sockets, error) {
	g := s.acquire()
	defer g.release()
	passed := s.opts.Listeners
	if passed == nil {
		var err error
		if passed, err = activated(); err != nil {
			return sockets{}, err
		}
	}
	if len(passed) == 0 {
		l, err := bind(g.config.HTTP)
		if err != nil {
			return sockets{}, err
		}
		passed = []net.Listener{l}
	}
	out, err := sortSockets(passed, g.config.HTTP)
	if err != nil {
		return out, err
	}
	s.sockets = passed
	return out, g.checkCleartext(passed)
}

func activated() ([]net.Listener, error) {
	all, err := activation.Listeners()
	if err != nil {
		return nil, fmt.Errorf("cannot take the sockets from systemd: %w", err)
	}
	var streams []net.Listener
	for _, l := range all {
		if l == nil {
			return nil, errors.New("cannot use a socket from systemd: it must be ListenStream=")
		}
		streams = append(streams, l)
	}
	return streams, nil
}

func bind(h configuration.HTTP) (net.Listener, error) {
	network := h.Net
	if network == "" {
		network = "tcp"
	}
	l, err := net.Listen(network, h.Addr)
	if err != nil {
		return nil, fmt.Errorf("cannot listen on http.addr %s: %w (is another server running there?)", h.Addr, err)
	}
	return l, nil
}

// sortSockets tells the registry's sockets from the others by http.addr.
func sortSockets(all []net.Listener, h configuration.HTTP) (sockets, error) {
	var out sockets
	var have []string
	for _, l := range all {
		if isFront(l.Addr(), h) {
			out.front = append(out.front, l)
		} else {
			out.redirect = append(out.redirect, l)
		}
		have = append(have, l.Addr().String())
	}
	if len(out.front) == 0 {
		return out, fmt.Errorf("cannot use http.addr %s: the sockets are %s; they must agree", h.Addr, strings.Join(have, ", "))
	}
	return out, nil
}

func isFront(addr net.Addr, h configuration.HTTP) bool {
	if addr.Network() == "unix" || h.Net == "unix" {
		return addr.String() == h.Addr
	}
	_, port, err := net.SplitHostPort(addr.String())
	if err != nil {
		return false
	}
	_, want, err := net.SplitHostPort(h.Addr)
	return err == nil && (port == want || want == "0")
}

// checkCleartext refuses to take passwords in the clear from elsewhere.
func (g *generation) checkCleartext(all []net.Listener) error {
	if g.pair != nil {
		return nil
	}
	for _, l := range all {
		tcp, ok := l.Addr().(*net.TCPAddr)
		if ok && !tcp.IP.IsLoopback() {
			return fmt.Errorf("cannot serve without TLS on %s: only on a loopback address (http.tls.certificate is not set)", l.Addr())
		}
	}
	return nil
}
