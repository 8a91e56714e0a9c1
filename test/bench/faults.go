package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/redoubt-registry/redoubt/test/proxy"
	cache "github.com/redoubt-registry/redoubt/test/redis"
)

// redis is a cache of the benchmark's own, on a socket.
type redis struct {
	socket string
	cmd    *exec.Cmd
}

func (l *lab) redis(ctx context.Context) (*redis, error) {
	l.made++
	socket, err := filepath.Abs(filepath.Join(l.dir, fmt.Sprintf("redis-%d.sock", l.made)))
	if err != nil {
		return nil, err
	}
	r := &redis{socket: socket, cmd: exec.Command("redis-server", "--port", "0", "--unixsocket", socket, "--save", "", "--appendonly", "no")}
	if err := r.cmd.Start(); err != nil {
		return nil, fmt.Errorf("cannot start redis: %w (make bootstrap installs it)", err)
	}
	for range 100 {
		if _, err := os.Stat(socket); err == nil {
			return r, nil
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
	return nil, errors.New("cannot start redis: it makes no socket")
}

func (r *redis) stop() {
	_ = r.cmd.Process.Kill()
	_ = r.cmd.Wait()
}

// deadCache: what one client's requests cost when Redis is gone, and when it hangs.
func deadCache(ctx context.Context, l *lab, t *table) error {
	for _, c := range []struct {
		name  string
		sign  syscall.Signal
		times int
	}{{"dead", syscall.SIGKILL, 100}, {"hung", syscall.SIGSTOP, 5}} {
		got := results{}
		for _, k := range l.kinds(stock, redoubt) {
			r, err := l.redis(ctx)
			if err != nil {
				return err
			}
			values, err := once(ctx, l, k, setup{redis: r.socket}, func(ctx context.Context, _ *server, cl *client) ([]float64, error) {
				return withoutCache(ctx, cl, func() error { return r.cmd.Process.Signal(c.sign) }, c.times)
			})
			r.stop()
			if err != nil {
				return fmt.Errorf("%s: %w", k, err)
			}
			got[k] = append(got[k], values)
		}
		t.section("Redis is " + c.name + ", one client")
		t.row("the first request, ms", got, 0, "%.1f")
		t.row("the median of those after it, ms", got, 1, "%.1f")
	}
	return nil
}

// farCache: the same with a Redis on another machine, when the line to it is bad.
func farCache(ctx context.Context, l *lab, t *table) error {
	for _, c := range []struct {
		name  string
		fault func(*proxy.Proxy)
		times int
	}{
		{"answers after 30 ms", func(p *proxy.Proxy) { p.Latency(15 * time.Millisecond) }, 50},
		{"is behind a line that loses everything", (*proxy.Proxy).Freeze, 5},
	} {
		got := results{}
		for _, k := range l.kinds(stock, redoubt) {
			o := &owner{dir: l.dir}
			line := proxy.TCP(o, cache.Start(o, cache.Options{}).Address)
			values, err := once(ctx, l, k, setup{redis: line.Address}, func(ctx context.Context, _ *server, cl *client) ([]float64, error) {
				return withoutCache(ctx, cl, func() error { c.fault(line); return nil }, c.times)
			})
			o.end()
			if err != nil {
				return fmt.Errorf("%s: %w", k, err)
			}
			got[k] = append(got[k], values)
		}
		t.section("a shared Redis " + c.name + ", one client")
		t.row("the first request, ms", got, 0, "%.1f")
		t.row("the median of those after it, ms", got, 1, "%.1f")
	}
	return nil
}

func withoutCache(ctx context.Context, c *client, stop func() error, times int) ([]float64, error) {
	for range 10 {
		if err := c.manifest(ctx); err != nil {
			return nil, err
		}
	}
	if err := stop(); err != nil {
		return nil, err
	}
	began := time.Now()
	if err := c.manifest(ctx); err != nil {
		return nil, err
	}
	first := time.Since(began).Seconds() * 1000
	n := 0
	after := repeatTimes(ctx, times, func(ctx context.Context) error { n++; return c.manifest(ctx) })
	return []float64{first, after.quantile(0.5)}, after.err
}

// repeatTimes does the same a number of times, by one worker.
func repeatTimes(ctx context.Context, times int, do func(context.Context) error) load {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	return repeat(ctx, 1, func(ctx context.Context) error {
		if times--; times == 0 {
			cancel()
		}
		return do(ctx)
	})
}

// reload: what the others notice while the configuration is read again and an
// upload of some seconds is under way.
func reload(ctx context.Context, l *lab, t *table) error {
	got, err := both(ctx, l, 1, setup{held: true}, func(ctx context.Context, v *server, c *client) ([]float64, error) {
		upload := make(chan error, 1)
		go func() { upload <- c.slowUpload(ctx, 6*time.Second) }()
		others := make(chan load, 1)
		long, cancel := context.WithTimeout(ctx, 9*time.Second)
		defer cancel()
		fresh := newClient(v, false)
		go func() { others <- repeat(long, 4, fresh.manifest) }()
		time.Sleep(time.Second)
		if err := v.reload(); err != nil {
			return nil, err
		}
		got := <-others
		cut := 0.0
		if err := <-upload; err != nil {
			cut = 1
		}
		return []float64{got.quantile(1), float64(got.failed), cut}, nil
	})
	if err != nil {
		return err
	}
	t.section("a reload (the stock registry: a restart that drains) during an upload of 6 s, held socket, 4 clients")
	t.row("the slowest request, ms", got, 0, "%.0f")
	t.row("failed requests", got, 1, "%.0f")
	t.row("uploads cut", got, 2, "%.0f")
	return nil
}

// slowUpload sends a blob for so long.
func (c *client) slowUpload(ctx context.Context, long time.Duration) error {
	h, err := c.want(ctx, http.StatusAccepted, http.MethodPost, "/v2/bench/blobs/uploads/", nil)
	if err != nil {
		return err
	}
	r, w := io.Pipe()
	go func() {
		for end := time.Now().Add(long); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
			if _, err := io.Copy(w, bytes.NewReader(random(1e5))); err != nil {
				return
			}
		}
		w.Close()
	}()
	_, err = c.want(ctx, http.StatusAccepted, http.MethodPatch, h.Get("Location"), r, "Content-Type", "application/octet-stream")
	return err
}

// deaths is how often a registry is killed.
const deaths = 10

// kills: what clients notice of a registry that is killed, and started again as systemd
// would. Zot takes no socket that another one holds.
func kills(ctx context.Context, l *lab, t *table) error {
	back := results{}
	got, err := both(ctx, l, 1, setup{held: true}, func(ctx context.Context, v *server, _ *client) ([]float64, error) {
		fresh := newClient(v, false)
		long, cancel := context.WithCancel(ctx)
		others := make(chan load, 1)
		go func() { others <- repeat(long, 4, fresh.manifest) }()
		var err error
		for range deaths {
			time.Sleep(500 * time.Millisecond)
			took, failed := v.crash(ctx, fresh)
			err = errors.Join(err, failed)
			back[v.kind] = append(back[v.kind], []float64{took})
		}
		time.Sleep(500 * time.Millisecond)
		cancel()
		got := <-others
		count := float64(len(got.took))
		return []float64{float64(got.failed), count, 1000 * float64(got.failed) / (float64(got.failed) + count), got.quantile(1)}, err
	})
	if err != nil {
		return err
	}
	t.section(fmt.Sprintf("kill -9, %d times, held socket, a new connection for each request, 4 clients", deaths))
	t.row("from the start of the next process to its first answer, ms", back, 0, "%.0f")
	t.row("failed requests", got, 0, "%.0f")
	t.row("served requests", got, 1, "%.0f")
	t.row("failed of 1,000", got, 2, "%.1f")
	t.row("the slowest request, ms", got, 3, "%.0f")
	return nil
}
