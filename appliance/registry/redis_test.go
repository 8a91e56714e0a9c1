//go:build integration

package registry

import (
	"bytes"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/opencontainers/go-digest"
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
			check(t, m.pullConfig("app:1")) // manifests of a directory are not cached there
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

// Fifty reloads, each with another configuration, under load and with an
// upload in flight that began before the first: nothing fails.
func TestReloadsUnderLoad(t *testing.T) {
	m := newMachine(t)
	m.redis = startRedis(t).socket
	m.config(t, "info")
	m.start(t)
	stop := m.load(t, 4)
	data := bytes.Repeat([]byte("layer"), 100_000)
	u := m.begin(t, "slow", data[:len(data)/2])
	half := len(data) / 2
	for i := range 50 {
		half = u.more(t, data, half) // one that stands still is ended
		m.config(t, []string{"warn", "info", "error"}[i%3])
		if status := m.reload(t); !strings.Contains(status, "STATUS=serving") {
			t.Fatalf("reload %d: %s", i, status)
		}
	}
	u.finish(t, data[half:], digest.FromBytes(data).String())
	if failed, all := stop(); failed > 0 || all < 10 {
		t.Errorf("%d of %d operations failed", failed, all)
	}
	if n := m.metric(t, `redoubt_reloads_total{result="done"}`); n != 50 {
		t.Errorf("%v reloads", n)
	}
	if a := m.get(t, "/v2/slow/blobs/"+digest.FromBytes(data).String()); a.body != string(data) {
		t.Errorf("the upload came back different: %s", a.Status)
	}
	before := m.metric(t, "redoubt_cache_hits_total")
	until(t, "the cache, which old configurations must not have closed", func() bool {
		check(t, m.pullConfig("load:0"))
		return m.metric(t, "redoubt_cache_hits_total") > before
	})
}

// Two hundred reloads leave no connection to Redis behind, and of goroutines
// at most the one each that upstream's event broadcaster keeps.
func TestReloadsLeaveNothing(t *testing.T) {
	m := newMachine(t)
	redis := startRedis(t)
	m.redis = redis.socket
	m.config(t, "error")
	m.start(t)
	image, err := random.Image(1000, 1)
	check(t, err)
	check(t, m.push(image, "app:1"))
	m.reload(t)
	clients, goroutines := redis.clients(t), m.metric(t, "go_goroutines")
	for range 200 {
		m.reload(t)
		if a := m.get(t, "/v2/app/manifests/1", "Accept", "*/*"); a.StatusCode != http.StatusOK {
			t.Fatalf("%s %s", a.Status, a.body)
		}
	}
	if n := redis.clients(t); n > clients+2 {
		t.Errorf("%d connections to Redis after 200 reloads, %d before", n, clients)
	}
	if n := m.metric(t, "go_goroutines"); n > goroutines+200+20 {
		t.Errorf("%v goroutines after 200 reloads, %v before", n, goroutines)
	}
}

// A configuration that cannot be used is refused, whatever is wrong with it.
func TestBadReload(t *testing.T) {
	m := newMachine(t)
	m.redis = startRedis(t).socket
	m.config(t, "info")
	m.start(t)
	good, err := os.ReadFile(m.path("registry.yml"))
	check(t, err)
	edit := func(old, now string) string {
		if !strings.Contains(string(good), old) {
			t.Fatalf("registry.yml has no %q", old)
		}
		return strings.Replace(string(good), old, now, 1)
	}
	for name, tc := range map[string]struct{ text, want string }{
		"empty":         {"", "registry.yml"},
		"not YAML":      {"version: [", "registry.yml"},
		"no secret":     {edit("secret: a-secret", "secret: ''"), "http.secret"},
		"open":          {edit("auth: {", "auth2: {"), "open to everyone"},
		"none":          {edit("auth: {redoubt:", "auth: {none:"), "open to everyone"},
		"bad driver":    {edit("filesystem: {", "nosuch: {"), "nosuch"},
		"bad level":     {edit("level: info", "level: loud"), "log"},
		"bad format":    {edit("formatter: json", "formatter: xml"), "log.formatter"},
		"bad TLS":       {edit("tls: {", "tls: {minimumtls: tls1.1, "), "http.tls.minimumtls"},
		"bad cipher":    {edit("tls: {", "tls: {ciphersuites: [TLS_RSA_WITH_3DES_EDE_CBC_SHA], "), "http.tls.ciphersuites"},
		"client CAs":    {edit("tls: {", "tls: {clientcas: [/x], "), "http.tls.clientcas"},
		"another port":  {edit(m.host(), "127.0.0.1:1"), "http.addr"},
		"open metrics":  {edit(m.debug, "0.0.0.0:0"), "http.debug.addr"},
		"taken metrics": {edit(m.debug, m.host()), "http.debug.addr"},
		"readonly":      {edit("delete: {enabled: true}", "maintenance: {readonly: true}"), "readonly"},
		"no redis":      {edit("redis: {addrs:", "redis: {addrs: [], password: x} # "), "redis.addrs"},
		"lost pair":     {edit("tls.crt", "none.crt"), "none.crt"},
	} {
		m.write(t, "registry.yml", tc.text)
		if status := m.reload(t); !strings.Contains(status, "STATUS=reload refused") || !strings.Contains(status, tc.want) {
			t.Errorf("%s: %s, want %q", name, status, tc.want)
		}
		if a := m.get(t, "/v2/"); a.StatusCode != http.StatusOK {
			t.Errorf("%s: the old one does not serve: %s", name, a.Status)
		}
	}
	m.write(t, "registry.yml", string(good))
	if status := m.reload(t); !strings.Contains(status, "STATUS=serving") {
		t.Errorf("after the fix: %s", status)
	}
	if strings.Contains(m.log.String(), "a-secret") {
		t.Error("the log has the secret")
	}
	image, err := random.Image(1000, 1)
	check(t, err)
	check(t, m.push(image, "app:1"))
	before := m.metric(t, "redoubt_cache_hits_total")
	until(t, "the cache, which the refused reloads must not have taken with them", func() bool {
		check(t, m.pullConfig("app:1"))
		return m.metric(t, "redoubt_cache_hits_total") > before
	})
}

// more sends the next bytes of data, and returns where they end.
func (u *upload) more(t testing.TB, data []byte, from int) (to int) {
	t.Helper()
	to = from + 100
	_, err := u.pipe.Write(data[from:to])
	check(t, err)
	return to
}
