//go:build integration

package appliance_test

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/redoubt-registry/redoubt/appliance/paths"
	"github.com/redoubt-registry/redoubt/appliance/storage/health"
	"github.com/redoubt-registry/redoubt/appliance/system/status"
)

// found puts what redoubt health would have left.
func (b *box) found(s health.State) {
	b.Helper()
	s.Interval = 10 * time.Second
	data, err := json.Marshal(s)
	if err != nil {
		b.Fatal(err)
	}
	b.put(strings.TrimPrefix(paths.StorageState, "/"), string(data))
}

func TestStatusOfTheStorage(t *testing.T) {
	b := newBox(t)
	images := filepath.Join(b.root, "var/lib/redoubt/registry")
	if err := errors.Join(os.MkdirAll(images, 0o750), os.Chown(images, 850, 850)); err != nil {
		t.Fatal(err)
	}
	b.userData(good + "  cache: {type: memory}\n")
	b.mustApply()
	at := time.Now()
	operations := []health.Operation{{Name: "get", Seconds: 0.001}, {Name: "put", Seconds: 2.5, Error: "the disk is full", Without: health.Degraded}}
	for what, test := range map[string]struct {
		state health.State
		words []string
	}{
		"well":            {health.State{Grade: health.OK, Since: at, Checked: at, Operations: operations}, []string{"  health      ok since", "  slowest     put, 2.5s"}},
		"degraded":        {health.State{Grade: health.Degraded, Since: at, Checked: at, Error: "the disk is full"}, []string{"degraded: ", "  - the storage is degraded: the disk is full\n", "  health      degraded since"}},
		"recovers":        {health.State{Grade: health.Degraded, Since: at, Checked: at, Reason: "it is full"}, []string{"  - the storage is degraded: it is full\n"}},
		"another storage": {health.State{Grade: health.Down, Since: at, Checked: at, Error: "gone", Storage: "/srv/before"}, []string{"ok: "}},
		"old":             {health.State{Grade: health.OK, Checked: at.Add(-time.Hour)}, []string{"  - the storage was last checked at", "  health      unknown"}},
	} {
		b.found(test.state)
		r, err := b.machine().Status(t.Context(), "9.9.9")
		if err != nil {
			t.Fatal(err)
		}
		for _, words := range test.words {
			if !strings.Contains(r.String(), words) {
				t.Errorf("%s: no %q in:\n%s", what, words, r)
			}
		}
		if (r.Verdict == status.OK) != (what == "well" || what == "another storage") {
			t.Errorf("%s:\n%s", what, r)
		}
	}
}

// People are told of a grade once, and not of one that is over.
func TestAlertOfTheStorage(t *testing.T) {
	b := newBox(t)
	b.userData(good)
	b.mustApply()
	const unit = "redoubt-health.service"
	start := time.Now()
	if text, err := b.alert(start, unit, "timeout"); err != nil || !strings.Contains(text, "the storage cannot be looked at") {
		t.Errorf("before the first look: %v %q", err, text)
	}
	bad := health.State{Grade: health.Degraded, Checked: start, Reason: "it is full", Storage: "/var/lib/redoubt/registry", Error: "the disk is full"}
	b.found(bad)
	text, err := b.alert(start, unit, "exit-code")
	if err != nil || !strings.Contains(text, "the storage is degraded: it is full (/var/lib/redoubt/registry); see: journalctl -u redoubt-health.service") {
		t.Errorf("%v %q", err, text)
	}
	bad.Error = "the disk is still full"
	b.found(bad)
	if text, err := b.alert(start.Add(time.Minute), unit, "exit-code"); err != nil || text != "" {
		t.Errorf("the same again: %v %q", err, text)
	}
	bad.Grade, bad.Checked = health.Down, start.Add(time.Minute)
	b.found(bad)
	if text, err := b.alert(start.Add(time.Minute), unit, "exit-code"); err != nil || !strings.Contains(text, "the storage is down") {
		t.Errorf("worse: %v %q", err, text)
	}
	b.found(health.State{Grade: health.OK, Checked: start.Add(2 * time.Minute)})
	if text, err := b.alert(start.Add(2*time.Minute), unit, "exit-code"); err != nil || text != "" {
		t.Errorf("well again: %v %q", err, text)
	}
}
