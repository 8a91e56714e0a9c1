// Command bench measures the registry beside the one it embeds: CNCF's stock
// registry, at the same version. Both run here, now, in turns, on the same disk;
// the same client does the same to each.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := bench(ctx, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "redoubt:", err)
		os.Exit(1)
	}
}

// bench measures everything, and writes the table into docs/performance.md.
func bench(ctx context.Context, out io.Writer) (err error) {
	if len(os.Args) != 3 {
		return errors.New("usage: bench STOCK-REGISTRY REDOUBT: the two programs")
	}
	dir, err := os.MkdirTemp(".cache", "bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	l := &lab{dir: dir, stock: os.Args[1], redoubt: os.Args[2]}
	t := &table{}
	for _, measure := range []func(context.Context, *lab, *table) error{
		manifests, logins, blobs, slowPulls, deadCache, reload, kills,
	} {
		if err := measure(ctx, l, t); err != nil {
			return err
		}
	}
	text, err := t.markdown()
	if err != nil {
		return err
	}
	fmt.Fprintln(out, text)
	return replace("docs/performance.md", text)
}
