//go:build image

package image_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/random"

	"github.com/redoubt-registry/redoubt/test/program"
	"github.com/redoubt-registry/redoubt/test/vm"
)

// directory is where the user-data of make pebble says that the CA is.
var directory = regexp.MustCompile(`https://10\.0\.2\.2:(\d+)/dir`)

// TestACME does what docs/public-name.md says: make pebble, make up with its
// user-data, and the certificate goes from the own CA's to Pebble's. A gate before
// Pebble holds the first request back until an image has been pushed.
func TestACME(t *testing.T) {
	t.Parallel()
	root, err := filepath.Abs(repository)
	if err != nil {
		t.Fatal(err)
	}
	a, err := accel()
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(root, ".cache", "test", t.Name())
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	g := &guest{https: program.FreePort(t, "127.0.0.1"), http: program.FreePort(t, "127.0.0.1")}
	userData, _ := keeps(t, root, "pebble", dir, "PEBBLE_DIR="+dir, fmt.Sprintf("HTTP_PORT=%d", g.http))
	data, err := os.ReadFile(userData)
	if err != nil {
		t.Fatal(err)
	}
	port := directory.FindSubmatch(data)
	if port == nil {
		t.Fatalf("the user-data of make pebble names no CA:\n%s", data)
	}
	gate := newGate(t, "127.0.0.1:"+string(port[1]))
	data = directory.ReplaceAll(data, fmt.Appendf(nil, "https://10.0.2.2:%d/dir", gate.port))
	if err := os.WriteFile(userData, data, 0o644); err != nil {
		t.Fatal(err)
	}

	ctx, cancel := context.WithTimeout(t.Context(), 2*bootLimit)
	defer cancel()
	up := exec.CommandContext(ctx, "make", "-C", root, "up")
	up.Env = append(os.Environ(), "UP_SHELL=1", "ACCEL="+string(a), "UP_DIR="+dir, "USER_DATA="+userData,
		fmt.Sprintf("PORT=%d", g.https), fmt.Sprintf("HTTP_PORT=%d", g.http))
	t.Cleanup(func() {
		if v, err := vm.Attach(dir); err == nil {
			_ = v.Kill()
		}
		if !t.Failed() {
			_ = os.RemoveAll(dir)
		}
	})
	type answer struct {
		out []byte
		err error
	}
	ended := make(chan answer, 1)
	go func() {
		out, err := up.CombinedOutput()
		ended <- answer{out, err}
	}()
	// All that is before: the own CA serves, and takes an image.
	for g.VM == nil || g.shown() == nil {
		select {
		case e := <-ended:
			t.Fatalf("make up, before the CA has answered: %v\n%s", e.err, e.out)
		case <-time.After(250 * time.Millisecond):
		}
		if g.VM == nil {
			g.VM, _ = vm.Attach(dir) // it may not be there yet
		}
	}
	if issuer := g.shown().Issuer.CommonName; !strings.HasPrefix(issuer, "Redoubt CA") {
		t.Fatalf("before the CA has answered the certificate is of %s", issuer)
	}
	img, err := random.Image(10_000, 1)
	if err != nil {
		t.Fatal(err)
	}
	g.push(t, g.ca(t), "acme/before:1", img)
	runs := g.run(t)
	gate.open()

	e := <-ended
	if e.err != nil {
		t.Fatalf("make up: %v\n%s", e.err, e.out)
	}
	t.Logf("%s", e.out)
	if want := regexp.MustCompile(`The certificate is now of CN=Pebble Intermediate CA \w+ \(was the own CA's\); the registry was not restarted`); !want.Match(e.out) {
		t.Errorf("make up does not show the change, want %s", want)
	}
	if got := g.run(t); got != runs {
		t.Errorf("the registry was restarted: %s, was %s", got, runs)
	}
	g.afterChange(t, dir, img)
}

// afterChange pushes and pulls with a client that trusts only the CA that make up
// has written.
func (g *guest) afterChange(t *testing.T, dir string, before v1.Image) {
	t.Helper()
	ca, err := os.ReadFile(filepath.Join(dir, "ca.crt"))
	if err != nil {
		t.Fatal(err)
	}
	if block := string(ca); strings.TrimSpace(block) == strings.TrimSpace(g.ca(t)) {
		t.Fatal("the CA that make up has written is the machine's own")
	}
	g.pull(t, string(ca), "acme/before:1", before)
	img, err := random.Image(10_000, 1)
	if err != nil {
		t.Fatal(err)
	}
	g.push(t, string(ca), "acme/after:1", img)
	g.pull(t, string(ca), "acme/after:1", img)
}

// run tells one run of the registry from another.
func (g *guest) run(t *testing.T) string {
	t.Helper()
	return g.sh(t, "systemctl show --property=MainPID,InvocationID,NRestarts redoubt-registry.service")
}

// shown is the certificate that serves, or nil.
func (g *guest) shown() *x509.Certificate {
	conn, err := tls.DialWithDialer(&net.Dialer{Timeout: 10 * time.Second}, "tcp", fmt.Sprintf("127.0.0.1:%d", g.https),
		&tls.Config{InsecureSkipVerify: true}) // it is looked at
	if err != nil {
		return nil
	}
	defer conn.Close()
	return conn.ConnectionState().PeerCertificates[0]
}

// keeps is a target of make that runs until the test ends, and writes user-data
// into a directory. It answers the user-data's file, and what was printed.
func keeps(t *testing.T, root, target, dir string, settings ...string) (file, printed string) {
	t.Helper()
	cmd := exec.Command("make", "-C", root, target)
	cmd.Env = append(os.Environ(), settings...)
	var out output
	cmd.Stdout, cmd.Stderr = &out, &out
	ended := keep(t, cmd)
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-ended:
		case <-time.After(30 * time.Second):
			t.Errorf("make %s does not end:\n%s", target, out.String())
			_ = cmd.Process.Kill()
		}
	})
	file = filepath.Join(dir, "user-data.yaml")
	for limit := time.After(stepLimit); !strings.Contains(out.String(), "make up USER_DATA="+file); {
		select {
		case <-ended:
			t.Fatalf("make %s has ended:\n%s", target, out.String())
		case <-limit:
			t.Fatalf("make %s does not say what to type:\n%s", target, out.String())
		case <-time.After(100 * time.Millisecond):
		}
	}
	return file, out.String()
}

// output is what a program has printed so far.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(data []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(data)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// gate leads connections to a TLS server. Until it is open it lets only the first
// record of each through: the client is connected, and waits for its answer.
type gate struct {
	port   int
	to     string
	opened chan struct{}
}

func newGate(t *testing.T, to string) *gate {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g := &gate{port: l.Addr().(*net.TCPAddr).Port, to: to, opened: make(chan struct{})}
	done := make(chan struct{})
	t.Cleanup(func() {
		l.Close()
		close(done)
	})
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go g.relay(c, done)
		}
	}()
	return g
}

func (g *gate) open() { close(g.opened) }

// relay copies a TLS record, whose length is in its fourth and fifth bytes (RFC 8446,
// 5.1), and once the gate is open all the rest.
func (g *gate) relay(c net.Conn, done <-chan struct{}) {
	defer c.Close()
	up, err := net.Dial("tcp", g.to)
	if err != nil {
		return
	}
	defer up.Close()
	go func() {
		_, _ = io.Copy(c, up) // it ends when either side does
		c.Close()
	}()
	head := make([]byte, 5)
	if _, err := io.ReadFull(c, head); err != nil {
		return
	}
	record := io.MultiReader(bytes.NewReader(head), io.LimitReader(c, int64(binary.BigEndian.Uint16(head[3:]))))
	if _, err := io.Copy(up, record); err != nil {
		return
	}
	select {
	case <-g.opened:
		_, _ = io.Copy(up, c)
	case <-done:
	}
}
