package cert

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/redoubt-registry/redoubt/appliance/files"
)

// current is the symbolic link to the generation in force.
const current = "current"

// Publish writes a pair as a new generation, a numbered directory under dir,
// and makes the link dir/current point to it in one step. Files, directories
// and link are synced before it returns: after a power cut the link names a
// whole pair, old or new. The generation that was in force before is kept,
// older ones are removed. When it fails the old generation stays in force.
func Publish(dir string, certPEM, key []byte, gid int) error {
	if _, err := ParsePair(certPEM, key); err != nil {
		return fmt.Errorf("cannot publish: %w", err)
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
	if err := writeGeneration(filepath.Join(dir, next), certPEM, key, gid); err != nil {
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

func writeGeneration(dir string, certPEM, key []byte, gid int) error {
	if err := os.Mkdir(dir, 0o750); err != nil {
		return fmt.Errorf("cannot make a certificate generation: %w", err)
	}
	if err := writeFile(filepath.Join(dir, tlsCertFile), certPEM, 0o644, gid); err != nil {
		return err
	}
	if err := writeFile(filepath.Join(dir, tlsKeyFile), key, 0o640, gid); err != nil {
		return err
	}
	if err := setOwners(dir, gid); err != nil {
		return err
	}
	if err := syncDir(dir); err != nil {
		return err
	}
	return syncDir(filepath.Dir(dir))
}

// setOwners gives a generation the modes and the group that a reader needs.
func setOwners(dir string, gid int) error {
	for name, mode := range map[string]os.FileMode{"": 0o750, tlsCertFile: 0o644, tlsKeyFile: 0o640} {
		path := filepath.Join(dir, name)
		if err := os.Chmod(path, mode); err != nil {
			return fmt.Errorf("cannot set a certificate's mode: %w", err)
		}
		if gid < 0 {
			continue
		}
		if err := os.Chown(path, -1, gid); err != nil {
			return fmt.Errorf("cannot set a certificate's group: %w", err)
		}
	}
	return nil
}

func flip(dir, target string) error {
	if err := files.Link(target, filepath.Join(dir, current)); err != nil {
		return fmt.Errorf("cannot publish the certificate: %w", err)
	}
	return nil
}

func writeFile(path string, data []byte, mode os.FileMode, gid int) error {
	return files.Write(path, data, mode, gid)
}

func syncDir(dir string) error { return files.SyncDir(dir) }

// makeDir makes a directory that others may look into, whatever the umask.
func makeDir(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	return os.Chmod(dir, 0o755)
}
