//go:build faults

// Package faults holds that nothing is lost and nobody waits for ever while what
// the registry stores in is killed, frozen, slow, full or broken, with many clients
// that push and pull.
package faults

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"testing"

	"github.com/redoubt-registry/redoubt/appliance/registry"
)

// serveEnv makes this program a registry with that configuration.
const serveEnv = "FAULTS_SERVE"

func TestMain(m *testing.M) {
	config := os.Getenv(serveEnv)
	if config == "" {
		os.Exit(m.Run())
	}
	// systemd would have set it: the socket is for this process.
	os.Setenv("LISTEN_PID", strconv.Itoa(os.Getpid()))
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	if err := registry.Serve(ctx, registry.Options{Config: config, Maintenance: config + ".none"}); err != nil {
		fmt.Fprintln(os.Stderr, "redoubt:", err)
		os.Exit(1)
	}
}
