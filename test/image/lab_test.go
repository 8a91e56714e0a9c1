//go:build image

package image_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redoubt-registry/redoubt/test/program"
	"github.com/redoubt-registry/redoubt/test/vm"
)

// Who may log in, by test/testdata/user-data.yaml, and the name in its certificate.
const (
	host     = "registry.test"
	user     = "alice"
	password = "correct horse"
)

// A guest under TCG on a busy machine is slow; these only end what hangs.
const (
	bootLimit = 10 * time.Minute
	stepLimit = 3 * time.Minute
)

// repository is the checkout, seen from this package's directory.
const repository = "../.."

// accel finds out once how guests are run here.
var accel = sync.OnceValues(func() (vm.Accel, error) {
	path, err := newest()
	if err != nil {
		return "", err
	}
	a, why, err := vm.ChooseAccel(context.Background(), path)
	fmt.Printf("guests run under %s: %s\n", a, why)
	return a, err
})

// newest is the image that the tests boot.
func newest() (string, error) {
	found, err := filepath.Glob(repository + "/dist/redoubt-*-amd64.qcow2")
	if err != nil || len(found) != 1 {
		return "", fmt.Errorf("want one image in dist, found %v: make image builds it", found)
	}
	return filepath.Abs(found[0])
}

// guest is a machine under test with a client that trusts only its CA.
type guest struct {
	*vm.VM
	https, http int // its ports, on the host's loopback
}

// userData is the file of that name in test/testdata.
func userData(t *testing.T, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(repository + "/test/testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// boot starts a machine with the user-data and waits until its shell answers. What
// its console said is kept in .cache/test when the test fails.
func boot(t *testing.T, firmware vm.Firmware, data []byte) *guest {
	t.Helper()
	path, err := newest()
	if err != nil {
		t.Fatal(err)
	}
	a, err := accel()
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(repository, ".cache", "test", t.Name())
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	g := &guest{https: program.FreePort(t, "127.0.0.1"), http: program.FreePort(t, "127.0.0.1")}
	m := vm.Machine{
		Dir: dir, Image: path, Firmware: firmware, Accel: a, Shell: true, Volatile: true,
		Forwards: []vm.Forward{{Host: g.https, Guest: 443}, {Host: g.http, Guest: 80}},
	}
	t.Cleanup(func() { g.end(t) })
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := m.Seed(t.Context(), data); err != nil {
		t.Fatal(err)
	}
	g.start(t, m)
	return g
}

// start starts the machine, once more if its kernel panics.
func (g *guest) start(t *testing.T, m vm.Machine) {
	t.Helper()
	for try := 1; ; try++ {
		v, err := m.Start(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		g.VM = v
		ctx, cancel := context.WithTimeout(t.Context(), bootLimit)
		err = v.AwaitShell(ctx)
		cancel()
		if err == nil {
			return
		}
		if !errors.Is(err, vm.ErrPanic) || try == 2 {
			t.Fatal(err)
		}
		t.Logf("%v: trying once more", err)
		_ = v.Kill()
	}
}

func (g *guest) end(t *testing.T) {
	if g.VM == nil {
		return
	}
	_ = g.Kill()
	if t.Failed() {
		t.Logf("the console's last line: %s; all of it: %s/serial.log", g.LastLine(), g.Dir)
		_ = g.Forget()
		return
	}
	_ = os.RemoveAll(g.Dir)
}

// sh runs a script in the guest, and fails the test if it fails.
func (g *guest) sh(t *testing.T, script string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), stepLimit)
	defer cancel()
	out, err := g.Sh(ctx, script)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(out)
}

// settle waits until systemd has done all that it starts at boot, and wants no
// unit to have failed.
func (g *guest) settle(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), bootLimit)
	defer cancel()
	state := ""
	err := g.Await(ctx, "systemd's settling", func() (bool, error) {
		// A short answer each time: a shell that waits could not tell of a panic.
		out, _ := g.Sh(ctx, "systemctl is-system-running")
		state = strings.TrimSpace(out)
		return state != "" && state != "starting" && state != "initializing", nil
	})
	if err != nil {
		out, _ := g.Sh(t.Context(), "systemctl list-jobs")
		t.Fatalf("%v\n%s", err, out)
	}
	if state != "running" {
		out, _ := g.Sh(t.Context(), "systemctl --failed; journalctl -b -p warning --no-pager | tail -n 40")
		t.Fatalf("systemd's state is %s, want running:\n%s", state, out)
	}
}

// serve waits until the registry asks for a login.
func (g *guest) serve(t *testing.T) {
	t.Helper()
	g.answers(t, http.StatusUnauthorized)
}

// answers waits until https://HOST/v2/ answers with the status.
func (g *guest) answers(t *testing.T, status int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), bootLimit)
	defer cancel()
	client := &http.Client{Timeout: 10 * time.Second, Transport: g.transport(nil)}
	err := g.Await(ctx, fmt.Sprintf("status %d of /v2/", status), func() (bool, error) {
		resp, err := client.Get("https://" + host + "/v2/")
		if err != nil {
			return false, nil
		}
		resp.Body.Close()
		return resp.StatusCode == status, nil
	})
	if err != nil {
		out, _ := g.Sh(t.Context(), "systemctl status 'redoubt-*' --no-pager; journalctl -b -u 'redoubt-*' --no-pager | tail -n 40")
		t.Fatalf("%v\n%s", err, out)
	}
}

// ca is the machine's own CA, read from its disk.
func (g *guest) ca(t *testing.T) string {
	t.Helper()
	return g.sh(t, "cat /var/lib/redoubt/ca/ca.crt") + "\n"
}

// transport leads registry.test to the guest, whatever the port is here, and
// trusts the CA alone. Without a CA it trusts anybody.
func (g *guest) transport(ca []byte) *http.Transport {
	config := &tls.Config{InsecureSkipVerify: ca == nil}
	if ca != nil {
		config.RootCAs = x509.NewCertPool()
		config.RootCAs.AppendCertsFromPEM(ca)
	}
	return &http.Transport{
		TLSClientConfig:   config,
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			port, ok := map[string]int{host + ":443": g.https, host + ":80": g.http}[address]
			if !ok {
				return nil, fmt.Errorf("cannot dial %s: only %s is there", address, host)
			}
			return new(net.Dialer).DialContext(ctx, network, fmt.Sprintf("127.0.0.1:%d", port))
		},
	}
}
