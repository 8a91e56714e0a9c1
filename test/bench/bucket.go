package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/redoubt-registry/redoubt/test/stores"
)

// parallelPushes is how many layers come at once where memory is measured.
const parallelPushes = 16

// place is a bucket that a registry stores in.
type place struct {
	store  *stores.Store
	bucket string
}

// section is registry.yml's of the place, or of a directory where there is none.
func (p *place) section(dir string) string {
	if p == nil {
		return fmt.Sprintf("  filesystem: {rootdirectory: %s/data}\n", dir)
	}
	return fmt.Sprintf("  s3: {bucket: %s, region: %s, regionendpoint: %q, forcepathstyle: true, secure: false, accesskey: %s, secretkey: %s}\n",
		p.bucket, p.store.Region, p.store.Endpoint, p.store.AccessKey, p.store.SecretKey)
}

func minio(ctx context.Context, l *lab, t *table) error   { return bucket(ctx, l, t, stores.MinIO) }
func versity(ctx context.Context, l *lab, t *table) error { return bucket(ctx, l, t, stores.Versity) }

// bucket measures all on a store of one kind.
func bucket(ctx context.Context, l *lab, t *table, start func(stores.Owner, ...stores.Options) *stores.Store) error {
	o := &owner{dir: l.dir}
	defer o.end()
	p := &place{store: start(o)}
	p.bucket = p.store.NewBucket(o)
	for _, mb := range []int{100, 1000} {
		if err := layers(ctx, l, t, p, mb); err != nil {
			return fmt.Errorf("%s: %w", p.store.Name, err)
		}
	}
	if err := manyPushes(ctx, l, t, p); err != nil {
		return fmt.Errorf("%s: %w", p.store.Name, err)
	}
	return nil
}

// layers: a layer up and down through each registry, and the same bytes straight
// into the bucket, in turns. The share is of the direct PUT of the same turn.
func layers(ctx context.Context, l *lab, t *table, p *place, mb int) error {
	got := results{}
	var straight []float64
	for range rounds {
		blob := random(mb * 1e6)
		speed, err := direct(ctx, p.store.Client(), p.bucket, "direct", blob)
		if err != nil {
			return fmt.Errorf("direct: %w", err)
		}
		straight = append(straight, speed)
		for _, k := range l.kinds(stock, redoubt) {
			values, err := once(ctx, l, k, setup{store: p}, func(ctx context.Context, v *server, c *client) ([]float64, error) {
				return upAndDown(ctx, v, c, blob)
			})
			if err != nil {
				return fmt.Errorf("%s: %w", k, err)
			}
			got[k] = append(got[k], append(values, values[0]/speed, values[2]/speed))
			if err := empty(ctx, p.store.Client(), p.bucket); err != nil {
				return err
			}
		}
	}
	slices.Sort(straight)
	t.section(fmt.Sprintf("a layer of %d MB, one client, a bucket on %s; a direct parallel PUT: %s MB/s", mb, p.store.Name, cell(straight, "%.0f")))
	t.row("push by PATCH, share of the direct PUT", got, 6, "%.2f")
	t.row("push by PUT, share of the direct PUT", got, 7, "%.2f")
	upAndDownRows(t, got)
	return nil
}

// manyPushes: the memory for layers that come at once.
func manyPushes(ctx context.Context, l *lab, t *table, p *place) error {
	got, err := both(ctx, l, 1, setup{store: p}, func(ctx context.Context, v *server, c *client) ([]float64, error) {
		shared := random(blobMB * 1e6)
		errs := make([]error, parallelPushes)
		var wg sync.WaitGroup
		began := time.Now()
		for n := range parallelPushes {
			wg.Go(func() {
				own := random(32)
				body := io.MultiReader(bytes.NewReader(own), bytes.NewReader(shared))
				errs[n] = c.send(ctx, body, digestOf(own, shared))
			})
		}
		wg.Wait()
		took := time.Since(began).Seconds()
		for _, err := range errs {
			if err != nil {
				return nil, err
			}
		}
		peak, err := v.memory("VmHWM")
		if err != nil {
			return nil, err
		}
		return []float64{peak, parallelPushes * blobMB / took}, empty(ctx, p.store.Client(), p.bucket)
	})
	if err != nil {
		return err
	}
	t.section(fmt.Sprintf("%d pushes of %d MB at once, a bucket on %s", parallelPushes, blobMB, p.store.Name))
	t.row("peak memory, MB", got, 0, "%.0f")
	t.row("all together, MB/s", got, 1, "%.0f")
	return nil
}
