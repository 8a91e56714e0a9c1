package neighbours

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"os"

	"github.com/redoubt-registry/redoubt/appliance/files"
	"github.com/redoubt-registry/redoubt/appliance/printable"
)

// Read reads what was seen of a storage; nothing, with a new Run, of another one or where
// nothing can be read: it is found out again.
func Read(path, storage string) State {
	s, err := readState(path)
	if err != nil || s.Storage != storage || s.Run == "" {
		return State{Storage: storage, Run: rand.Text()}
	}
	return s
}

// Problem is what the state in path says is wrong with a storage; empty if nothing. The
// registry's user writes it, and root prints it.
func Problem(path, storage string) (problem, unknown string) {
	s, err := readState(path)
	if err != nil || s.Storage != storage {
		return "", ""
	}
	return printable.Line(s.Problem()), printable.Line(s.Error)
}

func readState(path string) (s State, err error) {
	data, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(data, &s)
	}
	return s, err
}

// Write keeps s in path.
func (s State) Write(path string) error {
	data, err := json.MarshalIndent(s, "", "  ")
	if err == nil {
		err = files.Write(path, append(data, '\n'), 0o644, -1)
	}
	if err != nil {
		return fmt.Errorf("cannot keep what is known of other machines: %w", err)
	}
	return nil
}
