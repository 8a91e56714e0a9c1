//go:build integration

package appliance_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/redoubt-registry/redoubt/appliance"
	"github.com/redoubt-registry/redoubt/appliance/system/status"
	"github.com/redoubt-registry/redoubt/test/redis"
)

// A Redis that fails while it takes up its configuration is a warning. The
// registry takes up its own all the same.
func TestRedisThatDoesNotRestartTakesNothingAway(t *testing.T) {
	b := newBox(t)
	b.userData(good)
	b.mustApply()
	applied := filepath.Join(b.root, "run/redoubt/applied.json")
	data, err := os.ReadFile(applied)
	if err != nil {
		t.Fatal(err)
	}
	var state map[string]any
	if err := json.Unmarshal(data, &state); err != nil {
		t.Fatal(err)
	}
	// Redis has read another configuration than the one that is wanted.
	state["files"].(map[string]any)["/run/redoubt/redis.conf"].(map[string]any)["digest"] = strings.Repeat("0", 64)
	if data, err = json.Marshal(state); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(applied, data, 0o600); err != nil {
		t.Fatal(err)
	}
	b.registry.calls, b.registry.noCache = nil, true
	b.userData(good + "  log: {level: debug}\n")
	if err := b.machine().Apply(t.Context(), appliance.Options{}); err != nil {
		t.Fatal(err)
	}
	b.wantCalls("reload redoubt-registry.service")
	if !strings.Contains(b.out.String(), "warning: the registry serves without its cache: cannot restart redoubt-redis.service") {
		t.Errorf("out:\n%s", &b.out)
	}
}

// A root verb reaches a Redis elsewhere as the registry does: over TLS, with the
// login of the credential.
func TestStatusOfASharedRedis(t *testing.T) {
	r := redis.Start(t, redis.Options{TLS: true, Args: []string{"--user", "default", "off",
		"--user", "registry", "on", ">a-long-secret", "~redoubt:*", "+@read", "+@write", "+@connection", "+@transaction", "+info"}})
	ca, err := os.ReadFile(r.CA)
	if err != nil {
		t.Fatal(err)
	}
	bundle := "      " + strings.ReplaceAll(strings.TrimSpace(string(ca)), "\n", "\n      ")
	document := func(password string) string {
		return good + "  cache:\n    redis:\n      address: " + r.Address + "\n      tls: true\n      username: registry\n      password: " + password + "\n      caBundle: |\n  " +
			strings.ReplaceAll(bundle, "\n", "\n  ") + "\n"
	}
	b := newBox(t)
	look := func() *status.Report {
		t.Helper()
		report, err := b.machine().Status(t.Context(), "9.9.9")
		if err != nil {
			t.Fatal(err)
		}
		return report
	}
	b.userData(document("a-long-secret"))
	b.mustApply()
	if c := look().Cache; c == nil || !c.Reachable || c.Address != r.Address || c.Memory == 0 {
		t.Errorf("cache: %+v", c)
	}
	text := look().String()
	if !strings.Contains(text, r.Address) || strings.Contains(text, "a-long-secret") {
		t.Errorf("got:\n%s", text)
	}
	b.userData(document("another-secret"))
	b.mustApply()
	report := look()
	if c := report.Cache; c.Reachable || !strings.Contains(c.Error, "cache.redis.password") || report.Verdict != status.Degraded {
		t.Errorf("cache: %+v, %s", c, report.Verdict)
	}
	if text := report.String(); !strings.Contains(text, "it refuses the login (cache.redis.username and cache.redis.password)") || strings.Contains(text, "another-secret") {
		t.Errorf("got:\n%s", text)
	}
}
