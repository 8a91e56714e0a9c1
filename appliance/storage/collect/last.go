package collect

import (
	"encoding/json"
	"fmt"
	"os"
	"time"

	"github.com/redoubt-registry/redoubt/appliance/files"
	"github.com/redoubt-registry/redoubt/appliance/printable"
)

// Last is what the last run on a machine did, as it is kept in a file.
type Last struct {
	Summary
	Error    string    `json:"error,omitempty"`
	Failures int       `json:"failures"`      // in a row
	Good     time.Time `json:"good,omitzero"` // when the last one began that ended well
	// Early is when the trash was last purged before its time; the summary's figures of that
	// stay for a week.
	Early time.Time `json:"early,omitzero"`
}

// ReadLast reads the file at path; zero if there is none that can be read. The registry's
// user writes it, and root prints it.
func ReadLast(path string) (l Last) {
	data, err := os.ReadFile(path)
	if err != nil || json.Unmarshal(data, &l) != nil {
		return Last{}
	}
	l.Error = printable.Line(l.Error)
	return l
}

// earlyShown is how long people are reminded that the trash was purged before its time.
const earlyShown = 7 * 24 * time.Hour

// After is what is kept after a run that follows l.
func (l Last) After(sum Summary, failed error) Last {
	early := sum.At
	if sum.EarlyBlobs == 0 {
		early = l.Early
		sum.EarlyBlobs, sum.EarlyBytes = l.EarlyBlobs, l.EarlyBytes
		if sum.At.Sub(early).Abs() > earlyShown {
			early, sum.EarlyBlobs, sum.EarlyBytes = time.Time{}, 0, 0
		}
	}
	if failed == nil {
		return Last{Summary: sum, Good: sum.At, Early: early}
	}
	sum.TrashBlobs, sum.TrashBytes = l.TrashBlobs, l.TrashBytes
	return Last{Summary: sum, Good: l.Good, Error: failed.Error(), Failures: l.Failures + 1, Early: early}
}

// Write writes the file.
func (l Last) Write(path string) error {
	data, err := json.Marshal(l)
	if err == nil {
		err = files.Write(path, append(data, '\n'), 0o644, -1)
	}
	if err != nil {
		return fmt.Errorf("cannot keep what was done: %w", err)
	}
	return nil
}
