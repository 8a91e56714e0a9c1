//go:build integration

package registry

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/redoubt-registry/redoubt/appliance/access/audit"
	"github.com/redoubt-registry/redoubt/appliance/spool"
)

// rsyslog is Debian's rsyslogd with TLS on a loopback address, which writes what it gets
// into a file.
type rsyslog struct {
	dir, addr string
	process   *exec.Cmd
}

func newRsyslog(t *testing.T, m *machine) *rsyslog {
	t.Helper()
	free := listen(t)
	r := &rsyslog{dir: t.TempDir(), addr: free.Addr().String()}
	free.Close()
	host, port, err := net.SplitHostPort(r.addr)
	check(t, err)
	config := fmt.Sprintf(`global(workDirectory=%q DefaultNetstreamDriverCAFile=%q DefaultNetstreamDriverCertFile=%q DefaultNetstreamDriverKeyFile=%q)
module(load="imtcp" StreamDriver.Name="gtls" StreamDriver.Mode="1" StreamDriver.AuthMode="anon")
input(type="imtcp" address=%q port=%q)
template(name="raw" type="string" string="%%pri%% %%hostname%% %%app-name%% %%msgid%% %%msg%%\n")
action(type="omfile" file=%q template="raw" asyncWriting="off" flushOnTXEnd="on")
`, r.dir, m.path("ca/ca.crt"), m.path("certificates/current/tls.crt"), m.path("certificates/current/tls.key"), host, port, filepath.Join(r.dir, "got"))
	check(t, os.WriteFile(filepath.Join(r.dir, "rsyslog.conf"), []byte(config), 0o600))
	return r
}

func (r *rsyslog) start(t *testing.T) {
	t.Helper()
	r.process = exec.Command("rsyslogd", "-n", "-f", filepath.Join(r.dir, "rsyslog.conf"), "-i", filepath.Join(r.dir, "pid"))
	r.process.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var out lockedBuffer
	r.process.Stdout, r.process.Stderr = &out, &out
	check(t, r.process.Start())
	process := r.process
	t.Cleanup(func() {
		_ = process.Process.Kill()
		_ = process.Wait()
		if t.Failed() {
			t.Logf("rsyslogd said: %s", out.String())
		}
	})
	until(t, "rsyslogd", func() bool {
		c, err := net.Dial("tcp", r.addr)
		if err == nil {
			c.Close()
		}
		return err == nil
	})
}

func (r *rsyslog) kill(t *testing.T) {
	t.Helper()
	check(t, r.process.Process.Kill())
	_ = r.process.Wait()
	_ = os.Remove(filepath.Join(r.dir, "pid"))
}

func (r *rsyslog) got() string {
	data, _ := os.ReadFile(filepath.Join(r.dir, "got"))
	return string(data)
}

// Every push is at the syslog server, though it is killed and comes back while they go on,
// and the registry is killed as well. A server that is away is a problem that people are told.
func TestAuditBySyslog(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	server := newRsyslog(t, m)
	m.authMore = fmt.Sprintf(`, audit: {file: {path: %q, size: 20000, keep: 50}, syslog: {address: %q, spool: %q, limit: 10000000, cas: %q}}`,
		m.path("audit/audit.log"), server.addr, m.path("audit/syslog"), m.path("ca/ca.crt"))
	m.config(t, "error")
	server.start(t)
	m.start(t)
	text := `{"schemaVersion":2,"mediaType":"` + v1.MediaTypeImageIndex + `","manifests":[]}`
	var mu sync.Mutex
	pushed := 0
	push := func(n int) {
		transport := m.transport()
		defer transport.CloseIdleConnections()
		for range n {
			mu.Lock()
			tag := fmt.Sprintf("t%03d", pushed)
			pushed++
			mu.Unlock()
			a, err := send(transport, http.MethodPut, "https://"+m.host()+"/v2/app/manifests/"+tag, strings.NewReader(text),
				"Authorization", "Basic "+basic("alice", password), "Content-Type", v1.MediaTypeImageIndex)
			check(t, err)
			if a.StatusCode != http.StatusCreated {
				t.Errorf("%s: %s", tag, a.Status)
			}
		}
	}
	push(20)
	server.kill(t)
	push(20)
	until(t, "that the server is away", func() bool {
		return strings.Contains(spool.Problem(m.path("deliveries.json")), "audit.syslog: cannot")
	})
	check(t, m.process.Process.Kill()) // what waits is on the disk
	<-m.exited
	m.start(t)
	push(20)
	// What a verb did is taken up as well.
	check(t, os.MkdirAll(m.path("inbox"), 0o755))
	check(t, os.WriteFile(m.path("inbox/x.json"), []byte(`{"time":"2026-05-04T12:00:00Z","id":"x","action":"gc","result":"ok","user":"root","proof":"local"}`+"\n"), 0o644))
	server.start(t)
	push(20)
	until(t, "every push at the server", func() bool {
		got := server.got()
		for i := range pushed {
			if !strings.Contains(got, fmt.Sprintf(`"tag":"t%03d"`, i)) {
				return false
			}
		}
		return strings.Contains(got, `"action":"gc"`)
	})
	until(t, "that the server is back", func() bool { return spool.Problem(m.path("deliveries.json")) == "" })
	line := regexp.MustCompile(`(?m)^110 [^ ]+ redoubt-audit push +\{"time":"[^"]+","id":"[A-Z0-9]{26}","action":"push","result":"ok","user":"alice"`)
	if !line.MatchString(server.got()) {
		t.Errorf("the server got\n%s", tail(server.got(), 1000))
	}
	// The same is in the files.
	var all strings.Builder
	files, err := filepath.Glob(m.path("audit/audit.log*"))
	check(t, err)
	for _, f := range files {
		data, err := os.ReadFile(f)
		check(t, err)
		if len(data) > 25_000 {
			t.Errorf("%s has %d bytes", f, len(data))
		}
		all.Write(data)
	}
	if len(files) < 2 {
		t.Errorf("files: %v", files)
	}
	for i := range pushed {
		if !strings.Contains(all.String(), fmt.Sprintf(`"tag":"t%03d"`, i)) {
			t.Errorf("t%03d is in no file", i)
		}
	}
}

// A spool that is full loses what comes, counts it, says how many once there is room, and
// makes no push wait.
func TestAuditSpoolIsBounded(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	server := newRsyslog(t, m)
	m.authMore = fmt.Sprintf(`, audit: {syslog: {address: %q, spool: %q, limit: 3000, cas: %q}}`, server.addr, m.path("audit/syslog"), m.path("ca/ca.crt"))
	m.config(t, "error")
	m.start(t)
	for range 50 {
		m.get(t, "/v2/")
	}
	until(t, "that events were lost", func() bool {
		return strings.Contains(spool.Problem(m.path("deliveries.json")), "events were lost")
	})
	server.start(t)
	told := 0
	until(t, "how many were lost", func() bool {
		m.get(t, "/v2/")
		time.Sleep(200 * time.Millisecond)
		for line := range strings.Lines(server.got()) {
			at := strings.Index(line, "{")
			var e audit.Event
			if at >= 0 && json.Unmarshal([]byte(line[at:]), &e) == nil && e.Action == audit.Lost {
				told = e.Count
			}
		}
		return told > 0
	})
	if told < 30 {
		t.Errorf("%d events were told as lost", told)
	}
}
