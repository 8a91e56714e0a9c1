package backup

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/redoubt-registry/redoubt/appliance/files"
	"github.com/redoubt-registry/redoubt/appliance/printable"
)

// Last is how the last run on a machine went, as it is kept in a file.
type Last struct {
	Began     time.Time `json:"began"`
	Seconds   float64   `json:"seconds"`
	Good      time.Time `json:"good,omitzero"`      // when the newest whole snapshot was taken
	Snapshots int       `json:"snapshots"`          // at the place
	Bytes     int64     `json:"bytes"`              // of the images of the newest one
	NewBytes  int64     `json:"newBytes"`           // of these, what the last run has put there
	Verified  time.Time `json:"verified,omitzero"`  // when a snapshot was last read with a key
	Error     string    `json:"error,omitempty"`    // of the last run
	Failures  int       `json:"failures,omitempty"` // in a row
}

// ReadLast reads the file at path; zero if there is none that can be read.
func ReadLast(path string) (l Last) {
	data, err := os.ReadFile(path)
	if err != nil || json.Unmarshal(data, &l) != nil {
		return Last{}
	}
	l.Error = printable.Line(l.Error)
	return l
}

// Write writes the file, which every user may read.
func (l Last) Write(path string) error {
	data, err := json.Marshal(l)
	if err == nil {
		err = os.MkdirAll(filepath.Dir(path), 0o755)
	}
	if err == nil {
		err = files.Write(path, append(data, '\n'), 0o644, -1)
	}
	if err != nil {
		return fmt.Errorf("cannot keep how the backup went: %w", err)
	}
	return nil
}
