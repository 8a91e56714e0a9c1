package clientca

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/redoubt-registry/redoubt/appliance/files"
)

// RefusedFile is beside the authority's certificate while no certificate of it
// counts, and says why to its clients.
const RefusedFile = "refused"

// Damaged is a store that cannot be used, since a part of it cannot be read. It is
// left as it is: nothing but a backup or a person can say what was revoked.
type Damaged struct {
	Dir string
	Err error
}

func (d *Damaged) Error() string {
	return "cannot use the client CA in " + d.Dir + ", so that no certificate of it counts: " + d.Err.Error() +
		"; put the file back, or move the directory away, and all clients need new certificates"
}

// Unwrap is why it cannot be used.
func (d *Damaged) Unwrap() error { return d.Err }

// Refuse makes the registry refuse all certificates of the authority in dir, until
// Open finds nothing wrong.
func Refuse(dir string, gid int) error {
	const why = "the list of what it has issued and revoked is damaged\n"
	path := filepath.Join(dir, RefusedFile)
	if have, err := os.ReadFile(path); err == nil && string(have) == why {
		return nil
	}
	return files.Write(path, []byte(why), 0o640, gid)
}

// Refused says whether the registry refuses the certificates of the authority in dir.
func Refused(dir string) bool {
	_, err := os.Lstat(filepath.Join(dir, RefusedFile))
	return err == nil
}

// admit ends Refuse.
func (s *Store) admit() error {
	err := os.Remove(s.path(RefusedFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
