// Command redoubt is the appliance's agent: it turns user-data into a running
// registry and serves it.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/redoubt-registry/redoubt/appliance/printable"
)

// version is set by the build: -X main.version=….
var version = "0.0.0-dev"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := rootCommand().ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "redoubt:", printable.Text(err.Error()))
		os.Exit(1)
	}
}
