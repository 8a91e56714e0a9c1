//go:build integration

package registry

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/random"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// attacked starts a registry with an image, and returns a check that an honest
// client is served and the process is the same one, within a memory of some MiB.
func attacked(t *testing.T, headers ...string) (m *machine, well func(maxMiB int)) {
	t.Helper()
	m = newMachine(t)
	m.config(t, "info")
	text, err := m.read("registry.yml")
	check(t, err)
	m.write(t, "registry.yml", strings.Replace(text, "[nosniff]", strings.Join(append([]string{"[nosniff]"}, headers...), ", "), 1))
	m.start(t)
	image, err := random.Image(50_000, 2)
	check(t, err)
	check(t, m.push(image, "team/app:1"))
	return m, func(maxMiB int) {
		t.Helper()
		pulled := make(chan error, 1)
		go func() {
			_, err := m.pull("team/app:1")
			pulled <- err
		}()
		select {
		case err := <-m.exited: // the socket stays, so a pull would wait
			t.Fatalf("the registry has ended: %v", err)
		case err := <-pulled:
			if err != nil {
				t.Errorf("an honest client is not served: %v", err)
			}
		}
		if peak := m.peak(t); peak > maxMiB {
			t.Errorf("the registry took %d MiB, more than %d", peak, maxMiB)
		}
	}
}

// peak is the most memory that the process ever had, in MiB.
func (m *machine) peak(t *testing.T) int {
	t.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", m.process.Process.Pid))
	check(t, err)
	_, rest, _ := strings.Cut(string(data), "VmHWM:")
	kib, err := strconv.Atoi(strings.Fields(rest)[0])
	check(t, err)
	return kib / 1024
}

// h2 opens a bare HTTP/2 connection from an address of the loopback network.
func (m *machine) h2(source string) (net.Conn, *http2.Framer, error) {
	c, err := m.tlsFrom(source)
	if err != nil {
		return nil, nil, err
	}
	go func() { _, _ = io.Copy(io.Discard, c) }()
	return c, http2.NewFramer(c, c), nil
}

// storm runs strangers side by side, each on a connection of its own. A
// connection that the registry ends is no fault.
func (m *machine) storm(t *testing.T, strangers int, attack func(f *http2.Framer) error) {
	t.Helper()
	var all sync.WaitGroup
	for i := range strangers {
		all.Go(func() {
			c, f, err := m.h2(fmt.Sprintf("127.0.0.%d", 10+i))
			if err != nil {
				t.Errorf("cannot connect: %v", err)
				return
			}
			defer c.Close()
			if err := attack(f); err != nil && !errors.Is(err, syscall.EPIPE) && !errors.Is(err, syscall.ECONNRESET) {
				t.Logf("the registry ended an attack: %v", err)
			}
		})
	}
	all.Wait()
}

func headers(fields ...string) []byte {
	var b bytes.Buffer
	e := hpack.NewEncoder(&b)
	for i := 0; i+1 < len(fields); i += 2 {
		_ = e.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]}) // a buffer takes everything
	}
	return b.Bytes()
}

// A stranger who changes the size of the header table while many streams are
// answered ended the process when it was built with Go 1.26.8 (GO-2026-6617): with
// GOTOOLCHAIN=local there, most runs of this test fail.
func TestHeaderTableChurn(t *testing.T) {
	var many []string // so that each answer takes long to write
	for i := range 40 {
		many = append(many, fmt.Sprintf("X-Header-%d: [%040d]", i, i))
	}
	m, well := attacked(t, many...)
	block := headers(":method", "HEAD", ":scheme", "https", ":authority", "localhost", ":path", "/x") // no body: no window runs out
	m.churn(t, 4, 8000, block)
	well(200)
}

// churn opens connections side by side. Each asks for something again and again, on
// many streams at once, and changes the size of the header table in between: one
// change must hit the moment in which the headers of an answer are written.
func (m *machine) churn(t *testing.T, strangers, requests int, block []byte) {
	t.Helper()
	const streams, changes = 64, 2
	var all sync.WaitGroup
	var count atomic.Int64
	defer func() { t.Logf("%d requests were answered", count.Load()) }()
	for i := range strangers {
		all.Go(func() {
			c, err := m.tlsFrom(fmt.Sprintf("127.0.0.%d", 10+i))
			if err != nil {
				t.Errorf("cannot connect: %v", err)
				return
			}
			defer c.Close()
			answered := make(chan struct{}, streams)
			go countAnswers(c, answered)
			for n := range requests {
				if n >= streams {
					if _, ok := <-answered; !ok {
						return // the registry may end what floods it
					}
					count.Add(1)
				}
				var ask bytes.Buffer
				f := http2.NewFramer(&ask, nil)
				_ = f.WriteHeaders(http2.HeadersFrameParam{StreamID: uint32(2*n + 1), BlockFragment: block, EndStream: true, EndHeaders: true})
				for change := range changes {
					_ = f.WriteSettings(http2.Setting{ID: http2.SettingHeaderTableSize, Val: []uint32{0, 4096, 64, 4096}[change%4]})
				}
				if _, err := c.Write(ask.Bytes()); err != nil {
					return
				}
			}
		})
	}
	all.Wait()
}

// tlsFrom opens an HTTP/2 connection, whose answers nobody reads yet.
func (m *machine) tlsFrom(source string) (net.Conn, error) {
	config := m.transport().TLSClientConfig
	config.NextProtos, config.ServerName = []string{"h2"}, "localhost"
	d := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(source)}, Timeout: 10 * time.Second}
	c, err := tls.DialWithDialer(d, "tcp", m.host(), config)
	if err != nil {
		return nil, err
	}
	_ = c.SetDeadline(time.Now().Add(30 * time.Second))
	_, err = io.WriteString(c, http2.ClientPreface)
	if err == nil {
		err = http2.NewFramer(c, nil).WriteSettings()
	}
	return c, err
}

// countAnswers tells of each stream that ends.
func countAnswers(c io.Reader, answered chan<- struct{}) {
	defer close(answered)
	f := http2.NewFramer(io.Discard, c)
	for {
		frame, err := f.ReadFrame()
		if err != nil {
			return
		}
		_, reset := frame.(*http2.RSTStreamFrame)
		if h := frame.Header(); reset || (h.Type == http2.FrameData || h.Type == http2.FrameHeaders) && h.Flags.Has(http2.FlagDataEndStream) {
			answered <- struct{}{}
		}
	}
}

// Trailers that are announced beside a wrong password took 2 GB (GO-2026-6603).
func TestAnnouncedTrailers(t *testing.T) {
	m, well := attacked(t)
	var names []string
	for i := range 900 {
		names = append(names, fmt.Sprintf("x-trailer-number-%d", i))
	}
	block := headers(":method", "POST", ":scheme", "https", ":authority", "localhost", ":path", "/v2/a/blobs/uploads/",
		"authorization", "Basic "+basic("alice", "wrong"), "trailer", strings.Join(names, ","))
	m.storm(t, 6, func(f *http2.Framer) error {
		for i := range uint32(200) {
			id := 2*i + 1
			first, rest := block[:min(16000, len(block))], block[min(16000, len(block)):]
			if err := f.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: first, EndHeaders: len(rest) == 0}); err != nil {
				return err
			}
			for len(rest) > 0 {
				n := min(16000, len(rest))
				if err := f.WriteContinuation(id, n == len(rest), rest[:n]); err != nil {
					return err
				}
				rest = rest[n:]
			}
			if err := f.WriteData(id, false, make([]byte, 1000)); err != nil {
				return err
			}
		}
		return nil
	})
	well(300)
}

// The body of a stranger's request is not waited for, and holds up no end of the
// process.
func TestBodyOfAStrangerIsNotWaitedFor(t *testing.T) {
	m, _ := attacked(t)
	for _, header := range []string{"", "Authorization: Basic " + basic("alice", "wrong") + "\r\n", "Content-Type: application/x-www-form-urlencoded\r\n"} {
		c := m.raw(t, "POST /v2/a/blobs/uploads/ HTTP/1.1\r\nHost: localhost\r\n"+header+"Content-Length: 1000\r\n\r\n")
		text, err := io.ReadAll(c)
		if err != nil || !strings.HasPrefix(string(text), "HTTP/1.1 401") || !strings.Contains(string(text), "Connection: close") {
			t.Errorf("%v: %q", err, text)
		}
	}
	m.raw(t, "POST /v2/a/blobs/uploads/?digest=sha256:"+strings.Repeat("a", 64)+" HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\nAuthorization: Basic "+
		basic("alice", password)+"\r\n\r\n")
	m.raw(t, "GET /v2/ HTTP/1.1\r\nHo")
	time.Sleep(300 * time.Millisecond)
	m.signal(t, syscall.SIGTERM)
	select {
	case err := <-m.exited:
		check(t, err)
	case <-time.After(15 * time.Second): // the drain timeout is 20 s
		t.Error("the end waits for requests that stand still")
	}
}

// raw sends text on a connection of its own, which must end within 10 s.
func (m *machine) raw(t *testing.T, text string) net.Conn {
	t.Helper()
	config := m.transport().TLSClientConfig
	config.ServerName = "localhost"
	c, err := tls.Dial("tcp", m.host(), config)
	check(t, err)
	t.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	_, err = io.WriteString(c, text)
	check(t, err)
	return c
}

// Ten thousand connections that say nothing cost little, and nobody else.
func TestTenThousandIdleConnections(t *testing.T) {
	m, well := attacked(t)
	var all sync.WaitGroup
	var mu sync.Mutex
	var open []net.Conn
	defer func() {
		for _, c := range open {
			c.Close()
		}
	}()
	for i := range 10 {
		all.Go(func() {
			d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 1, byte(1+i))}, Timeout: 10 * time.Second}
			for range 1000 {
				c, err := d.Dial("tcp", m.host())
				if err != nil {
					t.Errorf("cannot connect: %v", err)
					return
				}
				mu.Lock()
				open = append(open, c)
				mu.Unlock()
			}
		})
	}
	all.Wait()
	well(600)
	if n := m.metric(t, "redoubt_connections"); n > 8200 { // and those of this machine
		t.Errorf("%v connections are kept", n)
	}
	w := m.get(t, "/v2/")
	if w.StatusCode != http.StatusOK {
		t.Errorf("a user is answered %s", w.Status)
	}
}
