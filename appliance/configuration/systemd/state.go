package systemd

import (
	"context"
	"fmt"
	"time"
)

// State is what systemd says of one unit.
type State struct {
	Name        string
	Description string
	Load        string    // loaded, not-found, masked, bad-setting
	Active      string    // active, reloading, inactive, failed, activating, deactivating
	Sub         string    // running, listening, exited, auto-restart, …
	Status      string    // what the service says of itself (STATUS= of sd_notify(3)); services only
	Restarts    uint32    // automatic restarts since it was last started; services only
	Since       time.Time // when Active last changed; zero if it never did
}

// Running says whether the unit holds resources now or is about to again.
func (s State) Running() bool {
	return s.Active != "inactive" && s.Active != "failed" && s.Active != ""
}

// States returns the states of units in the order given. A unit that systemd
// does not know has Load "not-found" and is no error.
func (m *Manager) States(ctx context.Context, units ...string) ([]State, error) {
	states := make([]State, 0, len(units))
	for _, u := range units {
		p, err := m.conn.GetUnitPropertiesContext(ctx, u)
		if err != nil {
			return nil, fmt.Errorf("cannot read the state of %s: %w", u, err)
		}
		s := State{Name: u}
		s.Description, _ = p["Description"].(string)
		s.Load, _ = p["LoadState"].(string)
		s.Active, _ = p["ActiveState"].(string)
		s.Sub, _ = p["SubState"].(string)
		if usec, ok := p["StateChangeTimestamp"].(uint64); ok && usec > 0 {
			s.Since = time.UnixMicro(int64(usec)) // a time stamp of this era
		}
		if suffix(u) == ".service" && s.Load == "loaded" {
			prop, err := m.conn.GetServicePropertyContext(ctx, u, "NRestarts")
			if err != nil {
				return nil, fmt.Errorf("cannot read the restarts of %s: %w", u, err)
			}
			s.Restarts, _ = prop.Value.Value().(uint32)
			if prop, err = m.conn.GetServicePropertyContext(ctx, u, "StatusText"); err != nil {
				return nil, fmt.Errorf("cannot read the status of %s: %w", u, err)
			}
			s.Status, _ = prop.Value.Value().(string)
		}
		states = append(states, s)
	}
	return states, nil
}
