package storage

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// marker is a file in the root with a name of its own for the file system: a root
// without it, where one was, is an empty directory under a disk that is not mounted.
const marker = ".redoubt-storage"

// errOther: this is another file system than the one that images lie on.
var errOther = errors.New("it is another file system")

// record remembers the file system, outside of it.
type record struct {
	Root string `json:"root"`
	ID   string `json:"id"`
	Used bool   `json:"used"` // there were images on it
}

// identify says whether the root is the file system that it was. A new one is taken as
// it is, empty or not; so is another one as long as there were no images on the one
// before. Who replaces one with images says so with Adopt.
func (d Directory) identify() error {
	path := filepath.Join(d.Root, marker)
	data, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	id := strings.TrimSpace(string(data))
	_, err = os.Stat(filepath.Join(d.Root, repositories))
	now := record{Root: d.Root, ID: id, Used: err == nil}
	if d.Record == "" {
		return nil
	}
	before := d.remembered()
	known := before.Root == d.Root && before.ID != ""
	switch {
	case known && id == "" && now.Used: // somebody has deleted it
		now.ID = before.ID
	case known && id != before.ID && before.Used:
		return errOther
	case id == "":
		now.ID = rand.Text()
	}
	if id != now.ID && writeFile(path, []byte(now.ID+"\n")) != nil {
		return nil // it cannot be written to: put says why
	}
	if now.Used = now.Used || known && id == before.ID && before.Used; now != before {
		d.remember(now)
	}
	return nil
}

// remembered is the record; one that is missing or damaged knows nothing.
func (d Directory) remembered() record {
	var r record
	data, err := os.ReadFile(d.Record)
	if err != nil || json.Unmarshal(data, &r) != nil {
		return record{}
	}
	return r
}

// remember keeps the record where that can be done. Without it the next look takes
// the file system as it is.
func (d Directory) remember(r record) {
	if data, err := json.Marshal(r); err == nil {
		_ = writeFile(d.Record, append(data, '\n'))
	}
}

// Adopt takes the file system that is there now for the machine's, whatever was there
// before.
func (d Directory) Adopt() error {
	if err := os.Remove(d.Record); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
