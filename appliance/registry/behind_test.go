package registry

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	proxyproto "github.com/pires/go-proxyproto"
	"github.com/sirupsen/logrus"
)

// from is a way to the machine from a loopback address, with bytes that come first.
func (m *machine) from(source string, first []byte) *http.Transport {
	t := m.transport()
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(source)}, Timeout: 5 * time.Second}
	t.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := dialer.DialContext(ctx, network, addr)
		if err == nil && first != nil {
			_, err = c.Write(first)
		}
		return c, err
	}
	t.DisableKeepAlives = true
	return t
}

// proxyHeader is what haproxy's send-proxy-v2 begins a connection of client with.
func proxyHeader(t testing.TB, client string) []byte {
	t.Helper()
	end, err := net.ResolveTCPAddr("tcp", client)
	check(t, err)
	h, err := proxyproto.HeaderProxyFromAddrs(2, end, &net.TCPAddr{IP: net.IPv4(10, 0, 0, 1), Port: 443}).Format()
	check(t, err)
	return h
}

// remotes are the clients of the access log that asked for path.
func (m *machine) remotes(path string) (out []string) {
	for line := range strings.Lines(m.log.String()) {
		var l struct{ Remote, URI string }
		if json.Unmarshal([]byte(line), &l) == nil && l.URI == path {
			out = append(out, l.Remote)
		}
	}
	return out
}

// The log, the limits and the links are the client's where a proxy that is named says
// who he is; what anybody else says is not heard.
func TestBehindProxy(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.authMore = `, proxies: ["127.0.0.2/32"]`
	m.config(t, "info")
	m.start(t)
	base := "https://" + m.host()
	get := func(source string, first []byte, path string, header ...string) (answer, error) {
		return send(m.from(source, first), "GET", base+path, nil, header...)
	}
	for path, c := range map[string]struct {
		source string
		first  []byte
		header []string
		remote string // empty: no answer
	}{
		"/v2/?protocol":          {"127.0.0.2", proxyHeader(t, "198.51.100.7:4711"), nil, "198.51.100.7"},
		"/v2/?protocol6":         {"127.0.0.2", proxyHeader(t, "[2001:db8::7]:4711"), nil, "2001:db8::7"},
		"/v2/?protocol-stranger": {"127.0.0.3", proxyHeader(t, "198.51.100.7:4711"), nil, ""},
		"/v2/?protocol-header":   {"127.0.0.2", proxyHeader(t, "198.51.100.7:4711"), []string{"X-Forwarded-For", "198.51.100.9"}, "198.51.100.7"},
		"/v2/?header":            {"127.0.0.2", nil, []string{"X-Forwarded-For", "203.0.113.1, 198.51.100.8"}, "198.51.100.8"},
		"/v2/?header-stranger":   {"127.0.0.3", nil, []string{"X-Forwarded-For", "198.51.100.8"}, "127.0.0.3"},
		"/v2/?plain":             {"127.0.0.2", nil, nil, "127.0.0.2"},
	} {
		a, err := get(c.source, c.first, path, c.header...)
		if c.remote == "" {
			if err == nil {
				t.Errorf("%s: %s", path, a.Status)
			}
			continue
		}
		check(t, err)
		until(t, path, func() bool { return len(m.remotes(path)) > 0 })
		if got := m.remotes(path)[0]; a.StatusCode != 200 || got != c.remote {
			t.Errorf("%s: %s, the log has %s, want %s", path, a.Status, got, c.remote)
		}
	}
	for _, c := range []struct{ source, want string }{
		{"127.0.0.2", "https://registry.test:8443/"}, {"127.0.0.3", "/v2/"},
	} {
		a, err := send(m.from(c.source, nil), "POST", base+"/v2/app/blobs/uploads/", nil, "X-Forwarded-Proto", "https", "X-Forwarded-Host", "registry.test:8443")
		check(t, err)
		if got := a.Header.Get("Location"); !strings.HasPrefix(got, c.want) {
			t.Errorf("from %s: Location %s, want %s…", c.source, got, c.want)
		}
	}
	tries := 0
	wrong := func(client string) int {
		tries++
		guess := "Basic " + base64.StdEncoding.EncodeToString(fmt.Appendf(nil, "alice:guess %d", tries))
		a, err := get("127.0.0.2", nil, "/v2/", "X-Forwarded-For", client, "Authorization", guess)
		check(t, err)
		return a.StatusCode
	}
	limited := false
	for range 40 {
		if limited = wrong("198.51.100.66") == http.StatusTooManyRequests; limited {
			break
		}
	}
	if !limited {
		t.Error("one client behind the proxy guesses passwords without an end")
	}
	if got := wrong("198.51.100.67"); got != http.StatusUnauthorized {
		t.Errorf("another client behind the same proxy is answered %d", got)
	}
}

// Half a header of a proxy holds up nobody else, not even the proxy itself.
func TestHalfAProxyHeader(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.authMore = `, proxies: ["127.0.0.2/32"]`
	m.config(t, "info")
	m.start(t)
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}}
	for _, first := range [][]byte{nil, proxyHeader(t, "198.51.100.7:4711")[:13]} {
		c, err := dialer.Dial("tcp", m.host())
		check(t, err)
		defer c.Close()
		_, err = c.Write(first)
		check(t, err)
	}
	for _, source := range []string{"127.0.0.1", "127.0.0.2", "127.0.0.3"} {
		if a, err := send(m.from(source, nil), "GET", "https://"+m.host()+"/v2/", nil); err != nil || a.StatusCode != 200 {
			t.Errorf("from %s: %v %v", source, a.Response, err)
		}
	}
}

// seenFrom is a socket whose clients come from addresses of other machines.
type seenFrom struct {
	net.Listener
	peers chan string
}

type seen struct {
	net.Conn
	peer net.Addr
}

func (l seenFrom) Addr() net.Addr {
	return &net.TCPAddr{IP: net.IPv4zero, Port: l.Listener.Addr().(*net.TCPAddr).Port}
}

func (l seenFrom) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return seen{c, &net.TCPAddr{IP: net.ParseIP(<-l.peers), Port: 99}}, nil
}

func (s seen) RemoteAddr() net.Addr { return s.peer }

func quiet() *logrus.Logger {
	l := logrus.New()
	l.SetOutput(io.Discard)
	return l
}

// Plain HTTP is for the proxies that are named, and for this machine.
func TestPlainBehindProxy(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.authMore = `, proxies: ["10.0.0.5/32"]`
	m.config(t, "info")
	data, err := os.ReadFile(m.path("registry.yml"))
	check(t, err)
	yml := string(data)
	for line := range strings.Lines(yml) {
		if strings.HasPrefix(line, "  tls:") {
			yml = strings.Replace(yml, line, "  relativeurls: true\n", 1)
		}
	}
	yml = strings.Replace(yml, "host: https://"+m.host(), "host: https://registry.test", 1)
	m.write(t, "registry.yml", yml)
	s := newServer(Options{Config: m.path("registry.yml"), Maintenance: m.path("none")}, quiet())
	check(t, s.start())
	defer s.close()
	l := seenFrom{m.tls, make(chan string, 1)}
	s.opts.Listeners = []net.Listener{l}
	sockets, err := s.listen()
	check(t, err)
	s.run(sockets)
	defer s.front.Close()
	ask := func(peer, method, path string, header ...string) answer {
		l.peers <- peer
		a, err := send(m.from("127.0.0.1", nil), method, "http://"+m.host()+path, nil, header...)
		check(t, err)
		return a
	}
	for peer, want := range map[string]int{"10.0.0.5": 200, "127.0.0.1": 200, "10.0.0.6": 403, "192.0.2.1": 403} {
		if a := ask(peer, "GET", "/v2/", "X-Forwarded-For", "10.0.0.5"); a.StatusCode != want {
			t.Errorf("from %s: %s, want %d", peer, a.Status, want)
		}
	}
	for want, header := range map[string][]string{
		"https://registry.test:8443/v2/": {"X-Forwarded-Proto", "https", "X-Forwarded-Host", "registry.test:8443"},
		"/v2/":                           {"X-Forwarded-Proto", "https"},
	} {
		a := ask("10.0.0.5", "POST", "/v2/app/blobs/uploads/", header...)
		if got := a.Header.Get("Location"); !strings.HasPrefix(got, want) {
			t.Errorf("%v: Location %s", header, got)
		}
	}
	if a := ask("10.0.0.6", "POST", "/v2/app/blobs/uploads/", "X-Forwarded-Proto", "https", "X-Forwarded-Host", "evil.test"); a.StatusCode != 403 || strings.Contains(a.Header.Get("Location"), "evil") {
		t.Errorf("a stranger: %s %v", a.Status, a.Header)
	}
}
