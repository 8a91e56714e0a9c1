// Package history keeps the configurations that a machine has served with:
// the last good one, for a boot without metadata, and a few before it, each
// under a number. They hold secrets: they are for root alone, and sealed.
package history

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strconv"
	"time"

	"github.com/redoubt-registry/redoubt/appliance/configuration/disk"
	"github.com/redoubt-registry/redoubt/appliance/configuration/plan"
	"github.com/redoubt-registry/redoubt/appliance/configuration/tree"
	"github.com/redoubt-registry/redoubt/appliance/paths"
)

// Where they lie.
const (
	keep       = 10 // generations, the newest with them
	configName = "config.sealed"
)

// Generation is one configuration that was served with.
type Generation struct {
	Number  int       `json:"-"`
	Applied time.Time `json:"applied"`
	Sources []string  `json:"sources"` // names of the layers that it came from
	// Back is the generation that it went back to: its document is that one's again.
	Back int `json:"back,omitempty"`
}

// Sealer keeps documents from whoever reads the disk on another machine.
type Sealer interface {
	Seal(data []byte) ([]byte, error)
	Open(sealed []byte) ([]byte, error)
}

// SealName is the name that the documents are sealed under.
const SealName = "redoubt.configuration"

// LastGood returns the document that was last served with, or nothing if there
// is none. One that cannot be opened, as on another system or another disk, is
// an error.
func LastGood(root string, s Sealer) ([]byte, error) { return open(root, s, paths.LastGood) }

func open(root string, s Sealer, path string) ([]byte, error) {
	files, err := disk.Read(root, []string{path})
	if err != nil || len(files) == 0 {
		return nil, err
	}
	document, err := s.Open(files[0].Data)
	if err != nil {
		return nil, fmt.Errorf("cannot use %s, so that it is as if there were none: another system has sealed it, or the key is gone: %w", path, err)
	}
	return document, nil
}

// Save makes document the last good one. If it is another than the newest
// generation it becomes a new one, and the oldest beyond a few are removed.
func Save(root string, s Sealer, document []byte, g Generation) (Generation, error) {
	numbers, err := list(root)
	if err != nil {
		return Generation{}, err
	}
	var sealed []byte
	last, lastErr := LastGood(root, s)
	newest := 0
	if len(numbers) > 0 {
		newest = numbers[len(numbers)-1]
	}
	have, err := open(root, s, file(newest, configName))
	same := err == nil && have != nil && bytes.Equal(have, document)
	kept := lastErr == nil && last != nil && bytes.Equal(last, document)
	if !same || !kept {
		if sealed, err = s.Seal(document); err != nil {
			return Generation{}, fmt.Errorf("cannot keep the generation: %w", err)
		}
	}
	var p plan.Plan
	if same {
		if g, err = read(root, newest); err != nil {
			return Generation{}, err
		}
	} else {
		g.Number = newest + 1
		meta, err := json.MarshalIndent(g, "", "  ")
		if err != nil {
			return Generation{}, fmt.Errorf("cannot keep the generation: %w", err)
		}
		p.Write = append(p.Write, directory(paths.Generations), directory(path.Join(paths.Generations, strconv.Itoa(g.Number))),
			private(file(g.Number, configName), sealed), private(file(g.Number, "generation.json"), append(meta, '\n')))
		for len(numbers) >= keep {
			n := numbers[0]
			p.Remove = append(p.Remove, file(n, configName), file(n, "generation.json"), path.Join(paths.Generations, strconv.Itoa(n)))
			numbers = numbers[1:]
		}
	}
	if !kept {
		p.Write = append(p.Write, directory(path.Dir(paths.LastGood)), private(paths.LastGood, sealed))
	}
	if p.Empty() {
		return g, nil
	}
	if err := disk.Commit(root, p); err != nil {
		return Generation{}, fmt.Errorf("cannot keep the generation: %w", err)
	}
	return g, nil
}

// Newest returns the newest generation; its number is 0 when there is none.
func Newest(root string) (Generation, error) {
	numbers, err := list(root)
	if err != nil || len(numbers) == 0 {
		return Generation{}, err
	}
	return read(root, numbers[len(numbers)-1])
}

// List returns the generations that there are, the newest first.
func List(root string) ([]Generation, error) {
	numbers, err := list(root)
	if err != nil {
		return nil, err
	}
	var out []Generation
	for _, n := range slices.Backward(numbers) {
		g, err := read(root, n)
		if err != nil {
			return nil, err
		}
		out = append(out, g)
	}
	return out, nil
}

// Document returns what the generation number was served with. One that is not there,
// or cannot be opened, is an error.
func Document(root string, s Sealer, number int) ([]byte, error) {
	document, err := open(root, s, file(number, configName))
	if err == nil && document == nil {
		err = fmt.Errorf("there is no generation %d: redoubt history lists them", number)
	}
	return document, err
}

// Sources returns the names of the layers that a generation came from.
func Sources(root string, number int) ([]string, error) {
	g, err := read(root, number)
	return g.Sources, err
}

func read(root string, number int) (Generation, error) {
	g := Generation{Number: number}
	files, err := disk.Read(root, []string{file(number, "generation.json")})
	if err != nil || len(files) == 0 {
		return g, err
	}
	if err := json.Unmarshal(files[0].Data, &g); err != nil {
		return g, fmt.Errorf("cannot read %s: %w", files[0].Path, err)
	}
	return g, nil
}

// list returns the numbers that there are in order.
func list(root string) ([]int, error) {
	entries, err := os.ReadDir(path.Join(root, paths.Generations))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("cannot list the generations: %w", err)
	}
	var numbers []int
	for _, e := range entries {
		if n, err := strconv.Atoi(e.Name()); err == nil && n > 0 && e.IsDir() {
			numbers = append(numbers, n)
		}
	}
	slices.Sort(numbers)
	return numbers, nil
}

func file(number int, name string) string {
	return path.Join(paths.Generations, strconv.Itoa(number), name)
}

func directory(p string) tree.File { return tree.File{Path: p, Mode: fs.ModeDir | 0o700} }

func private(p string, data []byte) tree.File { return tree.File{Path: p, Mode: 0o600, Data: data} }
