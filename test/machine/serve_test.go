//go:build machine

package machine_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/redoubt-registry/redoubt/test/machine"
	"github.com/redoubt-registry/redoubt/units"
)

// drain reads rc to its end and closes it.
func drain(rc io.ReadCloser) error {
	defer rc.Close()
	_, err := io.Copy(io.Discard, rc)
	return err
}

// TestServe boots a machine from user-data and uses it as clients do.
func TestServe(t *testing.T) {
	s := boot(t)
	s.run("the system is well", func(t *testing.T, s *site) {
		if state, _ := s.TryRun("systemctl", "is-system-running"); strings.TrimSpace(state) != "running" {
			t.Errorf("the system is %s; failed: %q", state, failedUnits(t, s.Machine))
		}
	})
	s.run("push and pull", func(t *testing.T, s *site) {
		ref, image := s.push("team/app:v1", 3)
		s.mustPull(ref, image)
	})
	s.run("the access log has a journal of its own", func(t *testing.T, s *site) {
		const line = `"msg":"request"`
		s.Eventually("a request is in the access log", func() bool {
			return strings.Contains(s.Run("journalctl", "--namespace=access", "--no-pager", "--output=cat", "--unit="+units.Registry), line)
		})
		own := s.Run("journalctl", "--no-pager", "--output=cat", "--unit="+units.Registry)
		if !strings.Contains(own, "Started "+units.Registry) || strings.Contains(own, line) || strings.Contains(own, "cannot write the access log") {
			t.Errorf("the machine's own journal:\n%s", own)
		}
	})
	s.run("the audit log has a journal of its own", func(t *testing.T, s *site) {
		lines := func() string {
			return s.Run("journalctl", "--namespace=audit", "--no-pager", "--output=cat", "-t", "redoubt-audit")
		}
		for _, want := range []string{`"action":"configuration.apply","result":"ok","user":"root","proof":"local"`, `"action":"push","result":"ok","user":"alice"`, `"action":"pull","result":"ok","user":"alice"`} {
			s.Eventually("the audit log has "+want, func() bool { return strings.Contains(lines(), want) })
		}
		if own := s.Run("journalctl", "--no-pager", "--output=cat", "--unit="+units.Registry); strings.Contains(own, `"action":`) || strings.Contains(own, "cannot write the audit log") {
			t.Errorf("the machine's own journal:\n%s", own)
		}
		s.Eventually("the registry takes up what apply has left for it", func() bool {
			return s.Run("ls", "/var/lib/redoubt/audit/inbox") == ""
		})
	})
	s.run("who is let in", func(t *testing.T, s *site) {
		for _, tt := range []struct {
			user, password string
			want           int
		}{
			{"alice", alicePassword, http.StatusOK},
			{"bob", bobPassword, http.StatusOK},
			{"alice", bobPassword, http.StatusUnauthorized},
			{"mallory", alicePassword, http.StatusUnauthorized},
			{"", "", http.StatusUnauthorized},
		} {
			req := request("/v2/")
			req.Header.Del("Authorization")
			if tt.user != "" {
				req.SetBasicAuth(tt.user, tt.password)
			}
			if answer, err := machine.Do(s.transport, req); err != nil || answer.Status != tt.want {
				t.Errorf("%s: got %v %d, want %d", tt.user, err, answer.Status, tt.want)
			}
		}
	})
	s.run("port 80 redirects", func(t *testing.T, s *site) {
		answer, err := s.Get(s.transport, "http://"+hostname+"/v2/")
		if err != nil || answer.Status/100 != 3 || answer.Header.Get("Location") != at("/v2/") {
			t.Errorf("got %v %d %q", err, answer.Status, answer.Header.Get("Location"))
		}
	})
	s.run("what listens", onlyMeantSockets)
	s.run("metrics", func(t *testing.T, s *site) {
		if out := metrics(s); !strings.Contains(out, "# TYPE ") {
			t.Errorf("/metrics: %.300s", out)
		}
		if answer, err := s.Get(s.transport, "http://"+hostname+":5001/metrics"); err == nil {
			t.Errorf("metrics are reachable from outside: %d", answer.Status)
		}
	})
	s.run("the units may", onThisKernel)
	s.run("the metadata service is out of reach", metadataOutOfReach)
	s.run("the cache reads no secret", cacheReadsNoSecret)
	s.run("events wait on the disk", eventsWait)
	s.run("status", status)
	s.run("no secret shows", noSecretShows)
}

// eventsWait holds that what an endpoint is told of waits where the registry's unit may
// write, and that what it is reached with shows nowhere.
func eventsWait(t *testing.T, s *site) {
	const secret, path = "a-secret-of-the-hook", "a-path-that-is-secret"
	s.configure("70-hook.yaml", "redoubt: {notifications: [{name: ci, url: \"https://127.0.0.1:9/"+path+"\", secret: "+secret+"}]}\n")
	s.mustApply()
	s.push("team/hook:v1", 3)
	spool := s.Run("sh", "-c", "stat --format='%U %a' /var/lib/redoubt/notifications; cat /var/lib/redoubt/notifications/ci/*.spool")
	if !strings.HasPrefix(spool, "redoubt-registry 750\n") || !strings.Contains(spool, `"repository":"team/hook"`) {
		t.Errorf("the spool: %s", spool)
	}
	if got := s.Run("stat", "--format=%a %U:%G", "/run/redoubt/notifications.json"); got != "640 root:redoubt-registry" {
		t.Errorf("the endpoints: %s", got)
	}
	s.Eventually("a try has failed", func() bool { return !strings.Contains(metrics(s), `redoubt_delivery_failed{to="notifications.ci"} 0`) })
	for place, text := range map[string]string{
		"journal":  s.Run("journalctl", "--namespace=*", "--no-pager", "--all", "--output=export"),
		"procs":    s.Run("sh", "-c", `cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ 2>/dev/null | tr '\0' '\n'`),
		"anybody":  s.Run("sh", "-c", `find /run /var/lib/redoubt /var/log /etc -xdev -type f -perm -004 -exec cat {} +`),
		"spool":    spool,
		"metrics":  metrics(s),
		"show":     s.Run("redoubt", "show", "--origin"),
		"history":  s.Run("redoubt", "history"),
		"problems": s.Run("cat", "/run/redoubt-registry/deliveries.json"),
	} {
		if strings.Contains(text, secret) || strings.Contains(text, path) {
			t.Errorf("%s shows what the endpoint is reached with", place)
		}
	}
	s.Run("rm", "/etc/redoubt/config.d/70-hook.yaml")
	s.mustApply()
	if out, err := s.TryRun("cat", "/run/redoubt/notifications.json"); err == nil {
		t.Errorf("the endpoints are still there: %d bytes", len(out))
	}
}

// metrics asks for them where they are: on the machine's loopback interface.
func metrics(s *site) string {
	return s.Run("bash", "-c", `exec 3<>/dev/tcp/127.0.0.1/5001; printf 'GET /metrics HTTP/1.0\r\nHost: localhost\r\n\r\n' >&3; cat <&3`)
}

// onlyMeantSockets holds that nothing listens to the network but what is meant to.
func onlyMeantSockets(t *testing.T, s *site) {
	want := []string{"*:22", "*:443", "*:80"}
	var got []string
	for line := range strings.Lines(s.Run("ss", "-Hltn")) {
		local := strings.Fields(line)[3]
		if strings.HasPrefix(local, "127.") || strings.HasPrefix(local, "[::1]") {
			continue
		}
		port := local[strings.LastIndexByte(local, ':'):]
		got = append(got, "*"+port)
	}
	slices.Sort(got)
	if got = slices.Compact(got); !slices.Equal(got, want) {
		t.Errorf("these listen: %q, want %q\n%s", got, want, s.Run("ss", "-ltnp"))
	}
	for line := range strings.Lines(s.Run("ss", "-Hlun")) {
		local := strings.Fields(line)[3]
		if !strings.HasPrefix(local, "127.") && !strings.HasPrefix(local, "[::1]") && !strings.Contains(local, "%") {
			t.Errorf("UDP: %s", line)
		}
	}
}

// onThisKernel holds that systemd left nothing of a sandbox out, and that Redis
// and the registry complain of nothing.
func onThisKernel(t *testing.T, s *site) {
	for _, unit := range unitNames(t, ".service") {
		for line := range strings.Lines(s.Run("journalctl", "--no-pager", "--output=cat", "--unit="+unit)) {
			for _, complaint := range []string{"not support", "Unknown key", "Failed to", "ignoring", "permission denied", "Operation not permitted"} {
				if strings.Contains(line, complaint) {
					t.Errorf("%s: %s", unit, line)
				}
			}
		}
	}
}

// metadataOutOfReach puts an address of a cloud's metadata service on the machine:
// root may ask there, the registry may not, for user-data can hold secrets.
func metadataOutOfReach(t *testing.T, s *site) {
	s.Run("ip", "address", "add", "169.254.169.254/32", "dev", "test0")
	const connect = `timeout 2 bash -c 'exec 3<>/dev/tcp/169.254.169.254/80'`
	s.Run("sh", "-c", connect)
	group := "/sys/fs/cgroup" + s.Property(units.Registry, "ControlGroup")
	if out, err := s.TryRun("sh", "-c", "echo $$ >"+group+"/cgroup.procs && ! "+connect); err != nil {
		t.Errorf("a process of %s reaches the metadata service: %v %s", units.Registry, err, out)
	}
	if out, err := s.TryRun("sh", "-c", "echo $$ >"+group+"/cgroup.procs && "+strings.ReplaceAll(connect, "169.254.169.254", machine.Address)); err != nil {
		t.Errorf("a process of %s reaches nothing at all: %v %s", units.Registry, err, out)
	}
}

// status checks what redoubt status says of a machine that is well.
func status(t *testing.T, s *site) {
	out := s.Run("redoubt", "status")
	for _, want := range []string{units.Registry, units.Redis, hostname} {
		if !strings.Contains(out, want) {
			t.Errorf("redoubt status does not name %s:\n%s", want, out)
		}
	}
	var doc map[string]any
	if text := s.Run("redoubt", "status", "--json"); json.Unmarshal([]byte(text), &doc) != nil || len(doc) == 0 {
		t.Errorf("redoubt status --json is no JSON object:\n%s", text)
	}
}

// support is all that is in the file for whoever is to help.
func support(t *testing.T, s *site) string {
	s.Run("redoubt", "support", "--out", "/run/support.tar.gz")
	text := s.Run("sh", "-c", "tar -xzOf /run/support.tar.gz; rm /run/support.tar.gz")
	for _, part := range []string{`"verdict": "ok"`, `"check": "names"`, "hostname: " + hostname, `"current": true`, "nothing to do", "redoubt_cache_hits_total", units.RenewTimer} {
		if !strings.Contains(text, part) {
			t.Errorf("the file of redoubt support lacks %s", part)
		}
	}
	return text
}

// noSecretShows looks for what the machine was told in secret where others look:
// the journal, the console, arguments, environments, and files that anybody reads.
func noSecretShows(t *testing.T, s *site) {
	places := map[string]string{
		"journal": s.Run("journalctl", "--namespace=*", "--no-pager", "--all", "--output=export"),
		"console": s.Console(),
		"procs":   s.Run("sh", "-c", `cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ 2>/dev/null | tr '\0' '\n'`),
		"readable by anybody": s.Run("sh", "-c",
			`find /run /var/lib/redoubt /var/log /etc /tmp /var/tmp /var/lib/cloud -xdev -type f -perm -004 -exec cat {} +`),
		"unit settings": s.Run("systemctl", "show", "--all", "redoubt-*"),
		"status":        s.Run("redoubt", "status", "--json"),
		"metrics":       metrics(s),
		"show":          s.Run("redoubt", "show", "--origin"),
		"history":       s.Run("redoubt", "history"),
		"support":       support(t, s),
	}
	secrets := map[string]string{
		"alice's password": alicePassword, "alice's hash": s.aliceHash, "bob's password": bobPassword, "httpSecret": httpSecret,
	}
	for place, text := range places {
		if text == "" {
			t.Errorf("nothing to look at in: %s", place)
		}
		for what, secret := range secrets {
			if i := strings.Index(text, secret); i >= 0 {
				t.Errorf("%s: %s shows: %.200q", place, what, text[max(0, i-100):])
			}
		}
	}
	for path, mode := range map[string]os.FileMode{
		"/run/redoubt/registry.yml":                0o640,
		"/run/redoubt/htpasswd":                    0o640,
		"/run/redoubt/redis.conf":                  0o644,
		"/var/lib/redoubt/config/last-good.sealed": 0o600,
		"/var/lib/redoubt/secrets":                 0o700,
		"/var/lib/redoubt/ca/ca.key":               0o600,
		"/var/lib/redoubt/registry":                0o750,
	} {
		if got := s.Run("stat", "--format=%a", path); got != fmt.Sprintf("%o", mode) {
			t.Errorf("%s has mode %s, want %o", path, got, mode)
		}
	}
}
