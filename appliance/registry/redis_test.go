package registry

import (
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/random"
)

type redisServer struct {
	socket string
	cmd    *exec.Cmd
}

func startRedis(t testing.TB) *redisServer {
	t.Helper()
	dir := t.TempDir()
	r := &redisServer{socket: filepath.Join(dir, "redis.sock")}
	r.cmd = exec.Command("redis-server", "--port", "0", "--unixsocket", r.socket, "--save", "", "--dir", dir)
	if err := r.cmd.Start(); err != nil {
		t.Fatalf("cannot start redis-server: %v (apt install redis-server)", err)
	}
	t.Cleanup(func() {
		_ = r.cmd.Process.Signal(syscall.SIGCONT)
		_ = r.cmd.Process.Kill()
		_ = r.cmd.Wait()
	})
	until(t, "redis to answer", func() bool {
		c, err := net.Dial("unix", r.socket)
		if err == nil {
			c.Close()
		}
		return err == nil
	})
	return r
}

// clients counts the connections but for the one that asks.
func (r *redisServer) clients(t testing.TB) int {
	t.Helper()
	out, err := exec.Command("redis-cli", "-s", r.socket, "CLIENT", "LIST").Output()
	check(t, err)
	return strings.Count(string(out), "\n") - 1
}

// Redis dies, hangs, comes back: the registry answers all the while, and in
// much less time than upstream's seconds for each request.
func TestRedisTrouble(t *testing.T) {
	m := newMachine(t)
	redis := startRedis(t)
	m.redis = redis.socket
	m.config(t, "info")
	m.start(t)
	image, err := random.Image(10_000, 2)
	check(t, err)
	check(t, m.push(image, "app:1"))
	ask := func() {
		t.Helper()
		began := time.Now()
		for range 20 {
			_, err := m.pull("app:1")
			check(t, err)
		}
		if took := time.Since(began); took > 30*time.Second {
			t.Errorf("twenty pulls took %v", took)
		}
	}
	until(t, "the cache to be in use", func() bool {
		ask()
		return m.metric(t, "redoubt_cache_hits_total") > 0 && m.metric(t, "redoubt_cache_breaker_open") == 0
	})
	before := m.metric(t, "redoubt_cache_errors_total")
	check(t, redis.cmd.Process.Signal(syscall.SIGSTOP))
	ask()
	errors := m.metric(t, "redoubt_cache_errors_total") - before
	if m.metric(t, "redoubt_cache_breaker_open") != 1 || errors > 4 {
		t.Errorf("breaker %v, errors %v", m.metric(t, "redoubt_cache_breaker_open"), errors)
	}
	digest, err := image.Digest()
	check(t, err)
	a, err := m.do("DELETE", "https://"+m.host()+"/v2/app/manifests/"+digest.String(), nil)
	check(t, err)
	if a.StatusCode != 202 {
		t.Errorf("a deletion while Redis hangs: %s %s", a.Status, a.body)
	}
	check(t, redis.cmd.Process.Signal(syscall.SIGCONT))
	until(t, "the breaker to close", func() bool { return m.metric(t, "redoubt_cache_breaker_open") == 0 })
	if a := m.get(t, "/v2/app/manifests/"+digest.String(), "Accept", "*/*"); a.StatusCode != 404 {
		t.Errorf("what was deleted while Redis hung is back: %s", a.Status)
	}
	check(t, m.push(image, "app:2"))
	check(t, redis.cmd.Process.Kill())
	_ = redis.cmd.Wait()
	for range 20 {
		_, err := m.pull("app:2")
		check(t, err)
	}
}
