//go:build integration

package appliance_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/redoubt-registry/redoubt/appliance/paths"
	"github.com/redoubt-registry/redoubt/appliance/storage/collect"
	"github.com/redoubt-registry/redoubt/units"
)

// hook is a webhook that records what it gets.
type hook struct {
	server *httptest.Server
	status int
	got    []map[string]any
}

func newHook(t *testing.T) *hook {
	h := &hook{status: http.StatusOK}
	h.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		var a map[string]any
		if json.Unmarshal(body, &a) == nil && r.Method == http.MethodPost && r.URL.Path == "/s3cret" {
			h.got = append(h.got, a)
		}
		if h.status == http.StatusFound {
			http.Redirect(w, r, "/elsewhere", h.status)
			return
		}
		w.WriteHeader(h.status)
	}))
	t.Cleanup(h.server.Close)
	return h
}

func (b *box) alert(at time.Time, unit, result string) (string, error) {
	b.out.Reset()
	m := b.machine()
	m.Now = func() time.Time { return at }
	err := m.Alert(b.Context(), unit, result)
	return b.out.String(), err
}

func TestAlerts(t *testing.T) {
	b, h := newBox(t), newHook(t)
	b.userData(good + "  alerts: {webhook: \"" + h.server.URL + "/s3cret\"}\n")
	b.mustApply()
	start := time.Now()
	const unit = "redoubt-registry.service"
	text, err := b.alert(start, unit, "watchdog")
	if err != nil || !strings.Contains(text, "registry.example.com: redoubt-registry.service has failed: watchdog; see: journalctl -u "+unit) {
		t.Errorf("%v %q", err, text)
	}
	if len(h.got) != 1 || h.got[0]["unit"] != unit || h.got[0]["hostname"] != "registry.example.com" || h.got[0]["text"] != h.got[0]["message"] {
		t.Errorf("the webhook got %v", h.got)
	}
	for what, tc := range map[string]struct {
		after        time.Duration
		unit, result string
		told         bool
	}{
		"again": {time.Hour, unit, "watchdog", false}, "another cause": {time.Hour, unit, "oom-kill", true},
		"another unit": {time.Hour, "redoubt-redis.service", "watchdog", true},
	} {
		if text, err := b.alert(start.Add(tc.after), tc.unit, tc.result); err != nil || (text != "") != tc.told {
			t.Errorf("%s: %v %q", what, err, text)
		}
	}
	if err := os.MkdirAll(filepath.Join(b.root, filepath.Dir(paths.Collection)), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := (collect.Last{Early: start}).Write(filepath.Join(b.root, paths.Collection)); err != nil {
		t.Fatal(err)
	}
	if text, err := b.alert(start, units.GC, "exit-code"); err != nil || !strings.Contains(text, collect.Early) {
		t.Errorf("the trash was purged early: %v %q", err, text)
	}
	if text, err := b.alert(start.Add(25*time.Hour), unit, "watchdog"); err != nil || text == "" {
		t.Errorf("a day later: %v %q", err, text)
	}
	if text, err := b.alert(start.Add(-48*time.Hour), unit, "watchdog"); err != nil || text == "" {
		t.Errorf("on a clock that went back: %v %q", err, text)
	}
	h.status = http.StatusNotFound
	text, err = b.alert(start.Add(50*time.Hour), unit, "watchdog")
	b.wantError(err, "cannot post the alert to alerts.webhook: it answers 404")
	if text == "" || strings.Contains(err.Error(), "s3cret") {
		t.Errorf("%q %v", text, err)
	}
	h.status, h.got = http.StatusFound, nil
	_, err = b.alert(start.Add(50*time.Hour), unit, "watchdog")
	b.wantError(err, "it answers 302")
	if len(h.got) != 1 {
		t.Errorf("a redirection was followed: %v", h.got)
	}
	h.server.Close()
	_, err = b.alert(start.Add(50*time.Hour), unit, "watchdog")
	b.wantError(err, "cannot post")
	if strings.Contains(err.Error(), "s3cret") || strings.Contains(err.Error(), h.server.URL) {
		t.Errorf("the secret URL is told: %v", err)
	}
}

// A renewal is told of only when it matters, and then once a day.
func TestRenewalAlerts(t *testing.T) {
	b := newBox(t)
	b.userData(good)
	b.mustApply()
	const unit = "redoubt-renew.service"
	now := time.Now()
	for _, tc := range []struct{ summary, want string }{
		{"", "cannot run"},
		{`{"mode": "acme", "error": "the CA is down"}`, ""},
		{`{"mode": "acme", "error": "the CA is down", "alert": "a quarter of the certificate's lifetime is left"}`, "a quarter of the certificate's lifetime is left: the CA is down"},
		{`{"mode": "files", "error": "the old certificate stays: cannot use /a"}`, "cannot use /a"},
		{`{"mode": "internal-ca"}`, ""},
	} {
		b.put("run/redoubt/renew.json", tc.summary)
		text, err := b.alert(now, unit, "exit-code")
		if err != nil || (tc.want == "") != (text == "") || !strings.Contains(text, tc.want) {
			t.Errorf("%s: %v %q", tc.summary, err, text)
		}
		if again, err := b.alert(now.Add(10*time.Minute), unit, "exit-code"); err != nil || again != "" {
			t.Errorf("%s: told again: %v %q", tc.summary, err, again)
		}
	}
}
