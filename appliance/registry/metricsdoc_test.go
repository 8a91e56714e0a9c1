package registry

import (
	"flag"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/sirupsen/logrus"

	"github.com/redoubt-registry/redoubt/appliance/registry/metrics"
)

var update = flag.Bool("update", false, "write docs/metrics.md again")

const metricsPage = "../../docs/metrics.md"

const metricsHead = `# Metrics

` + "```sh" + `
curl http://127.0.0.1:5001/metrics
` + "```" + `

on the machine, in Prometheus's text format. ` + "`metrics.listen`" + ` sets another loopback address, or with ` + "`metrics.auth`" + ` any address, over TLS: see
[monitoring](monitoring.md). ` + "`/healthz`" + ` on the same address is 200, or 503 with what has failed by name.

Made from the code by ` + "`go test ./appliance/registry -run TestMetricsPage -update`" + `. Beside these there are the metrics of
distribution (` + "`registry_*`" + `), of Go (` + "`go_*`" + `) and of the process (` + "`process_*`" + `). A time is in Unix time, and 0 for never.

| metric | type | labels | meaning |
|---|---|---|---|
`

const metricsFoot = `
` + "`route`" + ` is one of ` + "`base`, `catalog`, `tags`, `manifest`, `blob`, `upload`, `page`, `other`" + `; a client cannot make a new one.

What to alert on, beside what the machine tells by itself ([alerts](operations.md#alerts)): the rules in [monitoring](monitoring.md).
`

// kinds are the types of metrics by their names.
func kinds(s *server) map[string]string {
	kinds := map[string]string{}
	for _, sample := range s.samples() {
		kinds[sample.Name] = map[bool]string{true: "counter", false: "gauge"}[sample.Counter]
	}
	for _, v := range slices.Concat(s.gradeSamples(), s.quotaSamples(), s.deliveries.samples()) {
		kinds[v.Name] = "gauge"
	}
	// Those that count have a value only after the first request and reload.
	m := metrics.New()
	m.Begin(httptest.NewRequest("GET", "/v2/", nil), time.Now())(200)
	m.Reload(nil)
	w := httptest.NewRecorder()
	m.Handler(func(*http.Request) map[string]string { return nil }).ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	for _, match := range regexp.MustCompile(`(?m)^# TYPE (\S+) (\S+)$`).FindAllStringSubmatch(w.Body.String(), -1) {
		kinds[match[1]] = match[2]
	}
	return kinds
}

// description finds in a prometheus.Desc what it shows only as text.
var description = regexp.MustCompile(`^Desc\{fqName: "(.*)", help: "(.*)", constLabels: \{\}, variableLabels: \{(.*)\}\}$`)

// rows are the lines of the page, in the order of the names.
func rows(t *testing.T, s *server) []string {
	t.Helper()
	kinds := kinds(s)
	descriptions := make(chan *prometheus.Desc)
	go func() {
		s.metrics.Describe(descriptions)
		close(descriptions)
	}()
	var rows []string
	for d := range descriptions {
		m := description.FindStringSubmatch(d.String())
		if m == nil {
			t.Fatalf("cannot read %s", d)
		}
		name, help, labels := m[1], m[2], m[3]
		if kinds[name] == "" {
			t.Errorf("%s has no value in this test: count something, so that the page can say what it is", name)
		}
		if labels != "" {
			labels = "`" + strings.ReplaceAll(labels, ",", "`, `") + "`"
		}
		rows = append(rows, fmt.Sprintf("| `%s` | %s | %s | %s |\n", name, kinds[name], labels, help))
	}
	slices.Sort(rows)
	return rows
}

// TestMetricsPage holds docs/metrics.md to the metrics of a server.
func TestMetricsPage(t *testing.T) {
	want := metricsHead + strings.Join(rows(t, newServer(Options{}, logrus.New())), "") + metricsFoot
	if *update {
		check(t, os.WriteFile(metricsPage, []byte(want), 0o644))
	}
	have, err := os.ReadFile(metricsPage)
	check(t, err)
	if string(have) != want {
		t.Error("docs/metrics.md is not what the code says: run go test ./appliance/registry -run TestMetricsPage -update")
	}
}
