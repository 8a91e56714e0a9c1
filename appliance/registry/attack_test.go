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
	"syscall"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/random"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// attacked starts a registry with an image, and returns a check that an honest
// client is served and the process is the same one, within a memory of some MiB.
func attacked(t *testing.T) (m *machine, well func(maxMiB int)) {
	t.Helper()
	m = newMachine(t)
	m.config(t, "info")
	m.start(t)
	image, err := random.Image(50_000, 2)
	check(t, err)
	check(t, m.push(image, "team/app:1"))
	return m, func(maxMiB int) {
		t.Helper()
		if _, err := m.pull("team/app:1"); err != nil {
			t.Errorf("an honest client is not served: %v", err)
		}
		select {
		case err := <-m.exited:
			t.Fatalf("the registry has ended: %v", err)
		default:
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
	config := m.transport().TLSClientConfig
	config.NextProtos, config.ServerName = []string{"h2"}, "localhost"
	d := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(source)}, Timeout: 10 * time.Second}
	c, err := tls.DialWithDialer(d, "tcp", m.host(), config)
	if err != nil {
		return nil, nil, err
	}
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	_, err = io.WriteString(c, http2.ClientPreface)
	f := http2.NewFramer(c, c)
	if err == nil {
		err = f.WriteSettings()
	}
	go func() { _, _ = io.Copy(io.Discard, c) }()
	return c, f, err
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
// answered ended the process when it was built with Go 1.26.8 (GO-2026-6617).
func TestHeaderTableChurn(t *testing.T) {
	m, well := attacked(t)
	block := headers(":method", "GET", ":scheme", "https", ":authority", "localhost", ":path", "/v2/")
	m.storm(t, 8, func(f *http2.Framer) error {
		for i := range uint32(2500) {
			for _, size := range []uint32{0, 4096, 64, 4096} {
				if err := f.WriteSettings(http2.Setting{ID: http2.SettingHeaderTableSize, Val: size}); err != nil {
					return err
				}
			}
			if err := f.WriteHeaders(http2.HeadersFrameParam{StreamID: 2*i + 1, BlockFragment: block, EndStream: true, EndHeaders: true}); err != nil {
				return err
			}
		}
		return nil
	})
	well(200)
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
