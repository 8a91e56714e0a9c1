package appliance

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/redoubt-registry/redoubt/appliance/render"
)

// A certificate and its key are two files, and whoever copies them changes first
// the one: they are read when neither has changed for a while.
const (
	rest     = time.Second
	restless = 30 * time.Second // is waited for, and no longer
)

// publishAtRest is publish, once the files that the configuration names are at
// rest, and again if they change meanwhile: systemd tells of no change of a file
// while it runs what the change before has started.
func (m *Machine) publishAtRest(ctx context.Context, now target) error {
	for deadline := time.Now().Add(restless); ; {
		seen := m.changes(now)
		for _, at := range seen {
			// A time to come is of a clock that was wrong, and no reason to wait.
			if age := time.Since(at); age >= 0 && age < rest && time.Now().Before(deadline) {
				select {
				case <-ctx.Done():
					return ctx.Err()
				case <-time.After(rest - age):
				}
			}
		}
		if !slices.EqualFunc(seen, m.changes(now), time.Time.Equal) && time.Now().Before(deadline) {
			continue
		}
		err := m.publish(ctx, now)
		if slices.EqualFunc(seen, m.changes(now), time.Time.Equal) || time.Now().After(deadline) {
			return err
		}
	}
}

// changes are when each watched file last changed in any way; zero for one that is
// not there.
func (m *Machine) changes(now target) []time.Time {
	var out []time.Time
	for _, path := range render.Watched(now.cfg) {
		var at time.Time
		if info, err := os.Stat(filepath.Join(m.Root, path)); err == nil {
			if sys, ok := info.Sys().(*syscall.Stat_t); ok {
				at = time.Unix(sys.Ctim.Unix())
			}
		}
		out = append(out, at)
	}
	return out
}
