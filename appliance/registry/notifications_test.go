package registry

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/random"

	"github.com/redoubt-registry/redoubt/appliance/access/webhook"
	"github.com/redoubt-registry/redoubt/appliance/spool"
)

const hookSecret = "0123456789abcdef"

// hooks is an endpoint over TLS. It takes what is signed, and keeps it by path.
type hooks struct {
	*httptest.Server
	dead atomic.Bool // it takes connections, and answers nothing
	mu   sync.Mutex
	got  map[string][]string
}

func newHooks(t *testing.T) *hooks {
	h := &hooks{got: map[string][]string{}}
	h.Server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if h.dead.Load() {
			<-r.Context().Done() // which ends with the connection only after the body was read
			return
		}
		mac := hmac.New(sha256.New, []byte(hookSecret))
		mac.Write([]byte(r.Header.Get("Redoubt-Timestamp") + "." + string(body)))
		if err != nil || r.Header.Get("Redoubt-Signature") != "v1="+hex.EncodeToString(mac.Sum(nil)) || r.Header.Get("Authorization") != "Bearer t" {
			t.Errorf("%v: %v", err, r.Header)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		h.mu.Lock()
		defer h.mu.Unlock()
		h.got[r.URL.Path] = append(h.got[r.URL.Path], string(body))
	}))
	t.Cleanup(h.Close)
	return h
}

func (h *hooks) endpoint(m *machine, name string, format webhook.Format) webhook.Endpoint {
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: h.Certificate().Raw})
	return webhook.Endpoint{Name: name, URL: h.URL + "/" + name, Format: format, Secret: hookSecret, Authorization: "Bearer t",
		CAs: string(ca), Spool: m.path("notifications/" + name), Limit: 1 << 20}
}

// event is an event as endpoints have it.
type event struct {
	Action  string
	Target  struct{ Repository, Tag, Digest, MediaType, URL, FromRepository string }
	Actor   struct{ Name string }
	Request struct{ Method string }
}

func (e event) String() string {
	return strings.TrimRight(e.Action+" "+e.Target.Repository+":"+e.Target.Tag, ":")
}

// events are those that came to a path.
func (h *hooks) events(t *testing.T, path string) (events []event) {
	t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, body := range h.got[path] {
		var envelope struct {
			Events []event
			Data   *event
		}
		check(t, json.Unmarshal([]byte(body), &envelope))
		events = append(events, envelope.Events...)
		if envelope.Data != nil {
			events = append(events, *envelope.Data)
		}
	}
	return events
}

func (h *hooks) has(t *testing.T, path, want string) bool {
	t.Helper()
	return slices.ContainsFunc(h.events(t, path), func(e event) bool { return e.String() == want })
}

// tell makes the endpoints those of the machine.
func (m *machine) tell(t *testing.T, endpoints ...webhook.Endpoint) {
	t.Helper()
	data, err := json.Marshal(endpoints)
	check(t, err)
	m.write(t, "notifications.json", string(data))
	m.authMore = `, notifications: "` + m.path("notifications.json") + `"`
}

// What is pushed while endpoints are dead reaches them when they are back, though the
// registry was killed in between. Each gets what it is told of, and no push waits.
func TestNotifications(t *testing.T) {
	t.Parallel()
	m, h := newMachine(t), newHooks(t)
	some := h.endpoint(m, "some", webhook.CloudEvents)
	some.Repositories, some.Actions = []string{"team/*"}, []string{"push", "delete"}
	gone := h.endpoint(m, "gone", webhook.Distribution)
	gone.URL = "https://127.0.0.1:1/"
	m.tell(t, h.endpoint(m, "all", webhook.Distribution), some, gone)
	m.config(t, "error")
	h.dead.Store(true)
	m.start(t)
	image, err := random.Image(1000, 1)
	check(t, err)
	check(t, m.push(image, "team/app:v1"))
	check(t, m.push(image, "other/app:v1"))
	check(t, m.process.Process.Kill())
	<-m.exited
	h.dead.Store(false)
	m.start(t)
	for path, want := range map[string]string{"/all": "push other/app:v1", "/some": "push team/app:v1"} {
		until(t, want, func() bool { return h.has(t, path, want) })
	}

	digest, err := image.Digest()
	check(t, err)
	layers, err := image.Layers()
	check(t, err)
	layer, err := layers[0].Digest()
	check(t, err)
	for _, request := range [][2]string{
		{http.MethodGet, "team/app/manifests/v1"},
		{http.MethodPost, "third/app/blobs/uploads/?mount=" + layer.String() + "&from=team/app"},
		{http.MethodDelete, "team/app/manifests/v1"},
		{http.MethodGet, "team/app/manifests/none"},
	} {
		_, err := m.do(request[0], "https://"+m.host()+"/v2/"+request[1], nil)
		check(t, err)
	}
	for _, want := range []string{"pull team/app:v1", "mount third/app", "delete team/app:v1"} {
		until(t, want, func() bool { return h.has(t, "/all", want) })
	}
	until(t, "the deletion", func() bool { return h.has(t, "/some", "delete team/app:v1") })
	for _, e := range h.events(t, "/some") {
		if e.Target.Repository != "team/app" || e.Action == "pull" {
			t.Errorf("it is told of %s", e)
		}
	}
	for _, e := range h.events(t, "/all") {
		if e.Actor.Name != "alice" || strings.HasSuffix(e.String(), "none") {
			t.Errorf("got %+v", e)
		}
		url := "https://" + m.host() + "/v2/team/app/manifests/" + digest.String()
		if e.String() == "pull team/app:v1" && (e.Target.Digest != digest.String() || e.Target.URL != url || e.Target.MediaType == "") {
			t.Errorf("got %+v", e)
		}
	}

	// The one that is gone is in nobody's way, and people are told.
	until(t, "that one is gone", func() bool {
		return strings.Contains(spool.Problem(m.path("deliveries.json")), "notifications.gone: cannot post events: connection refused")
	})
	for name, want := range map[string]bool{
		`redoubt_delivery_failed{to="notifications.gone"}`: true, `redoubt_delivery_waiting_bytes{to="notifications.gone"}`: true,
		`redoubt_delivery_sent{to="notifications.gone"}`: false, `redoubt_delivery_sent{to="notifications.all"}`: true,
		`redoubt_delivery_failing{to="notifications.all"}`: false, `redoubt_delivery_lost{to="notifications.gone"}`: false,
	} {
		if got := m.metric(t, name); (got > 0) != want {
			t.Errorf("%s is %v", name, got)
		}
	}

	// At another address it has all that waits.
	m.tell(t, h.endpoint(m, "gone", webhook.Distribution))
	m.config(t, "error")
	m.reload(t)
	until(t, "all that waited", func() bool { return h.has(t, "/gone", "push team/app:v1") && h.has(t, "/gone", "delete team/app:v1") })
	until(t, "that all is well", func() bool { return spool.Problem(m.path("deliveries.json")) == "" })
	if _, err := os.Stat(m.path("notifications/all")); err != nil {
		t.Errorf("the spool of an endpoint that may come back: %v", err)
	}
}

// What waits for an endpoint that is gone stays for a week.
func TestSpoolsOfEndpointsThatAreGone(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, age := range map[string]time.Duration{"kept": 2 * forgotten, "young": forgotten - time.Hour, "old": forgotten + time.Hour} {
		spool := filepath.Join(dir, name)
		check(t, os.Mkdir(spool, 0o750))
		check(t, os.WriteFile(filepath.Join(spool, "1.spool"), nil, 0o640))
		check(t, os.Chtimes(spool, time.Time{}, time.Now().Add(-age)))
	}
	forget([]webhook.Endpoint{{Name: "kept", Spool: filepath.Join(dir, "kept")}})
	left, err := filepath.Glob(filepath.Join(dir, "*"))
	if want := []string{filepath.Join(dir, "kept"), filepath.Join(dir, "young")}; err != nil || !slices.Equal(left, want) {
		t.Errorf("got %v, %v", left, err)
	}
}

// What a pull of a manifest costs while endpoints are dead, of which one is told of it.
func BenchmarkNotifications(b *testing.B) {
	desk := webhook.NewDesk()
	defer desk.Close()
	lane, err := webhook.Open(webhook.Endpoint{Format: webhook.Distribution, Spool: b.TempDir(), Limit: 10 << 20})
	check(b, err)
	desk.Change(func() []*webhook.Lane { return []*webhook.Lane{lane} })
	benchmarkNote(b, desk)
}
