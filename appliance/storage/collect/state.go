package collect

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/distribution/distribution/v3/registry/storage/driver"

	"github.com/redoubt-registry/redoubt/appliance/storage/layout"
)

// statePath is where runs are kept, beside the images.
const statePath = "/redoubt/gc/state"

// state is what runs know of each other. If it is lost, what is in the trash counts as
// taken now.
type state struct {
	Run  int64     `json:"run"`
	Last time.Time `json:"last"` // when Run began
	// Done is the last run that ended: nothing needs what it and those before it left in
	// the trash. What is asked for since has come back by itself.
	Done int64 `json:"done"`
	// Clock is a time that passes with runs, see pass.
	Clock time.Duration `json:"clock"`
	Runs  map[int64]run `json:"runs"` // that something in the trash is of
}

// run is when one began, by both clocks.
type run struct {
	At    time.Time     `json:"at"`
	Clock time.Duration `json:"clock"`
}

// pass begins a run. The trash's clock goes on by the time since the last run, but at
// most by half of what things stay in the trash: a machine's clock that jumps, or one
// that was off for a month, empties no trash before a further run has passed.
func (s *state) pass(now time.Time, trash time.Duration) {
	if s.Runs == nil {
		s.Runs = map[int64]run{}
	}
	if s.Run > 0 {
		s.Clock += min(max(now.Sub(s.Last), 0), (trash+1)/2)
	}
	s.Run++
	s.Last = now
	s.Runs[s.Run] = run{now, s.Clock}
}

// over tells whether what a run took has been in the trash for long enough.
func (s *state) over(of int64, trash time.Duration) bool {
	taken, ok := s.Runs[of]
	if !ok {
		s.Runs[of] = s.Runs[s.Run]
		return false
	}
	return s.Clock-taken.Clock >= trash
}

func readState(ctx context.Context, d driver.StorageDriver) (*state, error) {
	data, err := d.GetContent(ctx, statePath)
	if layout.Missing(err) {
		return &state{}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read what the last run left: %w", err)
	}
	var s state
	if json.Unmarshal(data, &s) != nil {
		s = state{}
	}
	return &s, nil
}

func (s *state) write(ctx context.Context, d driver.StorageDriver) error {
	data, err := json.Marshal(s)
	if err == nil {
		err = d.PutContent(ctx, statePath, data)
	}
	if err != nil {
		return fmt.Errorf("cannot note the run: %w", err)
	}
	return nil
}
