// Command bench measures the registry beside the one it embeds: CNCF's stock
// registry, at the same version. Both run here, now, in turns, on the same disk;
// the same client does the same to each.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"
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
	l := &lab{programs: map[kind]string{}}
	zotName := ""
	for _, p := range []struct {
		name, use string
		to        func(string)
	}{
		{"stock", "the stock registry", func(s string) { l.programs[stock] = s }},
		{"redoubt", "dist/redoubt", func(s string) { l.programs[redoubt] = s }},
		{"zot", "zot; empty: without it", func(s string) { l.programs[zot] = s }},
		{"zot-name", "which zot it is, for the table", func(s string) { zotName = s }},
	} {
		flag.Func(p.name, p.use, func(s string) error { p.to(s); return nil })
	}
	wait := flag.Duration("wait", 10*time.Minute, "how long to wait for an idle machine")
	flag.Parse()
	if l.programs[stock] == "" || l.programs[redoubt] == "" {
		return errors.New("usage: bench -stock REGISTRY -redoubt REDOUBT [-zot ZOT -zot-name NAME]: the programs")
	}
	which := os.Getenv("BENCH")
	if which != "" && which != "local" && which != "s3" {
		return fmt.Errorf("cannot measure BENCH=%s: it is local or s3, or empty for both", which)
	}
	if l.dir, err = os.MkdirTemp(".cache", "bench-"); err == nil {
		l.dir, err = filepath.Abs(l.dir)
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(l.dir)) }()
	idle, err := waitIdle(ctx, *wait)
	if err != nil {
		return err
	}
	for _, p := range []part{
		{"local", []measurement{manifests, blobs, memories, kills, reload, deadCache, farCache}},
		{"s3", []measurement{minio, versity}},
	} {
		if which == "" || which == p.name {
			if err := p.run(ctx, l, &table{zot: zotName}, idle, out); err != nil {
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

func (p part) run(ctx context.Context, l *lab, t *table, idle string, out io.Writer) error {
	for _, measure := range p.measurements {
		if err := measure(ctx, l, t); err != nil {
			return err
		}
	}
	text, err := t.markdown(p.name, idle)
	if err != nil {
		return err
	}
	fmt.Fprintln(out, text)
	return replace("docs/performance.md", p.name, text)
}
