package storagecheck

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/redoubt-registry/redoubt/appliance/files"
)

// marker is a file in the root with a random identity of the file system: a root that
// lost it is the empty directory under a disk that is not mounted.
const marker = ".redoubt-storage"

// errOther: this is not the file system with the images.
var errOther = errors.New("it is another file system")

// record is what the machine remembers of the file system, outside of it.
type record struct {
	Root string `json:"root"`
	ID   string `json:"id"`
	Used bool   `json:"used"` // there were images on it
}

// Other tells whether the root, as this process sees it, is certainly not the file
// system with the images. It writes nothing. A process in its own mount namespace keeps
// the mounts of its start: then the markers differ too.
func (d Directory) Other() bool {
	_, before, now, err := d.compare()
	another := before.Root == now.Root && before.ID != "" && now.ID != "" && now.ID != before.ID
	return err == nil && (another || other(before, now))
}

// other: there were images on the remembered file system, and this is another one. A file
// system with images but without a marker is the same: somebody deleted the marker.
func other(before, now record) bool {
	return before.Root == now.Root && before.Used && now.ID != before.ID && (now.ID != "" || !now.Used)
}

// compare reads what was remembered and what is there.
func (d Directory) compare() (path string, before, now record, err error) {
	path = filepath.Join(d.Root, marker)
	data, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return path, record{}, record{}, err
	}
	_, err = os.Stat(filepath.Join(d.Root, repositories))
	return path, d.remembered(), record{Root: d.Root, ID: strings.TrimSpace(string(data)), Used: err == nil}, nil
}

// identify checks that the root is the file system that it was. The first one is accepted,
// empty or not; so is another one as long as the one before held no images. Replacing one
// with images needs Adopt.
func (d Directory) identify() error {
	if d.Record == "" {
		return nil
	}
	path, before, now, err := d.compare()
	if err != nil {
		return err
	}
	if other(before, now) {
		return errOther
	}
	id, same := now.ID, before.Root == now.Root && before.ID != ""
	switch {
	case id == "" && same && now.Used: // somebody deleted the marker
		now.ID = before.ID
	case id == "":
		now.ID = rand.Text()
	}
	if id != now.ID && files.Write(path, []byte(now.ID+"\n"), fileMode, -1) != nil {
		return nil // it cannot be written to: put says why
	}
	now.Used = now.Used || same && now.ID == before.ID && before.Used
	if now != before {
		d.remember(now)
	}
	return nil
}

// remembered is the record; empty if it is missing or damaged.
func (d Directory) remembered() record {
	var r record
	data, err := os.ReadFile(d.Record)
	if err != nil || json.Unmarshal(data, &r) != nil {
		return record{}
	}
	return r
}

// remember writes the record if it can. Without a record the next check accepts the file
// system as it is.
func (d Directory) remember(r record) {
	if data, err := json.Marshal(r); err == nil {
		_ = files.Write(d.Record, append(data, '\n'), fileMode, -1)
	}
}

// Adopt accepts the file system that is mounted now as the machine's, whatever was there
// before.
func (d Directory) Adopt() error {
	if err := os.Remove(d.Record); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
