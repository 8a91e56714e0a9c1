package history

import (
	"encoding/json"
	"fmt"
	"path"
	"time"

	"github.com/redoubt-registry/redoubt/appliance/configuration/disk"
	"github.com/redoubt-registry/redoubt/appliance/configuration/plan"
	"github.com/redoubt-registry/redoubt/appliance/configuration/tree"
	"github.com/redoubt-registry/redoubt/appliance/paths"
)

// Hold says that the machine stays with a generation that it went back to, although the
// documents that it was given say something else.
type Hold struct {
	Generation int       `json:"generation"`
	Since      time.Time `json:"since"`
	// Documents is a digest of what the machine was given then. Other ones end the hold.
	Documents string `json:"documents"`
}

// Trial says that a configuration waits to be confirmed.
type Trial struct {
	Back  int       `json:"back"`  // the generation that comes back unless it is
	Until time.Time `json:"until"` // when that happens
}

// LoadHold returns the hold, or nil where there is none. One that another system has
// sealed is none: what it holds cannot be opened either.
func LoadHold(root string, s Sealer) (*Hold, error) {
	sealed, err := disk.Read(root, []string{paths.Hold})
	if err != nil || len(sealed) == 0 {
		return nil, err
	}
	data, err := s.Open(sealed[0].Data)
	if err != nil {
		return nil, nil
	}
	hold := new(Hold)
	if err := json.Unmarshal(data, hold); err != nil {
		return nil, fmt.Errorf("cannot read %s: %w; redoubt apply takes up the documents and removes it", paths.Hold, err)
	}
	return hold, nil
}

// SaveHold keeps a hold. It is sealed: a digest of documents with secrets lets whoever
// has it try guesses.
func SaveHold(root string, s Sealer, h Hold) error {
	data, err := json.Marshal(h)
	if err != nil {
		return fmt.Errorf("cannot write %s: %w", paths.Hold, err)
	}
	sealed, err := s.Seal(data)
	if err != nil {
		return fmt.Errorf("cannot write %s: %w", paths.Hold, err)
	}
	return disk.Commit(root, plan.Plan{Write: []tree.File{directory(path.Dir(paths.LastGood)), private(paths.Hold, sealed)}})
}

// EndHold removes the hold; that there is none is no error.
func EndHold(root string) error { return remove(root, paths.Hold) }

// LoadTrial returns the trial, or nil where there is none.
func LoadTrial(root string) (*Trial, error) {
	files, err := disk.Read(root, []string{paths.Trial})
	if err != nil || len(files) == 0 {
		return nil, err
	}
	trial := new(Trial)
	if err := json.Unmarshal(files[0].Data, trial); err != nil {
		return nil, fmt.Errorf("cannot read %s: %w; redoubt confirm removes it", paths.Trial, err)
	}
	return trial, nil
}

// SaveTrial keeps a trial: a machine that restarts meanwhile knows of it.
func SaveTrial(root string, t Trial) error {
	data, err := json.Marshal(t)
	if err != nil {
		return fmt.Errorf("cannot write %s: %w", paths.Trial, err)
	}
	return disk.Commit(root, plan.Plan{Write: []tree.File{directory(path.Dir(paths.LastGood)), private(paths.Trial, data)}})
}

// EndTrial removes the trial; that there is none is no error.
func EndTrial(root string) error { return remove(root, paths.Trial) }

func remove(root, name string) error {
	files, err := disk.Read(root, []string{name})
	if err != nil || len(files) == 0 {
		return err
	}
	return disk.Commit(root, plan.Plan{Remove: []string{name}})
}
