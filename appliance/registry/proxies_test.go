//go:build integration

package registry

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// runProxy starts a proxy that stays in the foreground, and waits until it listens at addr.
func runProxy(t *testing.T, addr string, args ...string) {
	t.Helper()
	cmd := exec.Command(args[0], args[1:]...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	var out lockedBuffer
	cmd.Stdout, cmd.Stderr = &out, &out
	check(t, cmd.Start())
	t.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // its workers as well
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("%s said:\n%s", args[0], out.String())
		}
	})
	until(t, args[0], func() bool {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			c.Close()
		}
		return err == nil
	})
}

// work pushes and pulls an image at addr, as a client at the address source does.
func (m *machine) workAt(t *testing.T, addr, source string) {
	t.Helper()
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(source)}, Timeout: 10 * time.Second}
	transport := m.transport()
	transport.DialContext = func(ctx context.Context, network, to string) (net.Conn, error) {
		if strings.HasPrefix(to, "localhost:") { // the name that the certificate has
			to = addr
		}
		return dialer.DialContext(ctx, network, to)
	}
	_, port, err := net.SplitHostPort(addr)
	check(t, err)
	ref, err := name.ParseReference("localhost:" + port + "/app:1")
	check(t, err)
	options := []remote.Option{remote.WithTransport(transport), remote.WithAuth(&authn.Basic{Username: "alice", Password: password})}
	image, err := random.Image(3<<20, 2)
	check(t, err)
	check(t, remote.Write(ref, image, options...))
	got, err := remote.Image(ref, options...)
	check(t, err)
	layers, err := got.Layers()
	check(t, err)
	for _, l := range layers {
		body, err := l.Compressed()
		check(t, err)
		body.Close()
	}
	a, err := send(transport, "POST", "https://localhost:"+port+"/v2/app/blobs/uploads/", nil)
	check(t, err)
	at, err := a.Location()
	check(t, err)
	if a.StatusCode != http.StatusAccepted || at.Scheme != "https" || at.Host != "localhost:"+port {
		t.Errorf("%s: Location %s", a.Status, a.Header.Get("Location"))
	}
	if got := m.remotes("/v2/app/blobs/uploads/"); len(got) == 0 || got[len(got)-1] != source {
		t.Errorf("the log has %v, want %s", got, source)
	}
}

// plain takes TLS out of registry.yml: a proxy at addr ends it, where clients call the
// machine by the name that the certificate has.
func (m *machine) plain(t *testing.T, addr string) {
	t.Helper()
	_, port, err := net.SplitHostPort(addr)
	check(t, err)
	data, err := os.ReadFile(m.path("registry.yml"))
	check(t, err)
	var out strings.Builder
	for line := range strings.Lines(string(data)) {
		if strings.HasPrefix(line, "  tls:") {
			line = "  relativeurls: true\n"
		}
		line = strings.Replace(line, "host: https://"+m.host(), "host: https://localhost:"+port, 1)
		out.WriteString(line)
	}
	m.write(t, "registry.yml", out.String())
}

const nginxConf = `daemon off; master_process off; pid %[1]s/nginx.pid; error_log stderr;
events {}
http {
  access_log off; client_body_temp_path %[1]s/body; proxy_temp_path %[1]s/proxy;
  fastcgi_temp_path %[1]s/f; uwsgi_temp_path %[1]s/u; scgi_temp_path %[1]s/s;
  server {
    listen %[2]s ssl;
    ssl_certificate %[1]s/certificates/current/tls.crt; ssl_certificate_key %[1]s/certificates/current/tls.key;
    client_max_body_size 0; proxy_request_buffering off; proxy_buffering off; proxy_http_version 1.1;
    location / {
      proxy_pass %[3]s://%[4]s; proxy_bind 127.0.0.2; proxy_ssl_verify off;
      %[5]s
    }
  }
}
`

// The lines of docs/proxy.md.
const nginxHeaders = `proxy_set_header Host $http_host;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
      proxy_set_header X-Forwarded-Proto $scheme;
      proxy_set_header X-Forwarded-Host $http_host;`

// TestProxyPage holds that the page shows what these tests run.
func TestProxyPage(t *testing.T) {
	page, err := os.ReadFile("../../docs/proxy.md")
	check(t, err)
	for _, want := range append(strings.Split(nginxHeaders, "\n"), "send-proxy-v2 check check-send-proxy", "client_max_body_size 0;", "proxy_request_buffering off;", "proxy_buffering off;", "proxy_http_version 1.1;") {
		if !strings.Contains(string(page), strings.TrimSpace(want)) {
			t.Errorf("docs/proxy.md does not say %s", strings.TrimSpace(want))
		}
	}
}

// Debian's nginx ends TLS, and passes plain HTTP or TLS on.
func TestNginx(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, scheme, headers string
		plain                 bool
	}{
		{"plain", "http", nginxHeaders, true},
		{"plain, which says only who asks", "http", "proxy_set_header X-Forwarded-For $remote_addr;", true},
		{"TLS", "https", nginxHeaders, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			m := newMachine(t)
			m.authMore = `, proxies: ["127.0.0.2/32"]`
			m.config(t, "info")
			addr := freeAddr(t)
			if c.plain {
				m.plain(t, addr)
			}
			m.start(t)
			m.write(t, "nginx.conf", fmt.Sprintf(nginxConf, m.dir, addr, c.scheme, m.host(), c.headers))
			runProxy(t, addr, "nginx", "-c", m.path("nginx.conf"), "-e", "stderr")
			m.workAt(t, addr, "127.0.0.9")
		})
	}
}

const haproxyConf = `defaults
  timeout connect 5s
  timeout client 1m
  timeout server 1m
frontend in
  mode %[2]s
  bind %[1]s %[3]s
  default_backend registry
backend registry
  mode %[2]s
  source 127.0.0.2
  %[5]s
  server one %[4]s %[6]s inter 200ms
`

// Debian's haproxy passes TLS on with the PROXY protocol, or ends it.
func TestHAProxy(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, mode, bind, backend, server string
		plain                             bool
	}{
		{"version 2", "tcp", "", "", "send-proxy-v2 check check-send-proxy", false},
		{"version 1", "tcp", "", "", "send-proxy check", false},
		{"it ends TLS", "http", "ssl crt %s/both.pem", "option forwardfor\n  http-request set-header X-Forwarded-Proto https", "check", true},
		{"it ends TLS, with version 2", "http", "ssl crt %s/both.pem", "", "send-proxy-v2 check", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			m := newMachine(t)
			m.authMore = `, proxies: ["127.0.0.2/32"]`
			m.config(t, "info")
			addr := freeAddr(t)
			if c.plain {
				m.plain(t, addr)
			}
			m.start(t)
			var both []byte
			for _, f := range []string{"tls.crt", "tls.key"} {
				data, err := os.ReadFile(m.path("certificates/current/" + f))
				check(t, err)
				both = append(both, data...)
			}
			m.write(t, "both.pem", string(both))
			m.write(t, "haproxy.cfg", fmt.Sprintf(haproxyConf, addr, c.mode, strings.ReplaceAll(c.bind, "%s", m.dir), m.host(), c.backend, c.server))
			runProxy(t, addr, "haproxy", "-db", "-f", m.path("haproxy.cfg"))
			m.workAt(t, addr, "127.0.0.9")
		})
	}
}
