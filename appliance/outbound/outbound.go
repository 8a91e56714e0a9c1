// Package outbound sends what the machine itself asks for by HTTP through the proxy that
// the configuration names (proxy), and says whose fault a failure on the way is.
package outbound

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/net/http/httpproxy"

	"github.com/redoubt-registry/redoubt/appliance/paths"
)

// Proxy is a proxy and what is reached without it. The zero Proxy is none.
type Proxy struct {
	URL      string   `json:"url"`
	Username string   `json:"username,omitempty"`
	Password string   `json:"password,omitempty"`
	CAs      string   `json:"cas,omitempty"`     // PEM: trusted beside the others
	NoProxy  []string `json:"noProxy,omitempty"` // names, *.suffixes, addresses and networks

	err error // why it is not known
}

// always is reached without a proxy: a link-local address is another machine beside each
// proxy. Loopback is never asked of a proxy anyway.
var always = []string{"169.254.0.0/16", "fe80::/10"}

// Own is the proxy of this process: from its systemd credential, else from root's own file
// below root. Where it cannot be read nothing goes anywhere.
func Own(root string) Proxy {
	file := filepath.Join(root, paths.OutboundFile)
	if dir := os.Getenv("CREDENTIALS_DIRECTORY"); dir != "" {
		given := filepath.Join(dir, paths.OutboundCredential)
		if _, err := os.Stat(given); err == nil {
			file = given
		}
	}
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) && os.Getuid() != 0 {
		return Proxy{} // no file, or a process that is neither root's nor a unit's
	}
	if err != nil {
		return Proxy{err: fmt.Errorf("cannot read the proxy: %w", err)}
	}
	return Read(data)
}

// Read reads the document that a Proxy is as JSON.
func Read(data []byte) Proxy {
	var p Proxy
	if json.Unmarshal(data, &p) != nil { // its error may quote the password
		return Proxy{err: errors.New("cannot read the proxy: its file is damaged; run redoubt apply")}
	}
	return p
}

// marker is the host that stands for the proxy where a transport asks for a connection:
// nobody else can be meant by it.
const marker = "proxy.invalid:1"

// Through makes t send through p. t belongs to p from then on.
func (p Proxy) Through(t *http.Transport) http.RoundTripper {
	t.Proxy = nil
	if p.err != nil {
		return broken{p.err}
	}
	if p.URL == "" {
		return t
	}
	to, err := newHop(p)
	if err != nil {
		return broken{err}
	}
	choose := p.chooser()
	t.Proxy = func(r *http.Request) (*url.URL, error) { return choose(r.URL) }
	direct := t.DialContext
	if direct == nil {
		direct = (&net.Dialer{Timeout: dialTimeout}).DialContext
	}
	t.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		if address == marker {
			return to.dial(ctx, network, direct)
		}
		return direct(ctx, network, address)
	}
	t.OnProxyConnectResponse = func(_ context.Context, _ *url.URL, asked *http.Request, answer *http.Response) error {
		return to.judge(asked.URL.Opaque, answer)
	}
	to.trust(t)
	return through{t, to}
}

// chooser gives the marker for what goes through the proxy, and nil for what does not.
func (p Proxy) chooser() func(*url.URL) (*url.URL, error) {
	c := httpproxy.Config{HTTPProxy: "http://" + marker, HTTPSProxy: "http://" + marker,
		NoProxy: strings.Join(append(always, p.NoProxy...), ",")}
	choose := c.ProxyFunc()
	return func(asked *url.URL) (*url.URL, error) {
		u, err := choose(asked)
		if u != nil && p.Username != "" {
			u.User = url.UserPassword(p.Username, p.Password)
		}
		return u, err
	}
}

// Takes says whether a request for a URL goes through the proxy.
func (p Proxy) Takes(asked *url.URL) bool {
	if p.URL == "" {
		return false
	}
	u, err := p.chooser()(asked)
	return err == nil && u != nil
}

// broken fails each request.
type broken struct{ err error }

func (b broken) RoundTrip(*http.Request) (*http.Response, error) { return nil, b.err }

// through turns the proxy's own answers into errors.
type through struct {
	*http.Transport
	to *hop
}

// RoundTrip implements http.RoundTripper. RFC 9110, 15.5.8: 407 is the proxy's alone.
func (t through) RoundTrip(r *http.Request) (*http.Response, error) {
	w, err := t.Transport.RoundTrip(r)
	if err != nil || w.StatusCode != http.StatusProxyAuthRequired {
		return w, err
	}
	w.Body.Close()
	return nil, t.to.judge(r.URL.Host, w)
}
