//go:build image

package image_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/redoubt-registry/redoubt/test/clients"
)

// world is where the clients live: a network and a mount namespace of their own.
// In it registry.test is 192.0.2.10, whose ports 443 and 80 lead to the guest, and
// /etc is a throw-away. The host's network and its /etc stay as they are.
type world struct {
	*clients.Desk
	dir   string
	certs string
}

// address is registry.test's in the clients' world (RFC 5737).
const address = "192.0.2.10"

// newWorld makes a world whose clients reach the guest, if there is one.
func newWorld(t *testing.T, g *guest) *world {
	t.Helper()
	d := clients.New(t, clients.Options{Name: host, Addresses: []string{address}})
	w := &world{Desk: d, dir: d.Dir, certs: filepath.Join(d.Dir, "certs")}
	if err := os.Mkdir(w.certs, 0o755); err != nil {
		t.Fatal(err)
	}
	if g != nil {
		for from, to := range map[int]int{443: g.https, 80: g.http} {
			d.Forward(fmt.Sprintf("%s:%d", address, from), fmt.Sprintf("127.0.0.1:%d", to))
		}
	}
	return w
}

// run runs a command in the world, with a text on its standard input, and answers
// what it printed.
func (w *world) try(t *testing.T, stdin string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(t.Context(), stepLimit)
	defer cancel()
	cmd := w.Command(ctx, args...)
	cmd.Stdin = strings.NewReader(stdin)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return stdout.String(), fmt.Errorf("%s: %w\n%s%s", strings.Join(args, " "), err, stdout.String(), stderr.String())
	}
	return strings.TrimSpace(stdout.String()), nil
}

// run is try for a command that must succeed.
func (w *world) run(t *testing.T, args ...string) string {
	t.Helper()
	out, err := w.try(t, "", args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// trust gives the clients the machine's CA, where each of them looks for it.
func (w *world) trust(t *testing.T, ca string) {
	t.Helper()
	file := filepath.Join(w.certs, "ca.crt")
	if err := os.WriteFile(file, []byte(ca), 0o644); err != nil {
		t.Fatal(err)
	}
	w.run(t, "sh", "-ec", "for d in docker containers; do mkdir -p /etc/$d/certs.d/"+host+
		" && cp "+file+" /etc/$d/certs.d/"+host+"/; done")
}

// docker starts Debian's docker daemon in the world.
func (w *world) docker(t *testing.T) {
	t.Helper()
	w.Docker()
}

// keep starts a daemon that dies with the test's process, and answers when it has
// ended.
func keep(t *testing.T, cmd *exec.Cmd) <-chan struct{} {
	t.Helper()
	return clients.Keep(t, cmd)
}
