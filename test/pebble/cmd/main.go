// Command cmd runs Pebble, an ACME CA for tests, for a machine of `make up` until
// it is told to stop.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/redoubt-registry/redoubt/test/pebble"
	"github.com/redoubt-registry/redoubt/test/program"
)

// host is this machine's loopback as QEMU's user network shows it to a guest.
const host = "10.0.2.2"

// example is the user-data that the tls section is added to.
const example = "test/testdata/user-data.yaml"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	p := &program.Program{}
	defer p.End()
	run(ctx, p, os.Getenv)
}

func run(ctx context.Context, p *program.Program, env func(string) string) {
	port, err := strconv.Atoi(env("HTTP_PORT"))
	if err != nil || port < 1 || port > 65535 {
		p.Fatalf("cannot use HTTP_PORT=%s: it must be a number from 1 to 65535", env("HTTP_PORT"))
	}
	dir := env("PEBBLE_DIR")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		p.Fatal(err)
	}
	data, err := os.ReadFile(example)
	if err != nil {
		p.Fatal(err)
	}
	ca := pebble.Start(p, pebble.Options{HTTPPort: port, Seen: host})
	// make up looks for the issuer beside the user-data.
	userData, issuer := filepath.Join(dir, "user-data.yaml"), filepath.Join(dir, "issuer.crt")
	for file, text := range map[string][]byte{userData: append(data, section(ca)...), issuer: ca.Issuer()} {
		if err := os.WriteFile(file, text, 0o644); err != nil {
			p.Fatal(err)
		}
	}
	fmt.Printf(`Pebble runs on this machine's loopback, until Ctrl-C. In another terminal:

  make up USER_DATA=%s HTTP_PORT=%d
  make down
`, userData, port)
	<-ctx.Done()
}

// section makes a machine ask the CA.
func section(ca *pebble.CA) string {
	var b strings.Builder
	fmt.Fprintf(&b, "  tls:\n    mode: acme\n    acme:\n      directory: %s\n      caBundle: |\n", ca.Directory)
	for line := range strings.Lines(ca.Roots) {
		b.WriteString("        " + line)
	}
	return b.String()
}
