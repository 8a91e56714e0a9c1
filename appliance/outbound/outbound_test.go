package outbound_test

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/redoubt-registry/redoubt/appliance/outbound"
	"github.com/redoubt-registry/redoubt/appliance/paths"
	"github.com/redoubt-registry/redoubt/test/forward"
	"github.com/redoubt-registry/redoubt/test/program"
)

const password = "a-password-of-the-proxy"

func TestWhatGoesThrough(t *testing.T) {
	t.Parallel()
	p := outbound.Proxy{URL: "http://proxy.example:3128", NoProxy: []string{"registry.example", "192.0.2.1", "2001:db8::1",
		"*.below.example", ".dot.example", "plain.example", "10.0.0.0/8", "minio"}}
	for asked, want := range map[string]bool{
		"https://ca.example/directory": true, "http://s3.example:9000/b": true, "https://192.0.2.2/": true, "https://[2001:db8::2]/": true,
		"https://below.example/": true, "https://a.below.example/": false, "https://dot.example/": true, "https://a.dot.example/": false,
		"https://plain.example/": false, "https://a.plain.example:8443/": false, "https://notplain.example/": true, "https://PLAIN.example/": false,
		"http://10.1.2.3/": false, "https://11.1.2.3/": true, "http://minio:9000/": false, "https://registry.example/": false,
		"https://192.0.2.1/": false, "https://[2001:db8::1]/": false,
		"http://localhost:5000/": false, "http://127.0.0.1/": false, "http://127.9.9.9/": false, "http://[::1]:80/": false,
		"http://169.254.169.254/latest": false, "http://[fe80::1]/": false, "http://[fd00:ec2::254]/": true,
	} {
		u, err := url.Parse(asked)
		if err != nil {
			t.Fatal(err)
		}
		if got := p.Takes(u); got != want {
			t.Errorf("%s goes through the proxy: %v", asked, got)
		}
		if (outbound.Proxy{}).Takes(u) {
			t.Errorf("%s goes through no proxy", asked)
		}
	}
}

// site is a server that is called a.example, behind proxies.
func site(t *testing.T, secured bool) (*httptest.Server, string) {
	t.Helper()
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for name := range r.Header {
			if strings.HasPrefix(name, "Proxy-") {
				t.Errorf("the server is told %s", name)
			}
		}
		_, _ = io.WriteString(w, "hello")
	}))
	if secured {
		s.StartTLS()
	} else {
		s.Start()
	}
	t.Cleanup(s.Close)
	return s, s.Listener.Addr().String()
}

func cas(s *httptest.Server) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}))
}

// direct leads to the server without a proxy, where the test says so.
var direct sync.Map

func get(t *testing.T, p outbound.Proxy, from string) (string, error) {
	t.Helper()
	transport := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
		if to, ok := direct.Load(address); ok {
			address = to.(string)
		}
		return (&net.Dialer{}).DialContext(ctx, network, address)
	}}
	w, err := (&http.Client{Transport: p.Through(transport)}).Get(from)
	if err != nil {
		if strings.Contains(err.Error(), password) {
			t.Errorf("%v", err)
		}
		return "", err
	}
	defer w.Body.Close()
	data, err := io.ReadAll(w.Body)
	return string(data), err
}

// A proxy that is http and one that is https, with a login and without, for servers that
// are http and https.
func TestThrough(t *testing.T) {
	t.Parallel()
	_, plainAt := site(t, false)
	secured, securedAt := site(t, true)
	direct.Store("direct.example:80", plainAt)
	for _, start := range []func(*testing.T, string, string) *forward.Proxy{forward.New, forward.NewTLS} {
		for _, user := range []string{"", "machine"} {
			proxy := start(t, user, password)
			proxy.Lead("a.example", plainAt) // Host has no port there that is the scheme's own
			proxy.Lead("example.com:443", securedAt)
			trusted := cas(secured)
			if proxy.Certificate() != nil {
				trusted += cas(proxy.Server)
			}
			p := outbound.Proxy{URL: proxy.URL, CAs: trusted}
			if user != "" {
				p.Username, p.Password = user, password
			}
			for _, from := range []string{"http://a.example/", "https://example.com/"} {
				if body, err := get(t, p, from); err != nil || body != "hello" {
					t.Errorf("%s by %s: %q %v", from, proxy.URL, body, err)
				}
			}
			if n := len(proxy.Asked()); n != 2 {
				t.Errorf("the proxy was asked %d times", n)
			}
			p.NoProxy = []string{"direct.example"}
			for _, from := range []string{"http://" + plainAt, "http://direct.example/"} {
				if body, err := get(t, p, from); err != nil || body != "hello" || len(proxy.Asked()) != 2 {
					t.Errorf("%s without the proxy: %q %v", from, body, err)
				}
			}
		}
	}
}

// Each failure on the way says that it is the proxy's, and which key fixes it.
func TestFailures(t *testing.T) {
	t.Parallel()
	login := forward.New(t, "machine", password)
	open := forward.New(t, "", "")
	open.Refuse("refused.example:443")
	open.Lead("gone.example:443", program.FreeAddress(t))
	https := forward.NewTLS(t, "", "")
	for name, c := range map[string]struct {
		proxy          outbound.Proxy
		from, key, say string
		denied         bool
	}{
		"dead":            {outbound.Proxy{URL: "http://" + program.FreeAddress(t)}, "https://a.example", "proxy.url", "cannot be reached", false},
		"dead, http":      {outbound.Proxy{URL: "http://" + program.FreeAddress(t)}, "http://a.example", "proxy.url", "cannot be reached", false},
		"no such name":    {outbound.Proxy{URL: "http://proxy.invalid:3128"}, "https://a.example", "proxy.url", "cannot be reached", false},
		"no login":        {outbound.Proxy{URL: login.URL}, "https://a.example", "proxy.username", "asks for a login", true},
		"no login, http":  {outbound.Proxy{URL: login.URL}, "http://a.example", "proxy.username", "asks for a login", true},
		"wrong login":     {outbound.Proxy{URL: login.URL, Username: "machine", Password: "wrong"}, "https://a.example", "proxy.password", "refuses the login", true},
		"refused":         {outbound.Proxy{URL: open.URL}, "https://refused.example", "proxy.url", "does not let this machine reach refused.example:443", true},
		"gone":            {outbound.Proxy{URL: open.URL}, "https://gone.example", "proxy.url", "cannot reach gone.example:443: it answers 502", false},
		"unknown CA":      {outbound.Proxy{URL: https.URL}, "https://a.example", "proxy.caBundle", "of a CA that this machine does not know", false},
		"http, not https": {outbound.Proxy{URL: strings.Replace(open.URL, "http:", "https:", 1)}, "https://a.example", "proxy.url", "does not speak TLS", false},
		"not a URL":       {outbound.Proxy{URL: "socks5://a:" + password + "@b"}, "https://a.example", "proxy.url", "must be a URL", false},
	} {
		_, err := get(t, c.proxy, c.from)
		e, ok := errors.AsType[*outbound.Error](err)
		if !ok || e.Key != c.key || !strings.Contains(e.Error(), c.say) || e.Denied() != c.denied {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestCheck(t *testing.T) {
	t.Parallel()
	proxy := forward.NewTLS(t, "", "")
	for _, p := range []outbound.Proxy{{}, {URL: proxy.URL, CAs: cas(proxy.Server)}} {
		if err := p.Check(context.Background()); err != nil {
			t.Errorf("%+v: %v", p, err)
		}
	}
	for _, p := range []outbound.Proxy{{URL: proxy.URL}, {URL: "http://" + program.FreeAddress(t)}, {URL: "x"}} {
		if err := p.Check(context.Background()); err == nil {
			t.Errorf("%+v is well", p)
		}
	}
}

// A process has its proxy from systemd, else from root's file; one whose file is damaged
// reaches nobody.
func TestOwn(t *testing.T) {
	root, credentials := t.TempDir(), t.TempDir()
	write := func(path string, p outbound.Proxy) {
		t.Helper()
		data, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, data, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	if got := outbound.Own(root); got.URL != "" {
		t.Errorf("none: %+v", got)
	}
	file := filepath.Join(root, paths.OutboundFile)
	write(file, outbound.Proxy{URL: "http://a"})
	t.Setenv("CREDENTIALS_DIRECTORY", credentials)
	if got := outbound.Own(root); got.URL != "http://a" {
		t.Errorf("of root: %+v", got)
	}
	write(filepath.Join(credentials, paths.OutboundCredential), outbound.Proxy{URL: "http://b"})
	if got := outbound.Own(root); got.URL != "http://b" {
		t.Errorf("of the unit: %+v", got)
	}
	if err := os.WriteFile(filepath.Join(credentials, paths.OutboundCredential), []byte(`{"password":"`+password), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := get(t, outbound.Own(root), "http://127.0.0.1:1"); err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("damaged: %v", err)
	}
}
