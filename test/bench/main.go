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

// bench measures everything, or the part that BENCH names, and writes the tables
// into docs/performance.md.
func bench(ctx context.Context, out io.Writer) (err error) {
	if len(os.Args) != 3 {
		return errors.New("usage: bench STOCK-REGISTRY REDOUBT: the two programs")
	}
	dir, err := os.MkdirTemp(".cache", "bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if b := os.Getenv("BENCH"); b != "" && b != "local" && b != "s3" {
		return fmt.Errorf("cannot measure BENCH=%s: it is local or s3, or empty for both", b)
	}
	l := &lab{dir: dir, stock: os.Args[1], redoubt: os.Args[2]}
	which := os.Getenv("BENCH")
	for _, p := range []part{
		{"local", []measurement{manifests, logins, blobs, slowPulls, deadCache, farCache, reload, kills}},
		{"s3", []measurement{minio, versity}},
	} {
		if which == "" || which == p.name {
			if err := p.run(ctx, l, out); err != nil {
				return err
			}
		}
	}
	return nil
}

type measurement func(context.Context, *lab, *table) error

// part is a table of its own.
type part struct {
	name         string // in BENCH, and in the document
	measurements []measurement
}

func (p part) run(ctx context.Context, l *lab, out io.Writer) error {
	t := &table{}
	for _, measure := range p.measurements {
		if err := measure(ctx, l, t); err != nil {
			return err
		}
	}
	text, err := t.markdown(p.name)
	if err != nil {
		return err
	}
	fmt.Fprintln(out, text)
	return replace("docs/performance.md", p.name, text)
}
