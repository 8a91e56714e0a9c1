//go:build integration

package blobcache

import (
	"context"
	"fmt"
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/distribution/distribution/v3"
	"github.com/distribution/distribution/v3/configuration"
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/redoubt-registry/redoubt/appliance/registry/redis"
)

// redisServer is a real redis-server on a unix socket.
type redisServer struct {
	socket string
	args   []string
	cmd    *exec.Cmd
}

func startRedis(t *testing.T, args ...string) *redisServer {
	t.Helper()
	r := &redisServer{socket: filepath.Join(t.TempDir(), "redis.sock"), args: args}
	r.start(t)
	t.Cleanup(func() {
		_ = r.cmd.Process.Signal(syscall.SIGCONT)
		r.kill()
	})
	return r
}

func (r *redisServer) start(t *testing.T) {
	t.Helper()
	r.cmd = exec.Command("redis-server", append([]string{"--port", "0", "--unixsocket", r.socket, "--save", "", "--dir", filepath.Dir(r.socket)}, r.args...)...)
	if err := r.cmd.Start(); err != nil {
		t.Fatalf("cannot start redis-server: %v (apt install redis-server)", err)
	}
	until(t, "redis to answer", func() bool {
		c, err := net.Dial("unix", r.socket)
		if err == nil {
			c.Close()
		}
		return err == nil
	})
}

func (r *redisServer) kill() {
	_ = r.cmd.Process.Kill()
	_ = r.cmd.Wait()
}

func (r *redisServer) signal(t *testing.T, s syscall.Signal) {
	t.Helper()
	if err := r.cmd.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
}

// cache has a budget that a busy machine does not use up: what is tested with
// it does not hang on purpose.
func (r *redisServer) cache(t *testing.T) *Cache {
	t.Helper()
	c := r.cacheWithin(t, 10*time.Second)
	inUse(t, c)
	return c
}

func (r *redisServer) cacheWithin(t *testing.T, budget time.Duration) *Cache {
	t.Helper()
	c := newCache(r.server(t), "", budget, func(text string, err error) { t.Logf("%s: %v", text, err) })
	t.Cleanup(func() { c.Close() })
	return c
}

func (r *redisServer) server(t testing.TB) *redis.Server {
	t.Helper()
	var section configuration.Redis
	section.Options.Addrs = []string{r.socket}
	s, err := redis.New(section)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// inUse waits until the cache has a connection.
func inUse(t *testing.T, c *Cache) {
	t.Helper()
	until(t, "the cache to be in use", func() bool { return !c.Stats().Open })
}

// until waits for what must come to pass; the deadline is for broken code only.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

func descriptor(n int) v1.Descriptor {
	return v1.Descriptor{Digest: digest.FromString(fmt.Sprint(n)), Size: int64(n), MediaType: "application/octet-stream"}
}

func repository(t *testing.T, c *Cache, name string) distribution.BlobDescriptorService {
	t.Helper()
	s, err := c.RepositoryScoped(name)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func wantHit(t *testing.T, s distribution.BlobDescriptorService, d v1.Descriptor) {
	t.Helper()
	got, err := s.Stat(t.Context(), d.Digest)
	if err != nil || got.Size != d.Size || got.Digest != d.Digest || got.MediaType != d.MediaType {
		t.Fatalf("Stat = %+v, %v, want %+v", got, err, d)
	}
}

func wantMiss(t *testing.T, s distribution.BlobDescriptorService, d v1.Descriptor) {
	t.Helper()
	if got, err := s.Stat(t.Context(), d.Digest); err != distribution.ErrBlobUnknown {
		t.Fatalf("Stat = %+v, %v, want a miss", got, err)
	}
}

func set(t *testing.T, s distribution.BlobDescriptorService, d v1.Descriptor) {
	t.Helper()
	if err := s.SetDescriptor(t.Context(), d.Digest, d); err != nil {
		t.Fatal(err)
	}
}

func TestCacheScopes(t *testing.T) {
	c := startRedis(t).cache(t)
	a, b, d := repository(t, c, "a"), repository(t, c, "b"), descriptor(1)
	wantMiss(t, a, d)
	set(t, a, d)
	wantHit(t, a, d)
	wantMiss(t, b, d) // membership of one repository says nothing of another
	wantMiss(t, c, d)
	set(t, c, d)
	wantHit(t, c, d)
	if s := c.Stats(); s.Hits != 2 || s.Misses != 3 || s.Errors != 0 {
		t.Errorf("Stats = %+v", s)
	}
}

// A reader that saw the blob before a deletion and caches it after Clear must
// not bring it back: that would make a later push believe that it is there.
func TestClearOutlastsALateReader(t *testing.T) {
	c := startRedis(t).cache(t)
	a, d := repository(t, c, "a"), descriptor(1)
	set(t, a, d)
	set(t, c, d)
	if err := a.Clear(t.Context(), d.Digest); err != nil {
		t.Fatal(err)
	}
	set(t, a, d)
	set(t, c, d)
	wantMiss(t, a, d)
	wantMiss(t, c, d)
}

func TestReloaded(t *testing.T) {
	c := startRedis(t).cache(t)
	set(t, c, descriptor(1))
	c.Reloaded()
	wantMiss(t, c, descriptor(1))
	set(t, c, descriptor(1))
	wantHit(t, c, descriptor(1))
}

// What another process left in Redis may be older than a deletion.
func TestNothingIsBelievedOfAnotherProcess(t *testing.T) {
	r := startRedis(t)
	one, two := r.cache(t), r.cache(t)
	set(t, one, descriptor(1))
	wantMiss(t, two, descriptor(1))
}

// The promise: a hung Redis costs one request 50 ms, once. A thousand requests
// of two exchanges each take less than a second in all, where upstream's
// client takes seconds for each.
func TestHungRedisCostsOnce(t *testing.T) {
	r := startRedis(t)
	c := r.cacheWithin(t, defaultBudget)
	until(t, "Redis to answer in time", func() bool { return c.Stats().Hits > 0 || warm(t, c) })
	before := c.Stats()
	r.signal(t, syscall.SIGSTOP)
	began := time.Now()
	for range 1000 {
		wantMiss(t, c, descriptor(1))
		set(t, c, descriptor(1))
	}
	if took := time.Since(began); took > time.Second {
		t.Errorf("2000 exchanges with a hung Redis took %v", took)
	}
	s := c.Stats()
	if s.Errors-before.Errors != 1 || s.Skipped-before.Skipped != 1999 || !s.Open {
		t.Errorf("Stats = %+v, want 1 error more than %+v and the rest skipped", s, before)
	}
	r.signal(t, syscall.SIGCONT)
	until(t, "the cache to be in use again", func() bool { return warm(t, c) })
}

// warm says whether a descriptor is cached and found.
func warm(t *testing.T, c *Cache) bool {
	t.Helper()
	set(t, c, descriptor(1))
	_, err := c.Stat(t.Context(), descriptor(1).Digest)
	return err == nil && !c.Stats().Open
}

// Requests that come together share the cost: each waits once at most.
func TestHungRedisUnderLoad(t *testing.T) {
	r := startRedis(t)
	c := r.cacheWithin(t, defaultBudget)
	until(t, "Redis to answer in time", func() bool { return warm(t, c) })
	before := c.Stats()
	r.signal(t, syscall.SIGSTOP)
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			for range 20 {
				_, _ = c.Stat(context.Background(), descriptor(1).Digest)
			}
		})
	}
	wg.Wait()
	s := c.Stats()
	waited, skipped := s.Errors-before.Errors, s.Skipped-before.Skipped
	if waited > 50 || waited+skipped != 1000 {
		t.Errorf("%d exchanges waited, of 50 clients, and %d were skipped", waited, skipped)
	}
}

// A deletion that a hung Redis never hears of must not be undone when it is
// back, nor when the Clear arrives late.
func TestClearWhileHung(t *testing.T) {
	r := startRedis(t)
	c := r.cacheWithin(t, time.Second)
	inUse(t, c)
	a := repository(t, c, "a")
	set(t, a, descriptor(1))
	r.signal(t, syscall.SIGSTOP)
	if err := a.Clear(t.Context(), descriptor(1).Digest); err != nil {
		t.Fatalf("a hung Redis failed a deletion: %v", err)
	}
	r.signal(t, syscall.SIGCONT)
	until(t, "the breaker to close", func() bool { return !c.Stats().Open })
	wantMiss(t, a, descriptor(1))
}

func TestClearWhileOpen(t *testing.T) {
	r := startRedis(t)
	c := r.cacheWithin(t, time.Second)
	inUse(t, c)
	a := repository(t, c, "a")
	set(t, a, descriptor(1))
	r.signal(t, syscall.SIGSTOP)
	wantMiss(t, a, descriptor(2)) // opens the breaker
	if err := a.Clear(t.Context(), descriptor(1).Digest); err != nil {
		t.Fatal(err)
	}
	r.signal(t, syscall.SIGCONT)
	until(t, "the breaker to close", func() bool { return !c.Stats().Open })
	wantMiss(t, a, descriptor(1))
}

// A client that goes away in the middle of its deletion does not leave the
// descriptor behind.
func TestClearOfACancelledRequest(t *testing.T) {
	c := startRedis(t).cache(t)
	set(t, c, descriptor(1))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := c.Clear(ctx, descriptor(1).Digest); err != nil {
		t.Fatal(err)
	}
	wantMiss(t, c, descriptor(1))
	if c.Stats().Open {
		t.Error("a client that left opened the breaker")
	}
}

func TestCancelledRequestLeavesTheBreaker(t *testing.T) {
	c := startRedis(t).cache(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for range 10 {
		_, _ = c.Stat(ctx, descriptor(1).Digest)
	}
	if c.Stats().Open {
		t.Error("a client that left opened the breaker")
	}
}

func TestDeadRedisComesBack(t *testing.T) {
	r := startRedis(t)
	c := r.cache(t)
	set(t, c, descriptor(1))
	r.kill()
	for range 100 {
		wantMiss(t, c, descriptor(1))
	}
	until(t, "the breaker to open", func() bool { return c.Stats().Open })
	if s := c.Stats(); s.Errors > 2 {
		t.Errorf("Stats = %+v", s)
	}
	r.start(t)
	until(t, "the breaker to close", func() bool { return !c.Stats().Open })
	wantMiss(t, c, descriptor(1)) // it was in memory only
	set(t, c, descriptor(1))
	wantHit(t, c, descriptor(1))
}

func TestNoRedisAtTheStart(t *testing.T) {
	r := &redisServer{socket: filepath.Join(t.TempDir(), "redis.sock")}
	c := r.cacheWithin(t, 10*time.Second)
	for range 100 {
		wantMiss(t, c, descriptor(1))
	}
	if s := c.Stats(); !s.Open || s.Errors != 0 {
		t.Errorf("Stats = %+v", s)
	}
}

func TestFlushedRedis(t *testing.T) {
	r := startRedis(t)
	c := r.cache(t)
	set(t, c, descriptor(1))
	if out, err := exec.Command("redis-cli", "-s", r.socket, "FLUSHDB").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	wantMiss(t, c, descriptor(1))
	set(t, c, descriptor(1))
	wantHit(t, c, descriptor(1))
}

// A full Redis that evicts nothing takes no descriptor, answers what it has,
// fails no request, and a deletion is still a deletion.
func TestFullRedis(t *testing.T) {
	r := startRedis(t)
	c := r.cache(t)
	set(t, c, descriptor(1))
	for _, args := range [][]string{{"maxmemory-policy", "noeviction"}, {"maxmemory", "1"}} {
		if out, err := exec.Command("redis-cli", append([]string{"-s", r.socket, "CONFIG", "SET"}, args...)...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	set(t, c, descriptor(2))
	wantMiss(t, c, descriptor(2))
	wantHit(t, c, descriptor(1))
	if err := c.Clear(t.Context(), descriptor(1).Digest); err != nil {
		t.Fatal(err)
	}
	wantMiss(t, c, descriptor(1))
	if c.Stats().Open {
		t.Error("a full Redis opened the breaker")
	}
}

// An entry that is not ours, or damaged, is a miss.
func TestWrongEntries(t *testing.T) {
	r := startRedis(t)
	c := r.cache(t)
	for i, value := range []string{"", "{", "null", `{"digest":"x","size":1}`, `{"size":-1}`} {
		d := descriptor(i)
		key := scope{cache: c}.key(d.Digest)
		if out, err := exec.Command("redis-cli", "-s", r.socket, "SET", key, value).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		wantMiss(t, c, d)
	}
	d := descriptor(100)
	if out, err := exec.Command("redis-cli", "-s", r.socket, "LPUSH", scope{cache: c}.key(d.Digest), "x").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	wantMiss(t, c, d)
	if c.Stats().Open {
		t.Error("a wrong entry opened the breaker")
	}
}

// A server that does not speak Redis is as good as a dead one.
func TestWrongServer(t *testing.T) {
	for _, answer := range []string{"HTTP/1.1 400 Bad Request\r\n\r\n", "$-5\r\n", "\x00\xff\r\n", ""} {
		t.Run(strings.ToValidUTF8(answer, "?"), func(t *testing.T) {
			socket := filepath.Join(t.TempDir(), "s")
			l, err := net.Listen("unix", socket)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { l.Close() })
			go func() {
				for {
					conn, err := l.Accept()
					if err != nil {
						return
					}
					_, _ = conn.Write([]byte(answer))
					conn.Close()
				}
			}()
			c := (&redisServer{socket: socket}).cacheWithin(t, 10*time.Second)
			for range 100 {
				wantMiss(t, c, descriptor(1))
			}
			if s := c.Stats(); !s.Open || s.Errors != 0 {
				t.Errorf("Stats = %+v", s)
			}
		})
	}
}

func BenchmarkHit(b *testing.B) {
	socket := filepath.Join(b.TempDir(), "redis.sock")
	cmd := exec.Command("redis-server", "--port", "0", "--unixsocket", socket, "--save", "", "--dir", b.TempDir())
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	for range 100 {
		if conn, err := net.Dial("unix", socket); err == nil {
			conn.Close()
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	c := newCache((&redisServer{socket: socket}).server(b), "", 10*time.Second, func(string, error) {})
	defer c.Close()
	d := descriptor(1)
	for c.Stats().Open {
		time.Sleep(time.Millisecond)
	}
	_ = c.SetDescriptor(b.Context(), d.Digest, d)
	for b.Loop() {
		if _, err := c.Stat(b.Context(), d.Digest); err != nil {
			b.Fatal(err)
		}
	}
}
