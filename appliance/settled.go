package appliance

import (
	"context"
	"path/filepath"
	"slices"
	"time"

	"github.com/redoubt-registry/redoubt/appliance/configuration/render"
	"github.com/redoubt-registry/redoubt/appliance/files"
)

// Copying a pair changes the certificate first, then the key: both are read once
// neither has changed for a while. A pair that cannot be used then may be half of a
// slow copy, and gets more time.
const (
	halfCopied = 5                // times as much time
	maxWait    = 30 * time.Second // a file that never stops changing must not block a renewal
	poll       = 50 * time.Millisecond
)

// atRest calls publish once the files that the configuration names have stopped
// changing, and again if they change meanwhile: systemd reports no change of a file
// while the unit runs that the change before has started.
func (m *Machine) atRest(ctx context.Context, now target, publish func() error) error {
	for deadline := time.Now().Add(maxWait); ; {
		seen := m.changes(now)
		if m.changesWithin(ctx, now, seen, m.Settle) && time.Now().Before(deadline) {
			continue
		}
		err := publish()
		patience := time.Duration(0)
		if err != nil {
			patience = halfCopied * m.Settle
		}
		if !m.changesWithin(ctx, now, seen, patience) || time.Now().After(deadline) {
			return err
		}
	}
}

// changesWithin tells whether a file has changed since seen, or changes before all have
// been at rest for the duration atRest.
func (m *Machine) changesWithin(ctx context.Context, now target, seen []time.Time, atRest time.Duration) bool {
	for {
		if !slices.EqualFunc(seen, m.changes(now), time.Time.Equal) {
			return true
		}
		fresh := func(at time.Time) bool {
			age := time.Since(at)
			return age >= 0 && age < atRest // a time in the future comes from a clock that was wrong
		}
		if !slices.ContainsFunc(seen, fresh) {
			return false
		}
		select {
		case <-ctx.Done():
			return false
		case <-time.After(poll):
		}
	}
}

// changes are the times of the last change of each watched file; zero for a missing
// one.
func (m *Machine) changes(now target) []time.Time {
	var out []time.Time
	for _, path := range render.Watched(now.cfg) {
		seen, _ := files.StampOf(filepath.Join(m.Root, path))
		out = append(out, seen.Changed)
	}
	return out
}
