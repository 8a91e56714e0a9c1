package registry

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/random"
	"go.yaml.in/yaml/v2"

	"github.com/redoubt-registry/redoubt/appliance/configuration/config"
)

// overlay lays what a document says below registry: and environment: on registry.yml,
// as render does.
func (m *machine) overlay(t *testing.T, document string) {
	t.Helper()
	cfg, _, report := config.Parse([]config.Layer{{Name: "user-data", Data: []byte("redoubt:\n  hostname: registry.example.com\n" + document)}})
	check(t, report.Err())
	data, err := os.ReadFile(m.path("registry.yml"))
	check(t, err)
	var have map[any]any
	check(t, yaml.Unmarshal(data, &have))
	merged, err := yaml.Marshal(config.MergePatch(plainMap(have), cfg.Overlay()))
	check(t, err)
	m.write(t, "registry.yml", string(merged))
}

func plainMap(m map[any]any) map[string]any {
	out := map[string]any{}
	for k, v := range m {
		if below, ok := v.(map[any]any); ok {
			v = plainMap(below)
		}
		out[k.(string)] = v
	}
	return out
}

// TestStockSettingsArrive holds that what the stock registry's words say has the
// effect that it has there.
func TestStockSettingsArrive(t *testing.T) {
	t.Parallel()
	events := make(chan string, 100)
	listener := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		events <- r.Header.Get("X-Token") + " " + string(body)
	}))
	defer listener.Close()
	m := newMachine(t)
	m.config(t, "info")
	m.overlay(t, `  environment:
    - {name: REGISTRY_LOG_FIELDS_site, value: zurich}
    - {name: REGISTRY_HTTP_HEADERS_X-Frame-Options, value: "[deny]"}
  registry:
    log: {fields: {rack: 7}, formatter: text}
    http: {headers: {Strict-Transport-Security: [max-age=600]}, http2: {disabled: true}}
    catalog: {maxentries: 2}
    tags: {maxtags: 2}
    storage: {delete: {enabled: false}}
    health: {file: [{file: `+m.path("ill")+`, interval: 100ms, threshold: 1}]}
    notifications: {endpoints: [{name: ci, url: "`+listener.URL+`", headers: {X-Token: [t1]}, timeout: 5s, threshold: 1, backoff: 1s}]}
`)
	m.start(t)
	image, err := random.Image(1000, 1)
	check(t, err)
	for _, ref := range []string{"aa:1", "aa:2", "aa:3", "bb:1", "cc:1"} {
		check(t, m.push(image, ref))
	}
	a := m.get(t, "/v2/_catalog?n=2")
	for key, want := range map[string]string{"X-Frame-Options": "deny", "Strict-Transport-Security": "max-age=600", "X-Content-Type-Options": "nosniff"} {
		if got := a.Header.Get(key); got != want {
			t.Errorf("http.headers: %s is %q", key, got)
		}
	}
	if a.ProtoMajor != 1 {
		t.Errorf("http.http2.disabled: %s", a.Proto)
	}
	for path, want := range map[string]int{"/v2/_catalog": 2, "/v2/aa/tags/list?n=3": 2} {
		var list struct{ Repositories, Tags []string }
		a := m.get(t, path)
		check(t, json.Unmarshal([]byte(a.body), &list))
		if n := len(list.Repositories) + len(list.Tags); n != want || a.Header.Get("Link") == "" {
			t.Errorf("%s: %d entries, Link %q", path, n, a.Header.Get("Link"))
		}
	}
	digest, err := image.Digest()
	check(t, err)
	if a, err = m.do(http.MethodDelete, "https://"+m.host()+"/v2/aa/manifests/"+digest.String(), nil); err != nil || a.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("storage.delete: %v, %v", a.Response, err)
	}
	if event := <-events; !strings.HasPrefix(event, "t1 ") || !strings.Contains(event, `"action": "push"`) {
		t.Errorf("notifications: %s", event)
	}
	until(t, "a line of the access log", func() bool { return strings.Contains(m.log.String(), "_catalog") })
	for line := range strings.Lines(m.log.String()) {
		if strings.Contains(line, "_catalog") && (!strings.Contains(line, "site=zurich") || !strings.Contains(line, "rack=7")) {
			t.Errorf("log.fields, log.formatter: %s", line)
		}
	}
	m.write(t, "ill", "")
	until(t, "health.file to be seen", func() bool { return m.get(t, "/v2/").StatusCode == http.StatusServiceUnavailable })
}

// TestMoreStockSettingsArrive takes those that exclude the others.
func TestMoreStockSettingsArrive(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.config(t, "info")
	m.overlay(t, `  registry:
    log: {accesslog: {disabled: true}}
    storage: {maintenance: {readonly: {enabled: true}}}
    health: {storagedriver: {enabled: false}}
`)
	m.start(t)
	a, err := m.do(http.MethodPost, "https://"+m.host()+"/v2/aa/blobs/uploads/", nil)
	check(t, err)
	if a.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("storage.maintenance.readonly: %s", a.Status)
	}
	if strings.Contains(m.log.String(), "POST /v2/aa") {
		t.Errorf("log.accesslog.disabled:\n%s", m.log.String())
	}
	m.config(t, "info")
	m.overlay(t, "  registry: {policy: {repository: {classes: [plugin]}}, validation: {manifests: {urls: {deny: ['.*']}}}}\n")
	m.reload(t)
	image, err := random.Image(1000, 1)
	check(t, err)
	if err := m.push(image, "aa:1"); err == nil || !strings.Contains(err.Error(), "DENIED") && !strings.Contains(err.Error(), "403") {
		t.Errorf("policy.repository.classes: %v", err)
	}
}
