//go:build integration

package blobcache

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/distribution/distribution/v3/configuration"

	"github.com/redoubt-registry/redoubt/appliance/paths"
	"github.com/redoubt-registry/redoubt/test/proxy"
	real "github.com/redoubt-registry/redoubt/test/redis"
)

// bound is generous: the promise is 50 ms, and the machine may be busy. Without
// a breaker and a budget a request takes seconds.
const bound = 2 * time.Second

// ask makes a request of four exchanges, as a pull of a manifest does, and
// returns how long it took.
func ask(t *testing.T, c *Cache, n int) time.Duration {
	t.Helper()
	began := time.Now()
	ctx := c.Request(t.Context())
	for _, s := range []scope{{cache: c, repo: "a"}, {cache: c}} {
		if _, err := s.Stat(ctx, descriptor(n).Digest); err == nil {
			continue
		}
		if err := s.SetDescriptor(ctx, descriptor(n).Digest, descriptor(n)); err != nil {
			t.Fatal(err)
		}
	}
	return time.Since(began)
}

// series makes many requests: none may take long, and all together no more than
// a few that do.
func series(t *testing.T, c *Cache) {
	t.Helper()
	const requests = 300
	began := time.Now()
	for i := range requests {
		if took := ask(t, c, i%3); took > bound {
			t.Errorf("a request took %v", took)
		}
	}
	if took := time.Since(began); took > 2*bound {
		t.Errorf("%d requests took %v", requests, took)
	}
}

// hits says that the cache is in use: what was asked is found.
func hits(t *testing.T, c *Cache) {
	t.Helper()
	until(t, "the cache to be in use", func() bool {
		before := c.Stats().Hits
		ask(t, c, 1)
		ask(t, c, 1)
		return c.Stats().Hits >= before+2 && !c.Stats().Open
	})
}

// Whatever befalls Redis costs next to nothing, is said once with the key that
// fixes it, and ends by itself once the fault does.
func TestFaults(t *testing.T) {
	for name, fault := range map[string]struct {
		begin, end func(*testing.T, *real.Server, *proxy.Proxy)
		says       string
	}{
		"dead": {
			func(t *testing.T, r *real.Server, _ *proxy.Proxy) { r.Stop() },
			func(t *testing.T, r *real.Server, _ *proxy.Proxy) { r.Run(t) }, "it cut the connection",
		},
		"refused": {
			func(t *testing.T, _ *real.Server, p *proxy.Proxy) { p.Cut() },
			func(t *testing.T, _ *real.Server, p *proxy.Proxy) { p.Restore(t) }, "nobody listens there (cache.redis.address)",
		},
		"hung": {
			func(t *testing.T, r *real.Server, _ *proxy.Proxy) { r.Pause(t) },
			func(t *testing.T, r *real.Server, _ *proxy.Proxy) { r.Resume(t) }, "it does not answer in time",
		},
		"frozen network": {
			func(t *testing.T, _ *real.Server, p *proxy.Proxy) { p.Freeze() },
			func(t *testing.T, _ *real.Server, p *proxy.Proxy) { p.Thaw() }, "it does not answer in time",
		},
		"slow by far": {
			func(t *testing.T, _ *real.Server, p *proxy.Proxy) { p.Latency(time.Second) },
			func(t *testing.T, _ *real.Server, p *proxy.Proxy) { p.Latency(0) }, "it does not answer in time",
		},
		"slow, each answer just in time": {
			func(t *testing.T, _ *real.Server, p *proxy.Proxy) { p.Latency(16 * time.Millisecond) },
			func(t *testing.T, _ *real.Server, p *proxy.Proxy) { p.Latency(0) }, "it does not answer in time",
		},
		"demoted to a replica": {
			func(t *testing.T, r *real.Server, _ *proxy.Proxy) { r.Do(t, "REPLICAOF", "127.0.0.1", "1") },
			func(t *testing.T, r *real.Server, _ *proxy.Proxy) { r.Do(t, "REPLICAOF", "NO", "ONE") }, "it is a replica",
		},
		"new password": {
			func(t *testing.T, r *real.Server, p *proxy.Proxy) {
				r.Do(t, "CONFIG", "SET", "requirepass", "another")
				p.Reset()
			},
			func(t *testing.T, r *real.Server, _ *proxy.Proxy) {
				r.Do(t, "-a", "another", "--no-auth-warning", "CONFIG", "SET", "requirepass", "")
			}, "it wants a password (cache.redis.password)",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := real.Start(t, real.Options{Args: []string{"--replica-read-only", "yes"}})
			p := proxy.TCP(t, r.Address)
			c, log := newSite(t).node(t, p.Address, defaultBudget)
			hits(t, c)
			fault.begin(t, r, p)
			series(t, c)
			until(t, "the breaker to open", func() bool { ask(t, c, 7); return c.Stats().Open })
			until(t, "the reason in the log", func() bool { return log.count(fault.says) > 0 })
			time.Sleep(2 * time.Second) // some probes
			if n := log.count(fault.says); n != 1 {
				t.Errorf("%q is %d times in the log", fault.says, n)
			}
			series(t, c)
			fault.end(t, r, p)
			hits(t, c)
			if log.count("in use again") == 0 {
				t.Error("the end is not in the log")
			}
		})
	}
}

// A refused login is reported once, and fixed without a restart.
func TestWrongPasswordAndTheRightOne(t *testing.T) {
	r := real.Start(t, real.Options{TLS: true, Args: []string{"--user", "default", "off",
		"--user", "registry", "on", ">a-secret", "~redoubt:*", "resetchannels", "+@read", "+@write", "+@connection", "+@transaction", "+info"}})
	dir := t.TempDir()
	login := func(password string) {
		if err := os.WriteFile(filepath.Join(dir, paths.RedisCredential), fmt.Appendf(nil, `{"username":"registry","password":%q}`, password), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	login("wrong-secret")
	var section configuration.Redis
	section.Options.Addrs, section.TLS.RootCAs = []string{r.Address}, []string{r.CA}
	c, log := newSite(t).over(t, section, defaultBudget, dir)
	series(t, c)
	until(t, "the reason in the log", func() bool { return log.count("(cache.redis.username and cache.redis.password)") == 1 })
	time.Sleep(2 * time.Second) // some probes
	if n := log.count("left out"); n != 1 || log.count("secret") > 0 {
		t.Errorf("%d lines", n)
	}
	login("a-secret")
	hits(t, c)
}

// A full Redis that evicts nothing answers what it has, and a deletion holds.
func TestFullSharedRedis(t *testing.T) {
	r := real.Start(t, real.Options{})
	s := newSite(t)
	c, _ := s.node(t, r.Address, patient)
	two, _ := s.node(t, r.Address, patient)
	ready(t, c, two)
	set(t, c, descriptor(1))
	set(t, c, descriptor(2))
	r.Do(t, "CONFIG", "SET", "maxmemory-policy", "noeviction", "maxmemory", "1")
	word := wordOf(t, c)
	set(t, c, descriptor(3))
	wantMiss(t, c, descriptor(3))
	wantHit(t, c, descriptor(1))
	if err := c.Clear(t.Context(), descriptor(1).Digest); err != nil {
		t.Fatal(err)
	}
	wantMiss(t, c, descriptor(1))
	until(t, "the other machine to forget", func() bool { return wordOf(t, two) != word })
	wantMiss(t, two, descriptor(1))
	r.Do(t, "CONFIG", "SET", "maxmemory", "0")
	set(t, c, descriptor(2))
	wantHit(t, two, descriptor(2))
	if s := c.Stats(); s.Opened != 0 {
		t.Errorf("Stats = %+v: a full Redis opened the breaker", s)
	}
}

// A network that loses every packet of a new connection: the queue of this
// listener is full, and nobody takes from it.
func TestBlackHole(t *testing.T) {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(fd)
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	name, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	address := fmt.Sprintf("127.0.0.1:%d", name.(*syscall.SockaddrInet4).Port)
	for range 4 {
		if full, err := net.DialTimeout("tcp", address, 100*time.Millisecond); err == nil {
			defer full.Close()
		}
	}
	c, log := newSite(t).node(t, address, defaultBudget)
	for range 5 {
		series(t, c)
	}
	until(t, "the reason in the log", func() bool { return log.count("it does not answer in time") == 1 })
	series(t, c)
}

// Redis is killed and started again and again: no request pays for it, and the
// log does not fill.
func TestRestartedOften(t *testing.T) {
	r := real.Start(t, real.Options{})
	c, log := newSite(t).node(t, r.Address, defaultBudget)
	hits(t, c)
	for range 8 {
		r.Stop()
		series(t, c)
		r.Run(t)
		series(t, c)
	}
	hits(t, c)
	if n := log.count(""); n > 8 {
		t.Errorf("%d lines in the log", n)
	}
}

// A server that loads its data answers errors; so does one whose answers end in
// the middle, or are of another kind. All are left out.
func TestBadAnswers(t *testing.T) {
	for name, test := range map[string]struct{ answer, says string }{
		"loading":          {"-LOADING Redis is loading the dataset in memory\r\n", "it is still loading its data"},
		"cut in an answer": {"$100\r\n{\"v\":1", "it cut the connection"},
		"garbage":          {"HTTP/1.1 200 OK\r\n", "what answers there is no Redis"},
		"another kind":     {"*1\r\n:7\r\n", "what answers there is no Redis"},
		"a huge answer":    {"$536870912\r\nx", "it cut the connection"},
		"not permitted":    {"-NOPERM this user has no permissions to run the 'getrange' command\r\n", "the user may not do what the cache needs (cache.redis.username)"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, log := newSite(t).node(t, strange(t, test.answer), patient)
			series(t, c)
			until(t, "the reason in the log", func() bool { return log.count(test.says) > 0 })
			time.Sleep(time.Second) // some probes
			if s := c.Stats(); log.count("left out") != 1 || s.Hits != 0 || !s.Open {
				t.Errorf("%d lines, Stats = %+v", log.count("left out"), s)
			}
		})
	}
}

// strange is a server that takes logins as Redis does, and gives one answer to
// all else.
func strange(t *testing.T, answer string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	const info = "role:master\r\nrun_id:1\r\n"
	serve := func(c net.Conn) {
		defer c.Close()
		lines := bufio.NewScanner(c)
		for lines.Scan() {
			switch strings.ToLower(strings.TrimSpace(lines.Text())) {
			case "hello":
				fmt.Fprint(c, "-ERR unknown command\r\n")
			case "info":
				fmt.Fprintf(c, "$%d\r\n%s\r\n", len(info), info)
			case "set", "getrange":
				fmt.Fprint(c, answer)
				return
			}
		}
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go serve(c)
		}
	}()
	return l.Addr().String()
}

// A request of many exchanges, each of them slow but in time, does not add them
// up: it loses the budget once, and then Redis is left out.
func TestBudgetIsOfTheWholeRequest(t *testing.T) {
	r := real.Start(t, real.Options{})
	p := proxy.TCP(t, r.Address)
	const budget = 2 * time.Second
	c, _ := newSite(t).node(t, p.Address, budget)
	hits(t, c)
	p.Latency(budget / slowPart) // each way
	ctx := c.Request(t.Context())
	before := c.Stats()
	for i := range 100 {
		_, _ = c.Stat(ctx, descriptor(i).Digest)
	}
	s := c.Stats()
	// What is left may end within an exchange, which then fails, or just between two.
	if s.Errors > before.Errors+1 || s.Open != (s.Errors > before.Errors) || s.Skipped < before.Skipped+100-slowPart {
		t.Errorf("Stats = %+v, before %+v", s, before)
	}
}

// A request that has lost its budget goes on without Redis, and says nothing of
// a Redis that is back.
func TestRequestWithoutBudget(t *testing.T) {
	r := real.Start(t, real.Options{})
	c, _ := newSite(t).node(t, r.Address, patient)
	ready(t, c)
	set(t, c, descriptor(1))
	ctx := c.Request(t.Context())
	requestOf(ctx).spend(patient)
	before := c.Stats()
	if _, err := c.Stat(ctx, descriptor(1).Digest); err == nil {
		t.Error("a request without a budget asked Redis")
	}
	if s := c.Stats(); s.Open || s.Errors != before.Errors {
		t.Errorf("Stats = %+v", s)
	}
	word := wordOf(t, c)
	if err := c.Clear(ctx, descriptor(1).Digest); err != nil {
		t.Fatal(err)
	}
	if wordOf(t, c) == word {
		t.Error("a deletion that Redis was not told of has not ended the epoch")
	}
	wantMiss(t, c, descriptor(1))
}

// A server closes what nobody has used for long. That is no fault.
func TestIdleConnectionsThatTheServerCloses(t *testing.T) {
	for _, secured := range []bool{false, true} {
		r := real.Start(t, real.Options{TLS: secured})
		var section configuration.Redis
		section.Options.Addrs = []string{r.Address}
		if secured {
			section.TLS.RootCAs = []string{r.CA}
		}
		c, log := newSite(t).over(t, section, patient)
		ready(t, c)
		set(t, c, descriptor(1))
		for range 5 {
			r.Do(t, "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
			conn, err := c.pool.take(t.Context())
			if err == nil {
				c.pool.give(conn)
				until(t, "the end of the connection", func() bool { return !conn.Alive() })
			}
			until(t, "a hit", func() bool { _, err := c.Stat(t.Context(), descriptor(1).Digest); return err == nil })
		}
		if s := c.Stats(); s.Errors != 0 || s.Opened != 0 || log.count("") != 0 {
			t.Errorf("TLS %v: Stats = %+v", secured, s)
		}
	}
}
