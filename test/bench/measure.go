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
	rounds  = 3               // of each, in turns
	stretch = 3 * time.Second // of one round of load
	workers = 16
	blobMB  = 100 // where many come at once
	layerMB = 200 // where one does
	pulls   = 128 // that are slow, at once
)

type measure func(context.Context, *server, *client) ([]float64, error)

// both measures stock and us.
func both(ctx context.Context, l *lab, times int, s setup, measure measure) (results, error) {
	return each(ctx, l, times, s, measure, stock, redoubt)
}

// all measures zot too, where there is one.
func all(ctx context.Context, l *lab, times int, s setup, measure measure) (results, error) {
	return each(ctx, l, times, s, measure, stock, redoubt, zot)
}

// each runs a measurement for each kind in turns, each on a fresh server with one
// small image.
func each(ctx context.Context, l *lab, times int, s setup, measure measure, kinds ...kind) (results, error) {
	got := results{}
	for range times {
		for _, k := range l.kinds(kinds...) {
			values, err := once(ctx, l, k, s, measure)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", k, err)
			}
			got[k] = append(got[k], values)
		}
	}
	return got, nil
}

func once(ctx context.Context, l *lab, k kind, s setup, measure measure) ([]float64, error) {
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
// both that have one. Only Redoubt asks for a login, but in the last section.
func manifests(ctx context.Context, l *lab, t *table) error {
	cached := setup{}
	r, err := l.redis(ctx)
	if err != nil {
		return err
	}
	defer r.stop()
	cached.redis = r.socket
	for _, with := range []struct {
		name  string
		setup setup
		among []kind
	}{
		{"https", setup{tls: true}, []kind{stock, redoubt, zot}},
		{"http", setup{}, []kind{stock, redoubt, zot}},
		{"http, Redis as the cache", cached, []kind{stock, redoubt}},
		{fmt.Sprintf("https, a login by bcrypt (cost %d) for all", cost), setup{tls: true, login: true}, []kind{stock, redoubt, zot}},
	} {
		got, err := each(ctx, l, rounds, with.setup, func(ctx context.Context, v *server, c *client) ([]float64, error) {
			return underLoad(ctx, v, c.manifest)
		}, with.among...)
		if err != nil {
			return err
		}
		t.section(fmt.Sprintf("manifest by tag, %d clients, %s", workers, with.name))
		t.row("requests/s", got, 0, "%.0f")
		t.row("processor time of one, µs", got, 1, "%.0f")
	}
	return nil
}

// blobs: a layer up and down, one client, on this disk.
func blobs(ctx context.Context, l *lab, t *table) error {
	for _, with := range []struct {
		name  string
		setup setup
	}{{"http", setup{}}, {"https", setup{tls: true}}} {
		got, err := all(ctx, l, rounds, with.setup, func(ctx context.Context, v *server, c *client) ([]float64, error) {
			return upAndDown(ctx, v, c, random(layerMB*1e6))
		})
		if err != nil {
			return err
		}
		t.section(fmt.Sprintf("a layer of %d MB, one client, %s, this disk", layerMB, with.name))
		upAndDownRows(t, got)
	}
	return nil
}

// upAndDown pushes a layer by PATCH, another of the same size by PUT, and pulls that.
func upAndDown(ctx context.Context, v *server, c *client, blob []byte) ([]float64, error) {
	digest, mb := digestOf(blob), float64(len(blob))/1e6
	patch, err := timed(v, mb, func() error { return c.send(ctx, bytes.NewReader(blob), digest) })
	if err != nil {
		return nil, err
	}
	copy(blob, random(32))
	digest = digestOf(blob)
	put, err := timed(v, mb, func() error { return c.sendWhole(ctx, blob, digest) })
	if err != nil {
		return nil, err
	}
	pull, err := timed(v, mb, func() error {
		_, err := c.want(ctx, http.StatusOK, http.MethodGet, "/v2/bench/blobs/"+digest, nil)
		return err
	})
	return slices.Concat(patch, put, pull), err
}

func upAndDownRows(t *table, got results) {
	for i, name := range []string{
		"push by PATCH, MB/s", "push by PATCH, processor s/GB",
		"push by PUT, MB/s", "push by PUT, processor s/GB",
		"pull, MB/s", "pull, processor s/GB",
	} {
		t.row(name, got, i, []string{"%.0f", "%.2f"}[i%2])
	}
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

// memories: what a server has that does nothing, and the most that it has had after
// many clients have read a layer at 1 MB/s each.
func memories(ctx context.Context, l *lab, t *table) error {
	got, err := all(ctx, l, 1, setup{}, func(ctx context.Context, v *server, c *client) ([]float64, error) {
		time.Sleep(2 * time.Second)
		idle, err := v.memory("VmRSS")
		if err != nil {
			return nil, err
		}
		digest, err := c.push(ctx, random(blobMB*1e6))
		if err != nil {
			return nil, err
		}
		ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		var wg sync.WaitGroup
		for range pulls {
			wg.Go(func() { c.slowly(ctx, "/v2/bench/blobs/"+digest) })
		}
		wg.Wait()
		peak, err := v.memory("VmHWM")
		return []float64{idle, peak}, err
	})
	if err != nil {
		return err
	}
	t.section("memory")
	t.row("idle, MB", got, 0, "%.0f")
	t.row(fmt.Sprintf("the most with %d slow pulls at once, MB", pulls), got, 1, "%.0f")
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
