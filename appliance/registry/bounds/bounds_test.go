package bounds

import (
	"bufio"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redoubt-registry/redoubt/appliance/access/identity"
	"github.com/redoubt-registry/redoubt/appliance/certificates/cert"
)

// short are bounds that a test can wait for.
func short() Bounds {
	return Bounds{Header: 400 * time.Millisecond, Stall: 500 * time.Millisecond, Idle: 400 * time.Millisecond, Drain: 200 * time.Millisecond}
}

// server is a server within bounds, with TLS. Who says "alice" is logged in.
type server struct {
	*http.Server
	gate  *Gate
	addr  string
	roots *x509.CertPool
	ends  atomic.Int64 // handlers that returned
}

func serve(t *testing.T, b Bounds) *server {
	t.Helper()
	b = b.OrDefault()
	s := &server{gate: NewGate(b), roots: x509.NewCertPool()}
	s.Server = b.Server(http.HandlerFunc(s.answer), s.gate)
	s.ErrorLog = log.New(io.Discard, "", 0)
	certPEM, key, err := cert.SelfSigned([]string{"localhost", "127.0.0.1"}, time.Now(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.X509KeyPair(certPEM, key)
	if err != nil {
		t.Fatal(err)
	}
	s.roots.AppendCertsFromPEM(certPEM)
	s.TLSConfig = &tls.Config{Certificates: []tls.Certificate{pair}}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.addr = l.Addr().String()
	go func() { _ = s.ServeTLS(s.gate.Listen(l), "", "") }()
	t.Cleanup(func() { s.Close() })
	return s
}

func (s *server) answer(w http.ResponseWriter, r *http.Request) {
	defer s.ends.Add(1)
	if r.Header.Get("Authorization") != "alice" {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	identity.Prove(r.Context(), "alice", identity.Password)
	if r.Method == http.MethodGet {
		_, _ = io.CopyN(w, zeros{}, 64<<20)
		return
	}
	n, err := io.Copy(io.Discard, r.Body)
	if err != nil {
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	fmt.Fprint(w, n)
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

func (s *server) dial(t *testing.T) *tls.Conn {
	t.Helper()
	c, err := tls.Dial("tcp", s.addr, &tls.Config{RootCAs: s.roots, ServerName: "localhost"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	return c
}

// ended waits until the server closes c, and returns what it sent first.
func ended(t *testing.T, c io.Reader) string {
	t.Helper()
	text, err := io.ReadAll(c)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("the connection was still open: %q", text)
	}
	return string(text)
}

// What stands still is ended in each phase of a connection.
func TestPhasesEnd(t *testing.T) {
	const post = "POST / HTTP/1.1\r\nHost: localhost\r\n"
	for name, tc := range map[string]struct {
		say  string
		want string
	}{
		"header, nothing":               {"", ""},
		"header, half":                  {"GET / HTTP/1.1\r\nHo", "400"},
		"idle":                          {post + "Content-Length: 0\r\n\r\n", "401"},
		"stranger, no body":             {post + "Content-Length: 100\r\n\r\n", "401"},
		"stranger, half a body":         {post + "Content-Length: 100\r\n\r\nhalf", "401"},
		"stranger, chunks that stop":    {post + "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", "401"},
		"user, no body":                 {post + "Authorization: alice\r\nContent-Length: 100\r\n\r\n", "408"},
		"user, half a body":             {post + "Authorization: alice\r\nContent-Length: 100\r\n\r\nhalf", "408"},
		"user, chunks that stop":        {post + "Authorization: alice\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", "408"},
		"user, a body that is too slow": {post + "Authorization: alice\r\nExpect: 100-continue\r\nContent-Length: 100\r\n\r\n", "100 Continue"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := serve(t, short())
			c := s.dial(t)
			_, err := io.WriteString(c, tc.say)
			if err != nil {
				t.Fatal(err)
			}
			if got := ended(t, c); !strings.Contains(got, tc.want) || tc.want == "" && got != "" {
				t.Errorf("answered %q, want %q", got, tc.want)
			}
		})
	}
	t.Run("TLS", func(t *testing.T) {
		t.Parallel()
		c, err := net.Dial("tcp", serve(t, short()).addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(20 * time.Second))
		ended(t, c)
	})
	t.Run("response", func(t *testing.T) {
		t.Parallel()
		s := serve(t, short())
		c := s.dial(t)
		if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: localhost\r\nAuthorization: alice\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		until(t, "the handler to end, since its client reads nothing", func() bool { return s.ends.Load() == 1 })
	})
}

func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// drip is a body that sends a byte at a time, with pauses shorter than the bound.
type drip struct {
	left  int
	pause time.Duration
}

func (d *drip) Read(p []byte) (int, error) {
	if d.left == 0 {
		return 0, io.EOF
	}
	time.Sleep(d.pause)
	d.left--
	p[0] = 'x'
	return 1, nil
}

func (s *server) client(h2 bool) *http.Client {
	return &http.Client{Transport: &http.Transport{
		TLSClientConfig:   &tls.Config{RootCAs: s.roots, ServerName: "localhost"},
		ForceAttemptHTTP2: h2,
	}}
}

// A slow upload that moves takes many times the bound, on both protocols; one that
// stops is answered with 408.
func TestSlowUploadGoesThrough(t *testing.T) {
	for _, h2 := range []bool{false, true} {
		t.Run(fmt.Sprintf("HTTP2 %t", h2), func(t *testing.T) {
			t.Parallel()
			b := short()
			b.Stall = 2 * time.Second
			s := serve(t, b)
			for pause, want := range map[time.Duration]int{200 * time.Millisecond: 200, 8 * time.Second: 408} {
				r, err := http.NewRequest(http.MethodPost, "https://"+s.addr, &drip{left: 15, pause: pause})
				if err != nil {
					t.Fatal(err)
				}
				r.Header.Set("Authorization", "alice")
				w, err := s.client(h2).Do(r)
				if err != nil {
					t.Fatal(err)
				}
				text, _ := io.ReadAll(w.Body)
				w.Body.Close()
				if w.StatusCode != want || h2 != (w.ProtoMajor == 2) {
					t.Errorf("a pause of %v: %s %s %s", pause, w.Proto, w.Status, text)
				}
			}
		})
	}
}

// After a stalled response or body the next request on another connection is well,
// and one connection serves many requests in turn.
func TestKeepAlive(t *testing.T) {
	const bound = 1500 * time.Millisecond // five pauses are more than it, one is much less
	s := serve(t, Bounds{Header: bound, Stall: bound, Idle: bound, Drain: bound})
	c := s.dial(t)
	in := bufio.NewReader(c)
	for i := range 5 {
		time.Sleep(400 * time.Millisecond)
		if _, err := io.WriteString(c, "POST / HTTP/1.1\r\nHost: localhost\r\nAuthorization: alice\r\nContent-Length: 3\r\n\r\nabc"); err != nil {
			t.Fatal(err)
		}
		w, err := http.ReadResponse(in, nil)
		if err != nil {
			t.Fatalf("request %d: %v", i, err)
		}
		text, _ := io.ReadAll(w.Body)
		if w.StatusCode != 200 || string(text) != "3" {
			t.Fatalf("request %d: %s %s", i, w.Status, text)
		}
	}
}

// The end of the server waits for what moves, and not for what stands still.
func TestDrain(t *testing.T) {
	b := short()
	b.Stall, b.Header = time.Hour, time.Hour
	b.Drain = 5 * time.Second // what moves stands still for a while too, where the host is slow
	s := serve(t, b)
	stalled := s.dial(t)
	_, _ = io.WriteString(stalled, "POST / HTTP/1.1\r\nHost: localhost\r\nAuthorization: alice\r\nContent-Length: 100\r\n\r\nhalf")
	header := s.dial(t)
	_, _ = io.WriteString(header, "GET / HTTP/1.1\r\nHo")
	moving := make(chan error, 1)
	go func() {
		r, _ := http.NewRequest(http.MethodPost, "https://"+s.addr, &drip{left: 20, pause: 100 * time.Millisecond})
		r.Header.Set("Authorization", "alice")
		w, err := s.client(true).Do(r)
		if err == nil && w.StatusCode != http.StatusOK {
			err = errors.New(w.Status)
		}
		moving <- err
	}()
	until(t, "three requests", func() bool { return s.gate.Open() == 3 })
	time.Sleep(300 * time.Millisecond)
	s.gate.Drain()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := s.Shutdown(ctx); err != nil {
		t.Errorf("the end waits for what stands still: %v", err)
	}
	if err := <-moving; err != nil {
		t.Errorf("an upload that moved was cut: %v", err)
	}
	if got := ended(t, stalled); !strings.Contains(got, "408") {
		t.Errorf("the stalled upload: %q", got)
	}
}

func dialFrom(t *testing.T, addr, source string) net.Conn {
	t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(source)}, Timeout: 10 * time.Second}
	c, err := d.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// Connections are bounded for each address and in all; the oldest idle one goes,
// one that is at work stays, and the machine itself always gets in.
func TestConnectionsAreBounded(t *testing.T) {
	b := Bounds{PerAddress: 3, Connections: 5}
	s := serve(t, b)
	work := dialFrom(t, s.addr, "127.0.0.2")
	busy := tls.Client(work, &tls.Config{RootCAs: s.roots, ServerName: "localhost"})
	_, err := io.WriteString(busy, "POST / HTTP/1.1\r\nHost: localhost\r\nAuthorization: alice\r\nContent-Length: 3\r\n\r\nab")
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(200 * time.Millisecond)
	var idle []net.Conn
	for range 6 {
		idle = append(idle, dialFrom(t, s.addr, "127.0.0.2"))
		time.Sleep(20 * time.Millisecond)
	}
	for _, c := range idle[:4] {
		_ = c.SetDeadline(time.Now().Add(10 * time.Second))
		ended(t, c)
	}
	for i := range 4 { // from other addresses, up to the bound of all
		idle = append(idle, dialFrom(t, s.addr, fmt.Sprintf("127.0.0.%d", 3+i)))
		time.Sleep(20 * time.Millisecond)
	}
	if n := s.gate.Open(); n != 5 {
		t.Errorf("%d are open", n)
	}
	w, err := s.client(false).Post("https://"+s.addr, "", nil) // from 127.0.0.1
	if err != nil || w.StatusCode != http.StatusUnauthorized {
		t.Fatalf("the machine itself: %v %v", w, err)
	}
	if _, err := io.WriteString(busy, "c"); err != nil {
		t.Fatal(err)
	}
	answer, err := http.ReadResponse(bufio.NewReader(busy), nil)
	if err != nil || answer.StatusCode != http.StatusOK {
		t.Errorf("the one at work: %v", err)
	}
	if s.gate.Refused() == 0 {
		t.Error("nothing is counted")
	}
}

// All busy: a new one is closed, and none of the others.
func TestNoRoomForOneMore(t *testing.T) {
	g := NewGate(Bounds{PerAddress: 1, Connections: 10}.OrDefault())
	one, other := net.Pipe()
	defer other.Close()
	g.open[&conn{Conn: one, gate: g, from: netip.MustParsePrefix("192.0.2.1/32")}] = struct{}{}
	for c := range g.open {
		c.busy.Store(1)
		g.from[c.from] = 1
	}
	a, b := net.Pipe()
	if g.admit(addressed{a, "192.0.2.1"}) != nil || g.Refused() != 1 {
		t.Error("one more than the bound is let in")
	}
	if _, err := b.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("it is not closed: %v", err)
	}
	if c, _ := net.Pipe(); g.admit(addressed{c, "192.0.2.2"}) == nil {
		t.Error("another address is not let in")
	}
}

type addressed struct {
	net.Conn
	ip string
}

func (a addressed) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.ParseIP(a.ip), Port: 1} }

func TestSource(t *testing.T) {
	for ip, want := range map[string]string{
		"192.0.2.7": "192.0.2.7/32", "::ffff:192.0.2.7": "192.0.2.7/32", "2001:db8:1:2:3:4:5:6": "2001:db8:1:2::/64",
		"127.0.0.1": "invalid Prefix", "::1": "invalid Prefix", "127.0.0.2": "127.0.0.2/32",
	} {
		if got := source(&net.TCPAddr{IP: net.ParseIP(ip)}).String(); got != want {
			t.Errorf("%s counts for %s, want %s", ip, got, want)
		}
	}
}

// The page for operators names the bounds that are in force.
func TestBoundsAreDocumented(t *testing.T) {
	page, err := os.ReadFile("../../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	d := Default()
	for _, row := range []string{
		fmt.Sprintf("| TLS handshake, header of a request | %d s |", d.Header/time.Second),
		fmt.Sprintf("| size of a header | %d KiB |", d.HeaderBytes>>10),
		fmt.Sprintf("| body of a request with a login, without one byte | %d min |", d.Stall/time.Minute),
		fmt.Sprintf("| answer that the client does not read | %d min |", d.Stall/time.Minute),
		fmt.Sprintf("| between two requests | %d min |", d.Idle/time.Minute),
		fmt.Sprintf("| requests at once on one HTTP/2 connection | %d |", d.Streams),
		fmt.Sprintf("| connections from one address (IPv6: one /64) | %d |", d.PerAddress),
		fmt.Sprintf("| connections in all | %d |", d.Connections),
		fmt.Sprintf("| a body that stands still while the registry ends | %d s |", d.Drain/time.Second),
	} {
		if !strings.Contains(string(page), row) {
			t.Errorf("docs/operations.md has no row %q", row)
		}
	}
}
