//go:build integration

package acme

import (
	"net/url"
	"testing"

	"github.com/redoubt-registry/redoubt/appliance/outbound"
	"github.com/redoubt-registry/redoubt/test/forward"
	"github.com/redoubt-registry/redoubt/test/pebble"
)

// A CA that is reached by a proxy alone gives the certificate, and a proxy that is away is
// what the error names, and no failure of the CA's.
func TestThroughAProxy(t *testing.T) {
	t.Parallel()
	w := newWorld(t, pebble.Options{Seen: "192.0.2.10"}, "registry.example.com")
	proxy := forward.New(t, "machine", "secret-of-the-proxy")
	u, err := url.Parse(w.Want.Directory)
	if err != nil {
		t.Fatal(err)
	}
	proxy.Lead(u.Host, "127.0.0.1:"+u.Port())
	w.Want.Proxy = outbound.Proxy{URL: proxy.URL, Username: "machine", Password: "wrong"}
	w.fails("the CA cannot be reached", "refuses the login", "proxy.password")
	w.Want.Proxy.Password = "secret-of-the-proxy" // another digest: it is tried at once
	w.issued()
	if asked := proxy.Asked(); len(asked) < 2 || asked[len(asked)-1] != u.Host {
		t.Errorf("the proxy was asked for %v", asked)
	}
	proxy.Close()
	w.due()
	w.fails("the CA cannot be reached", "the proxy "+proxy.Listener.Addr().String(), "proxy.url")
}
