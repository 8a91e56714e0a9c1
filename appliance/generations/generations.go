// Package generations keeps the configurations that a machine has served with:
// the last good one, for a boot without metadata, and a few before it, each
// under a number. They hold secrets and are for root alone.
package generations

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

	"github.com/redoubt-registry/redoubt/appliance/disk"
	"github.com/redoubt-registry/redoubt/appliance/plan"
	"github.com/redoubt-registry/redoubt/appliance/tree"
)

// Where they lie.
const (
	LastGoodPath = "/var/lib/redoubt/config/last-good.yaml"
	Dir          = "/var/lib/redoubt/generations"
	keep         = 5 // generations, the newest with them
)

// Generation is one configuration that was served with.
type Generation struct {
	Number  int       `json:"-"`
	Applied time.Time `json:"applied"`
	Sources []string  `json:"sources"` // names of the layers that it came from
}

// LastGood returns the document that was last served with, or nothing if there
// is none.
func LastGood(root string) ([]byte, error) {
	files, err := disk.Read(root, []string{LastGoodPath})
	if err != nil || len(files) == 0 {
		return nil, err
	}
	return files[0].Data, nil
}

// Save makes document the last good one. If it is another than the newest
// generation it becomes a new one, and the oldest beyond a few are removed.
func Save(root string, document []byte, g Generation) (Generation, error) {
	numbers, err := list(root)
	if err != nil {
		return Generation{}, err
	}
	var p plan.Plan
	newest := 0
	if len(numbers) > 0 {
		newest = numbers[len(numbers)-1]
	}
	if have, err := disk.Read(root, []string{file(newest, "config.yaml")}); err == nil && len(have) > 0 && bytes.Equal(have[0].Data, document) {
		if g, err = read(root, newest); err != nil {
			return Generation{}, err
		}
	} else {
		g.Number = newest + 1
		meta, err := json.MarshalIndent(g, "", "  ")
		if err != nil {
			return Generation{}, fmt.Errorf("cannot keep the generation: %w", err)
		}
		p.Write = append(p.Write, directory(Dir), directory(path.Join(Dir, strconv.Itoa(g.Number))),
			private(file(g.Number, "config.yaml"), document), private(file(g.Number, "generation.json"), append(meta, '\n')))
		for len(numbers) >= keep {
			n := numbers[0]
			p.Remove = append(p.Remove, file(n, "config.yaml"), file(n, "generation.json"), path.Join(Dir, strconv.Itoa(n)))
			numbers = numbers[1:]
		}
	}
	if last, err := LastGood(root); err != nil || !bytes.Equal(last, document) {
		p.Write = append(p.Write, directory(path.Dir(LastGoodPath)), private(LastGoodPath, document))
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
	entries, err := os.ReadDir(path.Join(root, Dir))
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

func file(number int, name string) string { return path.Join(Dir, strconv.Itoa(number), name) }

func directory(p string) tree.File { return tree.File{Path: p, Mode: fs.ModeDir | 0o700} }

func private(p string, data []byte) tree.File { return tree.File{Path: p, Mode: 0o600, Data: data} }
