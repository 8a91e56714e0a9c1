//go:build integration

package registry

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/validate"
	"github.com/opencontainers/go-digest"

	"github.com/redoubt-registry/redoubt/appliance/storage/health"
	"github.com/redoubt-registry/redoubt/appliance/storage/storagecheck"
	"github.com/redoubt-registry/redoubt/test/stores"
)

// grade writes what redoubt health would.
func (m *machine) grade(t *testing.T, s health.State) {
	t.Helper()
	s.Interval = 10 * time.Second
	data, err := json.Marshal(s)
	check(t, err)
	m.write(t, "storage.json", string(data))
}

// gradeMetric reads which grade the metrics show.
func (m *machine) gradeMetric(t *testing.T) string {
	t.Helper()
	var shown []string
	for _, g := range []string{"ok", "degraded", "down", "unknown"} {
		if m.metric(t, `redoubt_storage_grade{grade="`+g+`"}`) == 1 {
			shown = append(shown, g)
		}
	}
	return strings.Join(shown, " ")
}

// Degraded lets pulls go on and refuses pushes; down refuses everything; each ends by
// itself when the file says so.
func TestGrades(t *testing.T) {
	m := newMachine(t)
	m.config(t, "info")
	m.start(t)
	image, err := random.Image(100_000, 2)
	check(t, err)
	check(t, m.push(image, "app:1"))
	check(t, m.push(image, "app:2"))
	if g := m.gradeMetric(t); g != "unknown" {
		t.Errorf("before the first look the metric says %s", g)
	}
	data := bytes.Repeat([]byte("layer"), 100_000)
	inFlight := m.begin(t, "slow", data[:1000])

	m.grade(t, health.State{Grade: health.Degraded, Checked: time.Now(), Reason: "it is full", Operations: []health.Operation{
		{Name: "put", Seconds: 1.5, Error: "no space", Without: health.Degraded}}})
	until(t, "the grade to be degraded", func() bool { return m.gradeMetric(t) == "degraded" })
	for method, path := range map[string]string{"POST": "blobs/uploads/", "PUT": "manifests/1", "PATCH": "blobs/uploads/0f2d6a0c-9a31-4e35-8d6e-3c1f6d5b7a90"} {
		a, err := m.do(method, "https://"+m.host()+"/v2/app/"+path, nil)
		check(t, err)
		if a.StatusCode != 503 || a.Header.Get("Retry-After") != "30" || !strings.Contains(a.body, `"code":"UNAVAILABLE"`) || !strings.Contains(a.body, "takes no pushes for now, pulls go on: it is full") {
			t.Errorf("%s: %s %v %s", method, a.Status, a.Header, a.body)
		}
	}
	for _, path := range []string{"/v2/", "/v2/app/manifests/1", "/v2/app/tags/list"} {
		if a := m.get(t, path, "Accept", "*/*"); a.StatusCode != 200 {
			t.Errorf("%s: %s %s", path, a.Status, a.body)
		}
	}
	if a, err := m.do("DELETE", "https://"+m.host()+"/v2/app/manifests/2", nil); err != nil || a.StatusCode != 202 {
		t.Errorf("a deletion makes room: %s %s", a.Status, a.body)
	}
	got, err := m.pull("app:1")
	check(t, err)
	check(t, validate.Image(got))
	if err := m.push(image, "other:1"); err == nil || !strings.Contains(err.Error(), "it is full") {
		t.Errorf("a push is told %v", err)
	}
	// docker reads the status line of HTTP/1.1 alone.
	transport := m.transport()
	transport.ForceAttemptHTTP2 = false
	if a, err := send(transport, "POST", "https://"+m.host()+"/v2/app/blobs/uploads/", nil); err != nil || !strings.Contains(a.Status, "takes no pushes") {
		t.Errorf("docker is told %v %v", a.Response, err)
	}
	if v := m.metric(t, `redoubt_storage_operation_seconds{operation="put"}`); v != 1.5 {
		t.Errorf("the put took %v", v)
	}
	if v := m.metric(t, `redoubt_storage_operation_failed{operation="put"}`); v != 1 {
		t.Error("no metric for the failed put")
	}
	if a, err := send(http.DefaultTransport, "GET", "http://"+m.debug+"/healthz", nil); err != nil || a.StatusCode != 200 {
		t.Errorf("healthz while pulls go on: %v %v", a.Response, err)
	}

	m.grade(t, health.State{Grade: health.Down, Checked: time.Now(), Reason: "it does not answer"})
	until(t, "the grade to be down", func() bool { return m.gradeMetric(t) == "down" })
	for _, path := range []string{"/v2/", "/v2/app/manifests/1"} {
		if a := m.get(t, path); a.StatusCode != 503 || a.Header.Get("Retry-After") != "15" || !strings.Contains(a.body, "is not available: it does not answer") {
			t.Errorf("%s: %s %v %s", path, a.Status, a.Header, a.body)
		}
	}
	if a := m.get(t, "/"); a.StatusCode != 200 {
		t.Errorf("the page: %s", a.Status)
	}
	if a, err := send(http.DefaultTransport, "GET", "http://"+m.debug+"/healthz", nil); err != nil || a.StatusCode != 503 || !strings.Contains(a.body, "does not answer") {
		t.Errorf("healthz: %v %v", a.Response, err)
	}

	m.grade(t, health.State{Grade: health.OK, Checked: time.Now()})
	until(t, "the grade to be ok", func() bool { return m.gradeMetric(t) == "ok" })
	inFlight.finish(t, data[1000:], digest.FromBytes(data).String()) // it began before all that
	check(t, m.push(image, "other:1"))
}

// A file that is old, damaged or gone takes nothing away, and shows in the metrics.
func TestUnknownGrade(t *testing.T) {
	m := newMachine(t)
	m.config(t, "info")
	m.start(t)
	for name, spoil := range map[string]func(){
		"old": func() {
			m.grade(t, health.State{Grade: health.Down, Checked: time.Now().Add(-2 * time.Minute)})
		},
		"of the future": func() {
			m.grade(t, health.State{Grade: health.Down, Checked: time.Now().Add(time.Hour)})
		},
		"damaged": func() { m.write(t, "storage.json", `{"grade":"down`) },
		"gone":    func() { check(t, os.Remove(m.path("storage.json"))) },
	} {
		m.grade(t, health.State{Grade: health.Down, Checked: time.Now()})
		until(t, "the grade to be down", func() bool { return m.gradeMetric(t) == "down" })
		spoil()
		until(t, "the grade to be unknown: "+name, func() bool { return m.gradeMetric(t) == "unknown" })
		if a := m.get(t, "/v2/"); a.StatusCode != 200 {
			t.Errorf("%s: %s", name, a.Status)
		}
	}
}

// Who turns the check off in distribution's own words has none.
func TestGradeTurnedOff(t *testing.T) {
	m := newMachine(t)
	m.config(t, "info")
	text, err := os.ReadFile(m.path("registry.yml"))
	check(t, err)
	m.write(t, "registry.yml", strings.Replace(string(text), "{storagedriver: {enabled: true,", "{storagedriver: {enabled: false,", 1))
	m.grade(t, health.State{Grade: health.Down, Checked: time.Now()})
	m.start(t)
	if a := m.get(t, "/v2/"); a.StatusCode != 200 {
		t.Errorf("turned off: %s", a.Status)
	}
	m.config(t, "info")
	m.reload(t)
	if a := m.get(t, "/v2/"); a.StatusCode != 503 {
		t.Errorf("turned on: %s", a.Status)
	}
}

// A store whose disk is not mounted refuses what would go to the wrong place, before
// anybody has looked.
func TestStoreIsNotMounted(t *testing.T) {
	m := newMachine(t)
	m.config(t, "info")
	m.start(t)
	image, err := random.Image(1000, 1)
	check(t, err)
	check(t, m.push(image, "app:1"))
	d := storagecheck.Directory{Root: m.path("store"), Record: m.path("record.json"), ID: "this"}
	if look := storagecheck.Probe(t.Context(), d, health.Look{}, true); d.Other() {
		t.Fatalf("%+v", look)
	}
	check(t, m.push(image, "app:2"))
	// It looks elsewhere than whoever remembers.
	record, err := os.ReadFile(d.Record)
	check(t, err)
	check(t, os.WriteFile(d.Record, []byte(fmt.Sprintf(`{"root":%q,"id":"another"}`, d.Root)), 0o600))
	until(t, "a refusal", func() bool { return m.get(t, "/v2/").StatusCode == 503 })
	check(t, os.WriteFile(d.Record, record, 0o600))
	until(t, "the registry to serve again", func() bool { return m.get(t, "/v2/").StatusCode == 200 })
	check(t, os.Rename(m.path("store"), m.path("away")))
	check(t, os.Mkdir(m.path("store"), 0o755))
	until(t, "a refusal", func() bool { return m.get(t, "/v2/").StatusCode == 503 })
	if m.push(image, "app:3") == nil {
		t.Error("a push into the empty directory below succeeded")
	}
	check(t, os.Remove(m.path("store")))
	check(t, os.Rename(m.path("away"), m.path("store")))
	until(t, "the registry to serve again", func() bool { return m.get(t, "/v2/").StatusCode == 200 })
	if _, err := m.pull("app:2"); err != nil {
		t.Error(err)
	}
}

// A store that turns read-only or full is no error of the registry's: before anybody has
// looked, pushes are told to come later, and why; pulls go on.
func TestStoreTakesNoWrites(t *testing.T) {
	m := newMachine(t)
	check(t, syscall.Mount("tmpfs", m.path("store"), "tmpfs", 0, "size=8m"))
	t.Cleanup(func() { check(t, syscall.Unmount(m.path("store"), syscall.MNT_DETACH)) })
	m.config(t, "error")
	m.start(t)
	image, err := random.Image(100_000, 1)
	check(t, err)
	check(t, m.push(image, "app:1"))
	refused := func(reason string) {
		t.Helper()
		a, err := m.do("POST", "https://"+m.host()+"/v2/app/blobs/uploads/", nil)
		check(t, err)
		if a.StatusCode == http.StatusAccepted { // an upload may begin in the last of the room
			a, err = m.do("PATCH", a.Header.Get("Location"), bytes.NewReader(make([]byte, 1<<20)))
			check(t, err)
		}
		if a.StatusCode != 503 || a.Header.Get("Retry-After") == "" || !strings.Contains(a.body, `"code":"UNAVAILABLE"`) || !strings.Contains(a.body, reason) {
			t.Errorf("%s: %s %v %s", reason, a.Status, a.Header, a.body)
		}
		got, err := m.pull("app:1")
		check(t, err)
		check(t, validate.Image(got))
	}
	check(t, syscall.Mount("", m.path("store"), "", syscall.MS_REMOUNT|syscall.MS_RDONLY, "size=8m"))
	refused("it is read-only")
	check(t, syscall.Mount("", m.path("store"), "", syscall.MS_REMOUNT, "size=8m"))
	check(t, m.push(image, "app:2"))
	filler := stores.Fill(t, m.path("store"), 0)
	refused("it is full")
	check(t, os.Remove(filler))
	other, err := random.Image(100_000, 1)
	check(t, err)
	check(t, m.push(other, "app:3"))
}
