package appliance

import (
	"context"
	"path/filepath"
	"slices"
	"time"

	"github.com/redoubt-registry/redoubt/appliance/configuration/render"
	"github.com/redoubt-registry/redoubt/appliance/files"
)

// A certificate and its key are two files, and whoever copies them changes first
// the one: they are read when neither has changed for a while. What cannot be
// used then may be half of a slow copy, and is given longer.
const (
	halfCopied = 5                // times as long
	restless   = 30 * time.Second // is waited for, and no longer
	look       = 50 * time.Millisecond
)

// atRest does publish once the files that the configuration names are at rest,
// and again if they change meanwhile: systemd tells of no change of a file while
// it runs what the change before has started.
func (m *Machine) atRest(ctx context.Context, now target, publish func() error) error {
	for deadline := time.Now().Add(restless); ; {
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

// changesWithin says whether a file has changed since it was seen, or does before
// all have been at rest for a time.
func (m *Machine) changesWithin(ctx context.Context, now target, seen []time.Time, atRest time.Duration) bool {
	for {
		if !slices.EqualFunc(seen, m.changes(now), time.Time.Equal) {
			return true
		}
		fresh := func(at time.Time) bool {
			age := time.Since(at)
			return age >= 0 && age < atRest // a time to come is of a clock that was wrong
		}
		if !slices.ContainsFunc(seen, fresh) {
			return false
		}
		select {
		case <-ctx.Done():
			return false
		case <-time.After(look):
		}
	}
}

// changes are when each watched file last changed in any way; zero for one that is
// not there.
func (m *Machine) changes(now target) []time.Time {
	var out []time.Time
	for _, path := range render.Watched(now.cfg) {
		seen, _ := files.StampOf(filepath.Join(m.Root, path))
		out = append(out, seen.Changed)
	}
	return out
}
