package cert

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/redoubt-registry/redoubt/appliance/files"
)

// current is the symbolic link to the generation in force.
const current = "current"

// Pair is a server's chain and its key, in PEM.
type Pair struct{ Chain, Key []byte }

// Publish writes pairs as a new generation, a numbered directory under dir,
// and makes the link dir/current point to it in one step. The first pair is for
// clients that none of the others is for. Files, directories
// and link are synced before it returns: after a power cut the link names a
// whole generation, old or new. The generation that was in force before is kept,
// older ones are removed. When it fails the old generation stays in force. The
// keys are readable by group gid; -1 leaves the group alone.
func Publish(dir string, gid int, pairs ...Pair) error {
	if len(pairs) == 0 {
		return errors.New("cannot publish: there is no certificate")
	}
	for _, p := range pairs {
		if _, err := ParsePair(p.Chain, p.Key); err != nil {
			return fmt.Errorf("cannot publish: %w", err)
		}
	}
	if err := makeDir(dir); err != nil {
		return fmt.Errorf("cannot make the certificate directory: %w", err)
	}
	old, _ := os.Readlink(filepath.Join(dir, current)) // none yet is fine
	generations, err := listGenerations(dir)
	if err != nil {
		return err
	}
	next := "1"
	if n := len(generations); n > 0 {
		next = strconv.Itoa(generations[n-1] + 1)
	}
	if err := writeGeneration(filepath.Join(dir, next), pairs, gid); err != nil {
		return errors.Join(err, os.RemoveAll(filepath.Join(dir, next)))
	}
	if err := flip(dir, next); err != nil {
		return err
	}
	for _, g := range generations {
		if name := strconv.Itoa(g); name != old {
			if err := os.RemoveAll(filepath.Join(dir, name)); err != nil {
				return fmt.Errorf("cannot remove an old certificate: %w", err)
			}
		}
	}
	return nil
}

// listGenerations returns the numbers in dir in order.
func listGenerations(dir string) ([]int, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("cannot list certificates: %w", err)
	}
	var numbers []int
	for _, e := range entries {
		if n, err := strconv.Atoi(e.Name()); err == nil && e.IsDir() && n > 0 {
			numbers = append(numbers, n)
		}
	}
	slices.SortFunc(numbers, cmp.Compare[int])
	return numbers, nil
}

func writeGeneration(dir string, pairs []Pair, gid int) error {
	if err := os.Mkdir(dir, 0o750); err != nil {
		return fmt.Errorf("cannot make a certificate generation: %w", err)
	}
	for i, p := range pairs {
		if err := files.Write(filepath.Join(dir, numbered(tlsCertFile, i+1)), p.Chain, certMode, gid); err != nil {
			return err
		}
		if err := files.Write(filepath.Join(dir, numbered(tlsKeyFile, i+1)), p.Key, keyMode, gid); err != nil {
			return err
		}
	}
	if err := setOwner(dir, 0o750, gid); err != nil {
		return err
	}
	if err := files.SyncDir(dir); err != nil {
		return err
	}
	return files.SyncDir(filepath.Dir(dir))
}

// numbered is the name of file number n of a kind: tls.crt, tls-2.crt, tls-3.crt.
func numbered(file string, n int) string {
	if n == 1 {
		return file
	}
	extension := filepath.Ext(file)
	return fmt.Sprintf("%s-%d%s", strings.TrimSuffix(file, extension), n, extension)
}

const (
	certMode = 0o644
	keyMode  = 0o640
)

// SetOwners gives the generation in force the modes and the group that a reader
// needs.
func SetOwners(dir string, gid int) error {
	dir = filepath.Join(dir, current)
	if err := setOwner(dir, 0o750, gid); err != nil {
		return err
	}
	for n := 1; ; n++ {
		err := setOwner(filepath.Join(dir, numbered(tlsCertFile, n)), certMode, gid)
		if n > 1 && errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err == nil {
			err = setOwner(filepath.Join(dir, numbered(tlsKeyFile, n)), keyMode, gid)
		}
		if err != nil {
			return err
		}
	}
}

func setOwner(path string, mode os.FileMode, gid int) error {
	if err := os.Chmod(path, mode); err != nil {
		return fmt.Errorf("cannot set a certificate's mode: %w", err)
	}
	if gid < 0 {
		return nil
	}
	if err := os.Chown(path, -1, gid); err != nil {
		return fmt.Errorf("cannot set a certificate's group: %w", err)
	}
	return nil
}

func flip(dir, target string) error {
	if err := files.Link(target, filepath.Join(dir, current)); err != nil {
		return fmt.Errorf("cannot publish the certificate: %w", err)
	}
	return nil
}

// makeDir makes a directory that others may look into, whatever the umask.
func makeDir(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	return os.Chmod(dir, 0o755)
}
