package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"time"
)

const (
	rounds  = 3               // of each, in turns; the median counts
	stretch = 4 * time.Second // of one round of load
	workers = 16
	blobMB  = 100
)

// both runs a measurement for each kind in turns, each on a fresh server with one
// small image, and answers the median of each column.
func both(ctx context.Context, l *lab, times int, s setup, measure func(context.Context, *server, *client) ([]float64, error)) (map[kind][]float64, error) {
	got := map[kind][][]float64{}
	for range times {
		for _, k := range []kind{stock, redoubt} {
			values, err := once(ctx, l, k, s, measure)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", k, err)
			}
			got[k] = append(got[k], values)
		}
	}
	return medians(got), nil
}

// medians answers that of each column.
func medians(got map[kind][][]float64) map[kind][]float64 {
	out := map[kind][]float64{}
	for k, runs := range got {
		for i := range runs[0] {
			var column []float64
			for _, r := range runs {
				column = append(column, r[i])
			}
			slices.Sort(column)
			out[k] = append(out[k], column[len(column)/2])
		}
	}
	return out
}

func once(ctx context.Context, l *lab, k kind, s setup, measure func(context.Context, *server, *client) ([]float64, error)) ([]float64, error) {
	v, err := l.start(ctx, k, s)
	if err != nil {
		return nil, err
	}
	defer v.stop()
	c := newClient(v, true)
	if err := c.image(ctx); err != nil {
		return nil, err
	}
	return measure(ctx, v, c)
}

// underLoad answers the rate of a request, and the processor time of one in µs.
func underLoad(ctx context.Context, v *server, do func(context.Context) error) ([]float64, error) {
	before, err := v.cpu()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, stretch)
	defer cancel()
	got := repeat(ctx, workers, do)
	after, err := v.cpu()
	if err != nil || got.failed > 0 || len(got.took) == 0 {
		return nil, fmt.Errorf("%d requests failed: %w, %w", got.failed, got.err, err)
	}
	return []float64{got.rate(), float64((after - before).Microseconds()) / float64(len(got.took))}, nil
}

// manifests: the request that a pull begins with. Redis is the descriptor cache of
// both. The stock registry is spared the login.
func manifests(ctx context.Context, l *lab, t *table) error {
	for _, with := range []struct {
		name  string
		redis bool
	}{{"no cache", false}, {"Redis as the cache", true}} {
		s := setup{}
		if with.redis {
			r, err := l.redis(ctx)
			if err != nil {
				return err
			}
			defer r.stop()
			s.redis = r.socket
		}
		got, err := both(ctx, l, rounds, s, func(ctx context.Context, v *server, c *client) ([]float64, error) {
			return underLoad(ctx, v, c.manifest)
		})
		if err != nil {
			return err
		}
		t.section("manifest by tag, 16 clients, " + with.name)
		t.row("requests/s", got, 0, "%.0f")
		t.row("processor time of one, µs", got, 1, "%.0f")
	}
	return nil
}

// logins: the same with bcrypt's login for both.
func logins(ctx context.Context, l *lab, t *table) error {
	got, err := both(ctx, l, rounds, setup{login: true}, func(ctx context.Context, v *server, c *client) ([]float64, error) {
		return underLoad(ctx, v, c.manifest)
	})
	if err != nil {
		return err
	}
	t.section(fmt.Sprintf("manifest by tag, 16 clients, a login by bcrypt (cost %d) for both", cost))
	t.row("requests/s", got, 0, "%.0f")
	t.row("processor time of one, µs", got, 1, "%.0f")
	return nil
}

// blobs: a layer up and down, one client, on this disk.
func blobs(ctx context.Context, l *lab, t *table) error {
	got, err := both(ctx, l, rounds, setup{}, func(ctx context.Context, v *server, c *client) ([]float64, error) {
		blob := random(blobMB * 1e6)
		digest := digestOf(blob)
		push, err := timed(v, blobMB, func() error { return c.send(ctx, bytes.NewReader(blob), digest) })
		if err != nil {
			return nil, err
		}
		pull, err := timed(v, blobMB, func() error {
			_, err := c.want(ctx, http.StatusOK, http.MethodGet, "/v2/bench/blobs/"+digest, nil)
			return err
		})
		return append(push, pull...), err
	})
	if err != nil {
		return err
	}
	t.section(fmt.Sprintf("a layer of %d MB, one client, http, this disk", blobMB))
	for i, name := range []string{"push, MB/s", "push, processor s/GB", "pull, MB/s", "pull, processor s/GB"} {
		t.row(name, got, i, []string{"%.0f", "%.2f"}[i%2])
	}
	return nil
}

// timed answers a transfer's MB/s and its processor seconds a GB.
func timed(v *server, mb float64, transfer func() error) ([]float64, error) {
	before, err := v.cpu()
	if err != nil {
		return nil, err
	}
	began := time.Now()
	if err := transfer(); err != nil {
		return nil, err
	}
	took := time.Since(began)
	after, err := v.cpu()
	return []float64{mb / took.Seconds(), (after - before).Seconds() / (mb / 1e3)}, err
}

// slowPulls: the memory for 64 clients that read a layer at 1 MB/s each.
func slowPulls(ctx context.Context, l *lab, t *table) error {
	got, err := both(ctx, l, 1, setup{}, func(ctx context.Context, v *server, c *client) ([]float64, error) {
		digest, err := c.push(ctx, random(blobMB*1e6))
		if err != nil {
			return nil, err
		}
		ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		var wg sync.WaitGroup
		for range 64 {
			wg.Go(func() { c.slowly(ctx, "/v2/bench/blobs/"+digest) })
		}
		wg.Wait()
		peak, err := v.peak()
		return []float64{peak}, err
	})
	if err != nil {
		return err
	}
	t.section("64 slow pulls at once")
	t.row("peak memory, MB", got, 0, "%.0f")
	return nil
}

// slowly reads 1 MB a second until ctx ends.
func (c *client) slowly(ctx context.Context, url string) {
	resp, err := c.do(ctx, http.MethodGet, url, nil)
	if err != nil {
		return
	}
	defer resp.Body.Close()
	for ctx.Err() == nil {
		if _, err := io.CopyN(io.Discard, resp.Body, 1e5); err != nil {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
}
