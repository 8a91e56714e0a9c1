//go:build integration

package redis

import (
	"crypto/rand"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/distribution/distribution/v3/configuration"

	"github.com/redoubt-registry/redoubt/appliance/certificates/cert"
	"github.com/redoubt-registry/redoubt/appliance/paths"
	"github.com/redoubt-registry/redoubt/test/redis"
)

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// section is that of a registry.yml.
func section(address string, rootCAs ...string) configuration.Redis {
	var c configuration.Redis
	c.Options.Addrs, c.TLS.RootCAs = []string{address}, rootCAs
	return c
}

// credential writes a login, and returns its directory.
func credential(t *testing.T, text string) string {
	t.Helper()
	dir := t.TempDir()
	check(t, os.WriteFile(filepath.Join(dir, paths.RedisCredential), []byte(text), 0o600))
	return dir
}

func open(t *testing.T, c configuration.Redis, credentials ...string) error {
	t.Helper()
	s, err := New(c, credentials...)
	check(t, err)
	conn, err := s.Open(t.Context())
	if err == nil {
		check(t, conn.Close())
	}
	return err
}

// wants says that opening fails with text, naming the server and no secret.
func wants(t *testing.T, err error, text string) {
	t.Helper()
	switch {
	case err == nil:
		t.Errorf("no error, want %q", text)
	case !strings.HasPrefix(err.Error(), "cannot use the Redis at "), !strings.Contains(err.Error(), text):
		t.Errorf("%q, want %q", err, text)
	case strings.Contains(err.Error(), "secret"):
		t.Errorf("%q has a password in it", err)
	}
}

func anotherCA(t *testing.T) string {
	t.Helper()
	ca, err := cert.NewCA([]string{"localhost"}, time.Now(), rand.Reader)
	check(t, err)
	path := filepath.Join(t.TempDir(), "ca.crt")
	check(t, os.WriteFile(path, ca.PEM(), 0o600))
	return path
}

func TestTLSAndLogin(t *testing.T) {
	r := redis.Start(t, redis.Options{TLS: true, Args: []string{
		"--user", "default", "off",
		"--user", "registry", "on", ">a-secret", "~redoubt:*", "resetchannels", "+@read", "+@write", "+@connection", "+@transaction", "+info",
		"--user", "poor", "on", ">a-secret", "~redoubt:*", "+get",
	}})
	good := credential(t, `{"username":"registry","password":"a-secret"}`)
	s, err := New(section(r.Address, r.CA), "", t.TempDir(), good)
	check(t, err)
	conn, err := s.Open(t.Context())
	check(t, err)
	defer conn.Close()
	if conn.Run() == "" || !conn.Alive() || !s.Shared() {
		t.Errorf("run %q, alive %v", conn.Run(), conn.Alive())
	}
	check(t, conn.Set(t.Context(), "redoubt:x", "y", time.Minute).Err())
	if !conn.Alive() {
		t.Error("a connection that was used is not alive")
	}
	r.Stop()
	for deadline := time.Now().Add(30 * time.Second); conn.Alive(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("a connection to a dead server is alive")
		}
	}
	wants(t, open(t, section(r.Address, r.CA), good), "nobody listens there (cache.redis.address)")
	r.Run(t)
	check(t, open(t, section(r.Address, r.CA), good))

	wants(t, open(t, section(r.Address, r.CA), credential(t, `{"username":"registry","password":"secret2"}`)), "it refuses the login (cache.redis.username and cache.redis.password)")
	wants(t, open(t, section(r.Address, r.CA), credential(t, `{"password":"secret2"}`)), "it refuses the login")
	wants(t, open(t, section(r.Address, r.CA)), "it wants a password (cache.redis.password)")
	wants(t, open(t, section(r.Address, r.CA), credential(t, `{"username":"poor","password":"a-secret"}`)), "the user may not do what the cache needs (cache.redis.username)")
	wants(t, open(t, section(r.Address, r.CA), credential(t, `{"username": a-secret}`)), "is not JSON with username and password")
	wants(t, open(t, section(r.Address), good), "if it wants TLS, set cache.redis.tls")
	wants(t, open(t, section(r.Address, anotherCA(t)), good), "not from a CA that is trusted here (cache.redis.caBundle)")
	wants(t, open(t, section(r.Address, "/nonexistent"), good), "cache.redis.caBundle): open /nonexistent")
	empty := filepath.Join(t.TempDir(), "empty")
	check(t, os.WriteFile(empty, []byte("x"), 0o600))
	wants(t, open(t, section(r.Address, empty), good), "holds no certificate")

	// Another name for the same server.
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			there, err := net.Dial("tcp", r.Address)
			if err != nil {
				c.Close()
				continue
			}
			go func() { _, _ = there.(*net.TCPConn).ReadFrom(c); there.Close() }()
			go func() { _, _ = c.(*net.TCPConn).ReadFrom(there); c.Close() }()
		}
	}()
	wants(t, open(t, section(l.Addr().String(), r.CA), good), "its certificate is for another name (cache.redis.address)")

	// The system's roots, as they are asked for.
	wants(t, open(t, section(r.Address, "/etc/ssl/certs/ca-certificates.crt"), good), "cache.redis.caBundle")
}

func TestClientCertificateIsAskedFor(t *testing.T) {
	r := redis.Start(t, redis.Options{TLS: true, Args: []string{"--tls-auth-clients", "yes", "--tls-ca-cert-dir", "/etc/ssl/certs"}})
	wants(t, open(t, section(r.Address, r.CA)), "it asks for a client certificate")
}

func TestServersThatAreOfNoUse(t *testing.T) {
	plain := redis.Start(t, redis.Options{Args: []string{"--requirepass", "a-secret"}})
	good := credential(t, `{"password":"a-secret"}`)
	check(t, open(t, section(plain.Address), good))
	wants(t, open(t, section(plain.Address), credential(t, `{"password":"secret2"}`)), "it refuses the login")
	wants(t, open(t, section(plain.Address, anotherCA(t)), good), "is this its port for TLS (cache.redis.address, cache.redis.tls)?")
	wants(t, open(t, section("redis.invalid:6379")), "its name cannot be resolved (cache.redis.address)")

	open0 := redis.Start(t, redis.Options{})
	check(t, open(t, section(open0.Address)))
	host, port, _ := net.SplitHostPort(open0.Address)
	replica := redis.Start(t, redis.Options{Args: []string{"--replicaof", host, port}})
	wants(t, open(t, section(replica.Address)), "it is a replica, which takes no writes")
	cluster := redis.Start(t, redis.Options{Args: []string{"--cluster-enabled", "yes"}})
	wants(t, open(t, section(cluster.Address)), "it is a node of a cluster")
}

// A Redis that loads a snapshot answers, but not what it is asked.
func TestLoading(t *testing.T) {
	r := redis.Start(t, redis.Options{Args: []string{"--enable-debug-command", "yes"}})
	r.Do(t, "DEBUG", "POPULATE", "10000", "k", "500")
	r.Do(t, "SAVE")
	r.Stop()
	slow := redis.Start(t, redis.Options{Args: []string{"--dir", r.Dir(), "--key-load-delay", "20000", "--loading-process-events-interval-bytes", "1024"}})
	wants(t, open(t, section(slow.Address)), "it is still loading its data")
}

// What answers is something else.
func TestWrongServers(t *testing.T) {
	for answer, want := range map[string]string{
		"HTTP/1.1 400 Bad Request\r\n\r\n": "what answers there is no Redis (cache.redis.address)",
		"\x15\x03\x01\x00\x02\x02\x46\n":   "it wants TLS (cache.redis.tls)",
		"$-5\r\n":                          "what answers there is no Redis",
		"":                                 "it cut the connection",
	} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		check(t, err)
		t.Cleanup(func() { l.Close() })
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				_, _ = c.Read(make([]byte, 100))
				_, _ = c.Write([]byte(answer))
				c.Close()
			}
		}()
		wants(t, open(t, section(l.Addr().String())), want)
	}
}

func TestSections(t *testing.T) {
	for name, change := range map[string]func(*configuration.Redis){
		"redis.addrs is empty":    func(c *configuration.Redis) { c.Options.Addrs = nil },
		"must name one server":    func(c *configuration.Redis) { c.Options.Addrs = []string{"a:1", "b:1"} },
		"clusters and sentinels":  func(c *configuration.Redis) { c.Options.MasterName = "m" },
		"redis.tls.certificate":   func(c *configuration.Redis) { c.TLS.Key = "k" },
		"redis.tls.key belong to": func(c *configuration.Redis) { c.TLS.Certificate = "c" },
	} {
		c := section("127.0.0.1:6379")
		change(&c)
		if _, err := New(c); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%v, want %q", err, name)
		}
	}
}

// The machine's own has no keys to fix, and no login.
func TestLocal(t *testing.T) {
	s, err := New(section(filepath.Join(t.TempDir(), "redis.sock")), credential(t, `{"password":"a-secret"}`))
	check(t, err)
	_, err = s.Open(t.Context())
	if want := "cannot use the machine's own Redis (redoubt-redis.service): nobody listens there"; err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
	if l, err := s.login(); s.Shared() || err != nil || l.Password != "" {
		t.Errorf("shared %v, login of %q, %v", s.Shared(), l.Username, err)
	}
}
