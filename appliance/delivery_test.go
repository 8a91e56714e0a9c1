//go:build integration

package appliance_test

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/redoubt-registry/redoubt/appliance/paths"
	"github.com/redoubt-registry/redoubt/appliance/spool"
	"github.com/redoubt-registry/redoubt/appliance/storage/health"
	"github.com/redoubt-registry/redoubt/units"
)

// A syslog server that is away is an alert, without what only a terminal acts on.
func TestADeliveryThatFailsIsAnAlert(t *testing.T) {
	b, h := newBox(t), newHook(t)
	b.userData(good + "  alerts: {webhook: \"" + h.server.URL + "/s3cret\"}\n")
	b.mustApply()
	b.found(health.State{Grade: health.OK, Since: time.Now(), Checked: time.Now()})
	b.put(strings.TrimPrefix(paths.Deliveries, "/"), "")
	if err := spool.WriteState(filepath.Join(b.root, paths.Deliveries), []string{"audit.syslog: cannot reach the syslog server: \x1brefused"}); err != nil {
		t.Fatal(err)
	}
	text, err := b.alert(time.Now(), units.Health, "exit-code")
	if err != nil || !strings.Contains(text, ": audit.syslog: cannot reach the syslog server: ?refused") || len(h.got) != 1 {
		t.Errorf("%v %q, %d at the webhook", err, text, len(h.got))
	}
	r, err := b.machine().Status(t.Context(), "9.9.9")
	if err != nil || !strings.Contains(r.String(), "  - audit.syslog: cannot reach the syslog server: ?refused\n") {
		t.Errorf("%v\n%s", err, r)
	}
}
