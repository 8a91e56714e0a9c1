//go:build integration

package registry

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/sirupsen/logrus"
)

const monitoring = "../../docs/monitoring"

// promtool checks and tests the rules, and each metric that they and the dashboard name exists.
func TestMonitoringFiles(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"check", "rules", "alerts.yml"}, {"test", "rules", "alerts_test.yml"}, {"check", "config", "--syntax-only", "prometheus.yml"}} {
		cmd := exec.Command("promtool", args...)
		cmd.Dir = monitoring
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
	s := newServer(Options{}, logrus.New())
	known := map[string]bool{}
	described := make(chan *prometheus.Desc, 1000)
	s.metrics.Describe(described)
	close(described)
	for d := range described {
		name := regexp.MustCompile(`fqName: "([a-z_]+)"`).FindStringSubmatch(d.String())[1]
		known[name], known[name+"_bucket"] = true, true
	}
	for _, file := range []string{"alerts.yml", "alerts_test.yml", "dashboard.json"} {
		data, err := os.ReadFile(filepath.Join(monitoring, file))
		check(t, err)
		names := regexp.MustCompile(`\bredoubt_[a-z_]+`).FindAllString(string(data), -1)
		if len(names) < 4 {
			t.Errorf("%s names %d metrics", file, len(names))
		}
		for _, name := range names {
			if !known[name] {
				t.Errorf("%s: there is no metric %s", file, name)
			}
		}
		if file == "dashboard.json" && !json.Valid(data) {
			t.Errorf("%s is no JSON", file)
		}
	}
}

// monitored is a machine whose metrics need a token or a certificate.
func monitored(t *testing.T) (m *machine, token string, pair tls.Certificate) {
	t.Helper()
	m = newMachine(t)
	token = rand.Text()
	pair = m.client(t, "prometheus")
	m.authMore = fmt.Sprintf(`, monitor: {token: "sha256:%x", cas: %q}`, sha256.Sum256([]byte(token)), m.path("client-ca/ca.crt"))
	m.config(t, "error")
	m.start(t)
	return m, token, pair
}

func TestMetricsNeedALogin(t *testing.T) {
	t.Parallel()
	m, token, pair := monitored(t)
	with := m.transport()
	with.TLSClientConfig.Certificates = []tls.Certificate{pair}
	for _, tc := range []struct {
		transport *http.Transport
		header    string
		want      int
	}{
		{m.transport(), "", 401},
		{m.transport(), "Bearer " + token + "x", 401},
		{m.transport(), "Basic " + basic("alice", password), 401},
		{m.transport(), "Bearer", 401},
		{m.transport(), "Bearer " + token, 200},
		{with, "", 200},
	} {
		tc.transport.TLSClientConfig.ServerName = "localhost"
		for _, path := range []string{"/metrics", "/healthz"} {
			a, err := send(tc.transport, http.MethodGet, "https://"+m.debug+path, nil, "Authorization", tc.header)
			check(t, err)
			if a.StatusCode != tc.want || (tc.want == 401) != (a.Header.Get("WWW-Authenticate") != "") || strings.Contains(a.body, "redoubt_") && tc.want != 200 {
				t.Errorf("%s with %.10q: %s", path, tc.header, a.Status)
			}
		}
	}
	if w, err := http.Get("http://" + m.debug + "/metrics"); err == nil {
		body, _ := io.ReadAll(w.Body)
		w.Body.Close()
		if w.StatusCode != http.StatusBadRequest || bytes.Contains(body, []byte("redoubt_")) {
			t.Errorf("in the clear: %s", w.Status)
		}
	}
	// Another token counts after a reload, and the old one does not.
	m.authMore = fmt.Sprintf(`, monitor: {token: "sha256:%x"}`, sha256.Sum256([]byte("another")))
	m.config(t, "error")
	m.reload(t)
	for header, want := range map[string]int{"Bearer " + token: 401, "Bearer another": 200} {
		transport := m.transport()
		transport.TLSClientConfig.ServerName = "localhost"
		a, err := send(transport, http.MethodGet, "https://"+m.debug+"/metrics", nil, "Authorization", header)
		check(t, err)
		if a.StatusCode != want {
			t.Errorf("after the reload: %s, want %d", a.Status, want)
		}
	}
}

// A real Prometheus reads the metrics with the configuration of the docs.
func TestPrometheusReadsTheMetrics(t *testing.T) {
	t.Parallel()
	m, token, _ := monitored(t)
	dir := t.TempDir()
	data, err := os.ReadFile(filepath.Join(monitoring, "prometheus.yml"))
	check(t, err)
	config := strings.NewReplacer("registry.example.com:9100", m.debug, "registry.example.com", "localhost", "30s", "1s", "redoubt-ca.crt", m.path("ca/ca.crt")).Replace(string(data))
	rules, err := os.ReadFile(filepath.Join(monitoring, "alerts.yml"))
	check(t, err)
	for name, text := range map[string]string{"prometheus.yml": config, "alerts.yml": string(rules), "redoubt-metrics.token": token + "\n"} {
		check(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	free := listen(t)
	addr := free.Addr().String()
	free.Close()
	cmd := exec.Command("prometheus", "--config.file="+filepath.Join(dir, "prometheus.yml"), "--storage.tsdb.path="+filepath.Join(dir, "data"), "--web.listen-address="+addr, "--log.level=warn")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var out lockedBuffer
	cmd.Stdout, cmd.Stderr = &out, &out
	check(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("prometheus said: %s", out.String())
		}
	})
	ask := func(query string) string {
		w, err := http.Get("http://" + addr + "/api/v1/query?query=" + query)
		if err != nil {
			return ""
		}
		defer w.Body.Close()
		body, _ := io.ReadAll(w.Body)
		return string(body)
	}
	until(t, "the metrics in Prometheus", func() bool {
		return strings.Contains(ask("up"), `,"1"]`) && strings.Contains(ask("redoubt_connections"), m.debug)
	})
}
