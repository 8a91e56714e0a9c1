package registry

import (
	"fmt"
	"net"
	"net/http"

	"github.com/redoubt-registry/redoubt/appliance/registry/bounds"
	"github.com/redoubt-registry/redoubt/appliance/registry/forwarded"
	"github.com/redoubt-registry/redoubt/appliance/registry/page"
)

// proxiesOption is the option of our access controller with the networks of the proxies
// that stand before the registry. Distribution's own words have none for it.
const proxiesOption = "proxies"

// openProxies reads whom the registry believes who a client is.
func (g *generation) openProxies() error {
	if g.config.Auth.Type() == "" { // in maintenance without a configuration
		return nil
	}
	var err error
	if g.proxies, err = forwarded.Parse(g.config.Auth.Parameters()[proxiesOption]); err != nil {
		return fmt.Errorf("cannot use auth.%s.%s: %w", g.config.Auth.Type(), proxiesOption, err)
	}
	return nil
}

// trusted says whether a proxy is at the other end of a connection.
func (s *server) trusted(end net.Addr) bool {
	g := s.acquire()
	defer g.release()
	return g.proxies.HasEnd(end)
}

// gated bounds the connections of l and finds out whose they are.
func (s *server) gated(l net.Listener) net.Listener {
	return s.gate.Listen(&forwarded.Listener{Listener: l, Trusted: s.trusted, Patience: s.opts.Bounds.Header})
}

// resolved finds out whose a request is before anything else is done with it.
func (s *server) resolved(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		g := s.acquire()
		proxies := g.proxies
		g.release()
		proxies.Resolve(r)
		next.ServeHTTP(w, r)
	})
}

// inTheClear refuses a request in plain HTTP of anybody but a proxy and this machine: his
// password was on the network.
func (g *generation) inTheClear(r *http.Request) http.Handler {
	peer := bounds.Peer(r.Context())
	if g.maintenance != nil || g.pair != nil || peer == nil || g.proxies.HasEnd(peer) {
		return nil
	}
	if tcp, ok := peer.(*net.TCPAddr); !ok || tcp.IP.IsLoopback() {
		return nil
	}
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		page.Refused(w, http.StatusForbidden, "this registry takes plain HTTP of its proxy alone")
	})
}
