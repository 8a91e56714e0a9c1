package forwarded

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"testing"
	"time"

	proxyproto "github.com/pires/go-proxyproto"
)

func proxies(t testing.TB, nets ...any) Proxies {
	t.Helper()
	p, err := Parse(nets)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestParse(t *testing.T) {
	p := proxies(t, "10.0.0.0/8", "fd00::1/128")
	for addr, want := range map[string]bool{
		"10.1.2.3": true, "::ffff:10.1.2.3": true, "fd00::1": true, "fd00::2": false, "11.0.0.1": false, "127.0.0.1": false,
	} {
		if p.Has(netip.MustParseAddr(addr)) != want {
			t.Errorf("%s: want %t", addr, want)
		}
	}
	for _, bad := range []any{"10.0.0.0/8", []any{"10.0.0.1"}, []any{"10.0.0.0/33"}, []any{7}} {
		if _, err := Parse(bad); err == nil {
			t.Errorf("%v is taken", bad)
		}
	}
	if none, err := Parse(nil); err != nil || none != nil {
		t.Errorf("no option: %v, %v", none, err)
	}
}

func TestResolve(t *testing.T) {
	p := proxies(t, "10.0.0.0/8", "fd00::/8")
	type headers = map[string][]string
	for name, c := range map[string]struct {
		from    string
		headers headers
		remote  string
		base    string
	}{
		"a stranger":                             {"192.0.2.1:5", headers{forHeader: {"198.51.100.1"}, protoHeader: {"https"}, hostHeader: {"evil.test"}}, "192.0.2.1:5", ""},
		"a proxy":                                {"10.0.0.5:77", headers{forHeader: {"198.51.100.1"}, protoHeader: {"https"}, hostHeader: {"registry.test"}}, "198.51.100.1:77", "https://registry.test"},
		"a client's own word before the proxy's": {"10.0.0.5:77", headers{forHeader: {"203.0.113.9, 198.51.100.1"}}, "198.51.100.1:77", ""},
		"two lines":                              {"10.0.0.5:77", headers{forHeader: {"203.0.113.9", "198.51.100.1, 10.2.2.2"}}, "198.51.100.1:77", ""},
		"proxies alone":                          {"10.0.0.5:77", headers{forHeader: {"10.1.1.1, 10.2.2.2"}}, "10.1.1.1:77", ""},
		"nothing":                                {"10.0.0.5:77", nil, "10.0.0.5:77", ""},
		"no address":                             {"10.0.0.5:77", headers{forHeader: {"unknown"}}, "10.0.0.5:77", ""},
		"no address before a proxy":              {"10.0.0.5:77", headers{forHeader: {"unknown, 10.3.3.3"}}, "10.3.3.3:77", ""},
		"an address with a port":                 {"10.0.0.5:77", headers{forHeader: {"198.51.100.1:4711"}}, "198.51.100.1:77", ""},
		"IPv6":                                   {"[fd00::5]:77", headers{forHeader: {"[2001:db8::1]:4711"}}, "[2001:db8::1]:77", ""},
		"IPv6 without brackets":                  {"[fd00::5]:77", headers{forHeader: {"2001:db8::1"}}, "[2001:db8::1]:77", ""},
		"an unknown scheme":                      {"10.0.0.5:77", headers{protoHeader: {"ftp"}, hostHeader: {"registry.test"}}, "10.0.0.5:77", ""},
		"a host that is none":                    {"10.0.0.5:77", headers{protoHeader: {"https"}, hostHeader: {"a/b\\@c"}}, "10.0.0.5:77", ""},
		"a host with a port":                     {"10.0.0.5:77", headers{protoHeader: {"https"}, hostHeader: {"registry.test:8443"}}, "10.0.0.5:77", "https://registry.test:8443"},
		"the client's host and the proxy's":      {"10.0.0.5:77", headers{protoHeader: {"http, https"}, hostHeader: {"evil.test, registry.test"}}, "10.0.0.5:77", "https://registry.test"},
		"Forwarded is not read":                  {"10.0.0.5:77", headers{"Forwarded": {"for=198.51.100.1;proto=https;host=evil.test"}}, "10.0.0.5:77", ""},
		"no network":                             {"@", headers{forHeader: {"198.51.100.1"}}, "@", ""},
	} {
		r := httptest.NewRequest(http.MethodGet, "/v2/", nil)
		r.RemoteAddr = c.from
		for h, values := range c.headers {
			r.Header[http.CanonicalHeaderKey(h)] = slices.Clone(values)
		}
		p.Resolve(r)
		if r.RemoteAddr != c.remote || Base(r) != c.base {
			t.Errorf("%s: %s %q, want %s %q", name, r.RemoteAddr, Base(r), c.remote, c.base)
		}
		for _, h := range []string{forHeader, "Forwarded", "X-Real-Ip"} {
			if r.Header.Get(h) != "" {
				t.Errorf("%s: %s stays", name, h)
			}
		}
	}
}

// accept hands bytes to a listener that believes of whoever connects, or does not, and
// returns whose connection it is, and what the server reads.
func accept(t testing.TB, trusted bool, patience time.Duration, sent []byte) (remote string, read []byte, err error) {
	t.Helper()
	plain, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := &Listener{Listener: plain, Trusted: func(net.Addr) bool { return trusted }, Patience: patience}
	defer l.Close()
	client, err := net.Dial("tcp", plain.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	go func() {
		_, _ = client.Write(sent)
		if patience > time.Second {
			_ = client.(*net.TCPConn).CloseWrite()
		}
	}()
	host, _, err := net.SplitHostPort(c.RemoteAddr().String())
	if err != nil {
		host = c.RemoteAddr().String() // of a header for another kind of network
	}
	if p, ok := c.(*Conn); ok != trusted || ok && p.Proxy().String() != client.LocalAddr().String() {
		t.Errorf("a proxy: %t, want %t", ok, trusted)
	}
	_ = c.SetReadDeadline(time.Now().Add(min(patience, 2*time.Second)))
	read, err = io.ReadAll(io.LimitReader(c, 1<<20))
	return host, read, err
}

func header(t testing.TB, version byte, command proxyproto.ProtocolVersionAndCommand) []byte {
	t.Helper()
	h := proxyproto.HeaderProxyFromAddrs(version, &net.TCPAddr{IP: net.IPv4(198, 51, 100, 1), Port: 4711}, &net.TCPAddr{IP: net.IPv4(10, 0, 0, 1), Port: 443})
	h.Command = command
	out, err := h.Format()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestListener(t *testing.T) {
	const rest = "GET / HTTP/1.1\r\n\r\n"
	v1, v2, local := header(t, 1, proxyproto.PROXY), header(t, 2, proxyproto.PROXY), header(t, 2, proxyproto.LOCAL)
	for name, c := range map[string]struct {
		trusted      bool
		sent         []byte
		remote, read string
	}{
		"version 1":           {true, v1, "198.51.100.1", rest},
		"version 2":           {true, v2, "198.51.100.1", rest},
		"the proxy's own":     {true, local, "127.0.0.1", rest},
		"none":                {true, nil, "127.0.0.1", rest},
		"of somebody else":    {false, v2, "127.0.0.1", string(v2) + rest},
		"none, somebody else": {false, nil, "127.0.0.1", rest},
	} {
		remote, read, err := accept(t, c.trusted, time.Minute, append(bytes.Clone(c.sent), rest...))
		if remote != c.remote || string(read) != c.read || err != nil {
			t.Errorf("%s: %s %q %v, want %s %q", name, remote, read, err, c.remote, c.read)
		}
	}
}

// Half a header ends with the listener's patience: the connection then has an address and
// reads an error, or garbage that is no request.
func TestHalfAHeader(t *testing.T) {
	whole := header(t, 2, proxyproto.PROXY)
	for _, length := range []int{0, 1, 11, 12, 15, len(whole) - 1} {
		began := time.Now()
		remote, read, err := accept(t, true, 50*time.Millisecond, whole[:length])
		if remote != "127.0.0.1" || err == nil {
			t.Errorf("%d bytes: %s %q %v", length, remote, read, err)
		}
		if took := time.Since(began); took > 20*time.Second {
			t.Errorf("%d bytes: %v", length, took)
		}
	}
}

// FuzzHeader holds that nothing a proxy sends makes the listener panic, wait or keep more
// than it was sent.
func FuzzHeader(f *testing.F) {
	f.Add(header(f, 1, proxyproto.PROXY))
	f.Add(header(f, 2, proxyproto.PROXY))
	f.Add(header(f, 2, proxyproto.LOCAL))
	f.Add(append(bytes.Clone(proxyproto.SIGV2), 0x21, 0x11, 0xff, 0xff))
	f.Add(append(bytes.Clone(proxyproto.SIGV2), 0x21, 0x31, 0x00, 0x00))
	f.Add([]byte("PROXY TCP4 1.2.3.4"))
	f.Fuzz(func(t *testing.T, sent []byte) {
		_, read, _ := accept(t, true, 10*time.Second, sent)
		if len(read) > len(sent) {
			t.Errorf("%d bytes were sent, %d read", len(sent), len(read))
		}
	})
}
