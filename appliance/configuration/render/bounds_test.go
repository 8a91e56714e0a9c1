package render

import (
	"fmt"
	"io/fs"
	"strings"
	"testing"

	"github.com/redoubt-registry/redoubt/units"
)

// TestBoundsAreTheUnits holds that what this package takes a unit's own value to be
// is what the unit says: what does not differ from it is not rendered.
func TestBoundsAreTheUnits(t *testing.T) {
	for _, test := range []struct{ unit, line string }{
		{units.RegistrySocket, fmt.Sprintf("ListenStream=%d", unitHTTPSPort)},
		{units.RegistrySocket, fmt.Sprintf("ListenStream=%d", unitHTTPPort)},
		{units.Registry, fmt.Sprintf("TimeoutStopSec=%.0fs", unitStopTimeout.Seconds())},
		{units.GCTimer, "OnCalendar=" + unitSchedule},
		{units.BackupTimer, "OnCalendar=" + unitBackup},
		{units.HealthTimer, fmt.Sprintf("OnUnitInactiveSec=%.0fs", unitInterval.Seconds())},
	} {
		unit, err := fs.ReadFile(units.Files, test.unit)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(unit), "\n"+test.line+"\n") {
			t.Errorf("%s does not say %s", test.unit, test.line)
		}
	}
}
