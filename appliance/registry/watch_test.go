package registry

import (
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/sirupsen/logrus"
)

// The machine goes into maintenance and out of it without a restart.
func TestMaintenance(t *testing.T) {
	m := newMachine(t)
	m.config(t, "info")
	m.start(t)
	image, err := random.Image(1000, 1)
	check(t, err)
	check(t, m.push(image, "app:1"))
	m.write(t, "maintenance.json", `{"hostname":"localhost","errors":[{"file":"user-data","line":3,"column":5,"path":"tls.mode","message":"must be one of acme, internal-ca, files, off"}]}`)
	const reason = "localhost is in maintenance: user-data:3:5: tls.mode: must be one of acme, internal-ca, files, off"
	if status := m.reload(t); !strings.Contains(status, "STATUS="+reason) {
		t.Errorf("systemd is told %q", status)
	}
	if _, err := m.pull("app:1"); err == nil || !strings.Contains(err.Error(), reason) {
		t.Errorf("crane is told %v", err)
	}
	a := m.get(t, "/v2/app/manifests/1")
	if a.StatusCode != 503 || a.Header.Get("Retry-After") == "" || a.Header.Get("Docker-Distribution-Api-Version") != "registry/2.0" || !strings.Contains(a.body, `"UNAVAILABLE"`) {
		t.Errorf("%s %v %s", a.Status, a.Header, a.body)
	}
	if a := m.get(t, "/", "Accept", "text/html"); a.StatusCode != 503 || !strings.Contains(a.body, "line 3, column 5") || !strings.Contains(a.body, "redoubt apply") {
		t.Errorf("the page: %s %s", a.Status, a.body)
	}
	if a, err := send(http.DefaultTransport, "GET", "http://"+m.http.Addr().String()+"/", nil); err != nil || a.StatusCode != 503 {
		t.Errorf("the other socket: %v %v", a.Response, err)
	}
	// docker speaks HTTP/1.1 and prints the status line alone.
	transport := m.transport()
	transport.ForceAttemptHTTP2 = false
	if a, err := send(transport, "GET", "https://"+m.host()+"/v2/app/manifests/1", nil); err != nil || a.Status != "503 Service Unavailable: "+reason || !strings.Contains(a.body, reason) {
		t.Errorf("docker is told %v %v", a.Response, err)
	}
	if m.metric(t, "redoubt_maintenance") != 1 {
		t.Error("no metric for maintenance")
	}
	check(t, os.Remove(m.path("maintenance.json")))
	m.reload(t)
	if _, err := m.pull("app:1"); err != nil {
		t.Error(err)
	}
}

// A machine whose first configuration is bad has no registry.yml, and may have
// no certificate: it comes up all the same and says why.
func TestMaintenanceWithoutAnything(t *testing.T) {
	m := newMachine(t)
	check(t, os.RemoveAll(m.path("certificates")))
	m.write(t, "maintenance.json", `{"errors":[{"file":"user-data","message":"there is no redoubt: key"}]}`)
	s := newServer(Options{
		Config: m.path("registry.yml"), Maintenance: m.path("maintenance.json"), Certificates: m.path("certificates/current"),
	}, logrus.New())
	check(t, s.start())
	defer s.close()
	if !s.servesTLS() {
		t.Fatal("no TLS")
	}
	if g := s.current; g.config.HTTP.Addr != ":443" || g.pairFiles[0] != "" {
		t.Errorf("addr %s, pair %q", g.config.HTTP.Addr, g.pairFiles)
	}
	m.certificate(t, time.Hour)
	check(t, s.swap())
	if g := s.current; g.pairFiles[0] == "" {
		t.Error("the certificate that came later is not used")
	}
	m.config(t, "info")
	check(t, os.Remove(m.path("maintenance.json")))
	check(t, s.swap())
	if g := s.current; g.maintenance != nil || g.app == nil {
		t.Error("still in maintenance")
	}
}

// A start without a usable certificate serves, on one that no client trusts.
func TestStartWithoutACertificate(t *testing.T) {
	m := newMachine(t)
	m.config(t, "info")
	check(t, os.WriteFile(m.path("certificates/current/tls.crt"), []byte("broken"), 0o600))
	m.spawn(t)
	if ready := m.await(t, "READY=1"); !strings.Contains(ready, "without a trusted certificate") {
		t.Errorf("systemd is told %q", ready)
	}
	if _, err := m.do("GET", "https://"+m.host()+"/v2/", nil); err == nil {
		t.Error("a client trusts it")
	}
	m.certificate(t, 500*time.Hour)
	m.reload(t)
	if a := m.get(t, "/v2/"); a.StatusCode != 200 {
		t.Error(a.Status)
	}
}

func TestRedirect(t *testing.T) {
	m := newMachine(t)
	m.config(t, "info")
	m.start(t)
	base := "http://" + m.http.Addr().String()
	a, err := send(http.DefaultTransport, "GET", base+"/v2/a%2Fb?x=1", nil, "Host", "evil.example")
	check(t, err)
	if want := "https://" + m.host() + "/v2/a%2Fb?x=1"; a.StatusCode != 308 || a.Header.Get("Location") != want {
		t.Errorf("%s to %s, want %s", a.Status, a.Header.Get("Location"), want)
	}
	if a.Header.Get("Strict-Transport-Security") != "" {
		t.Error("HSTS over http")
	}
	a, err = send(http.DefaultTransport, "PUT", base+"/v2/", strings.NewReader("x"))
	check(t, err)
	if a.StatusCode != 403 || !strings.Contains(a.body, "https only") {
		t.Errorf("PUT: %s %s", a.Status, a.body)
	}
}

// The pages beside the registry say nothing of the inside.
func TestPagesAndDebugAddress(t *testing.T) {
	m := newMachine(t)
	m.config(t, "info")
	m.start(t)
	a := m.get(t, "/")
	if a.StatusCode != 200 || !strings.Contains(a.body, "docker login "+m.host()) {
		t.Errorf("%s %s", a.Status, a.body)
	}
	for _, path := range []string{"/debug/vars", "/debug/pprof/", "/debug/health", "/metrics", "/healthz", "/favicon.ico", "/v1/_ping", "/v2x"} {
		if a := m.get(t, path); a.StatusCode != 404 || !strings.HasPrefix(a.Header.Get("Content-Type"), "application/json") {
			t.Errorf("%s: %s %s", path, a.Status, a.body)
		}
	}
	for path, want := range map[string]int{"/metrics": 200, "/healthz": 200, "/debug/vars": 404, "/debug/pprof/": 404, "/debug/health": 404} {
		if a, err := send(http.DefaultTransport, "GET", "http://"+m.debug+path, nil); err != nil || a.StatusCode != want {
			t.Errorf("debug %s: %v %v", path, a.Response, err)
		}
	}
}

// Nobody who sends the headers of a proxy decides where a client goes next.
func TestForwardedHeadersAreNotTrusted(t *testing.T) {
	m := newMachine(t)
	m.config(t, "info")
	m.start(t)
	a, err := m.do("POST", "https://"+m.host()+"/v2/app/blobs/uploads/", nil,
		"X-Forwarded-Host", "evil.example", "X-Forwarded-Proto", "http", "Forwarded", "host=evil.example;proto=http", "X-Forwarded-Port", "1")
	check(t, err)
	if got := a.Header.Get("Location"); !strings.HasPrefix(got, "https://"+m.host()+"/") {
		t.Errorf("Location %s", got)
	}
}

// A store whose directory is gone is a 503, not an empty registry, and heals.
func TestStoreVanishes(t *testing.T) {
	m := newMachine(t)
	m.config(t, "info")
	m.start(t)
	check(t, os.Rename(m.path("store"), m.path("away")))
	if a := m.get(t, "/v2/app/manifests/1"); a.StatusCode != 503 || !strings.Contains(a.body, "UNAVAILABLE") {
		t.Errorf("%s %s", a.Status, a.body)
	}
	if a, err := send(http.DefaultTransport, "GET", "http://"+m.debug+"/healthz", nil); err != nil || a.StatusCode != 503 || !strings.Contains(a.body, "storage") {
		t.Errorf("healthz: %v %v", a, err)
	}
	image, err := random.Image(1000, 1)
	check(t, err)
	if m.push(image, "app:1") == nil {
		t.Error("a push into nothing succeeded")
	}
	check(t, os.Rename(m.path("away"), m.path("store")))
	check(t, m.push(image, "app:1"))
}

func TestUsersVanish(t *testing.T) {
	m := newMachine(t)
	m.config(t, "info")
	m.start(t)
	check(t, os.Remove(m.path("htpasswd")))
	if a := m.get(t, "/v2/"); a.StatusCode != 503 {
		t.Errorf("%s %s", a.Status, a.body)
	}
	if m.metric(t, "redoubt_users_stale") != 1 {
		t.Error("no metric")
	}
	m.users(t, "bob")
	if a := m.get(t, "/v2/"); a.StatusCode != 401 {
		t.Errorf("alice, who is gone: %s", a.Status)
	}
}

// A request that panics is answered, logged, and takes nothing with it.
func TestPanic(t *testing.T) {
	m := newMachine(t)
	m.config(t, "error")
	var log lockedBuffer
	logger := logrus.New()
	logger.SetOutput(&log)
	s := newServer(Options{Config: m.path("registry.yml"), Listeners: []net.Listener{m.tls, m.http}}, logger)
	check(t, s.start())
	defer s.close()
	s.current.handler = http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("no") })
	sockets, err := s.listen()
	check(t, err)
	s.run(sockets)
	defer s.front.Close()
	defer s.redirect.Close()
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			a, err := m.do("GET", "https://"+m.host()+"/", nil)
			if err != nil || a.StatusCode != 503 {
				t.Errorf("a client is told %v, %v", a.Response, err)
			}
		})
	}
	wg.Wait()
	half := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("half")); panic("no") })
	s.put(&generation{config: s.current.config, tls: s.current.tls, pair: s.current.pair, handler: half, cancel: func() {}})
	if a, err := m.do("GET", "https://"+m.host()+"/", nil); err == nil {
		t.Errorf("half an answer is taken for a whole one: %s", a.body)
	}
	if n := strings.Count(log.String(), "a request failed"); n != 4 {
		t.Errorf("%d panics in the log: %s", n, log.String())
	}
}

func TestCleartextOnlyOnLoopback(t *testing.T) {
	m := newMachine(t)
	m.config(t, "info")
	text, err := os.ReadFile(m.path("registry.yml"))
	check(t, err)
	lines := strings.Split(string(text), "\n")
	for i, l := range lines {
		if strings.HasPrefix(l, "  tls:") {
			lines[i] = "  http2: {disabled: true}"
		}
	}
	m.write(t, "registry.yml", strings.Join(lines, "\n"))
	for addr, want := range map[string]bool{"127.0.0.1": true, "0.0.0.0": false} {
		l, err := net.Listen("tcp", net.JoinHostPort(addr, "0"))
		check(t, err)
		defer l.Close()
		m.write(t, "registry.yml", strings.Replace(strings.Join(lines, "\n"), m.host(), l.Addr().String(), 1))
		s := newServer(Options{Config: m.path("registry.yml"), Listeners: []net.Listener{l}}, logrus.New())
		check(t, s.start())
		_, err = s.listen()
		if (err == nil) != want {
			t.Errorf("without TLS on %s: %v", addr, err)
		}
		s.close()
	}
}
