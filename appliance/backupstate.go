package appliance

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/redoubt-registry/redoubt/appliance/configuration/config"
	"github.com/redoubt-registry/redoubt/appliance/files"
	"github.com/redoubt-registry/redoubt/appliance/paths"
	"github.com/redoubt-registry/redoubt/appliance/storage/backup"
)

// saved are the directories that make the machine who it is: what clients trust, who they
// are, what the operator wrote. The audit log stays, as does what other machines share.
var saved = []string{paths.Operator, paths.CA, paths.Certificates, paths.ACME, paths.ClientCA, paths.Tokens, paths.Secrets}

// savedConfiguration is the configuration in force, in the archive. What the machine
// keeps of it is sealed with a key that another machine does not have.
const savedConfiguration = "configuration.yaml"

// ofThisMachine are files that mean nothing elsewhere: a lease would be held by nobody.
var ofThisMachine = regexp.MustCompile(`(^|/)(lease\.json|\.lock|lock|` + regexp.QuoteMeta(files.Temporary) + `[^/]*)$`)

// stateOf writes what the machine keeps, while no apply and no renewal changes it.
func (m *Machine) stateOf(ctx context.Context, now target) func(*tar.Writer) error {
	return func(w *tar.Writer) error {
		unlock, err := m.lockWithin(ctx, renewalPatience)
		if err != nil {
			return err
		}
		defer unlock()
		document, err := now.cfg.Document()
		if err != nil {
			return err
		}
		for _, name := range outside(document) {
			m.warn("%s is named by the configuration and not backed up: keep it below %s", name, paths.Operator)
		}
		h := &tar.Header{Typeflag: tar.TypeReg, Name: backup.StatePrefix + savedConfiguration, Mode: 0o600, Size: int64(len(document)), ModTime: m.Now()}
		if err := errors.Join(w.WriteHeader(h), second(w.Write(document))); err != nil {
			return fmt.Errorf("cannot back up the configuration: %w", err)
		}
		for _, dir := range saved {
			if err := m.saveDir(w, dir); err != nil {
				return fmt.Errorf("cannot back up %s: %w", dir, err)
			}
		}
		return nil
	}
}

func second(_ int, err error) error { return err }

var namedFile = regexp.MustCompile(`file:(/[A-Za-z0-9._/@+-]+)`)

// outside are the files that a configuration names and that no backup has.
func outside(document []byte) []string {
	var out []string
	for _, found := range namedFile.FindAllSubmatch(document, -1) {
		name := string(found[1])
		below := func(dir string) bool { return strings.HasPrefix(name, dir+"/") }
		if !slices.ContainsFunc(saved, below) && !slices.Contains(out, name) {
			out = append(out, name)
		}
	}
	return out
}

func (m *Machine) saveDir(w *tar.Writer, dir string) error {
	return filepath.WalkDir(filepath.Join(m.Root, dir), func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // never made, or removed meanwhile
		}
		if err != nil || ofThisMachine.MatchString(path) {
			return err
		}
		name, err := filepath.Rel(m.Root, path)
		if err != nil {
			return err
		}
		return save(w, path, backup.StatePrefix+name)
	})
}

func save(w *tar.Writer, path, name string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	link := ""
	var data []byte
	switch {
	case info.Mode()&fs.ModeSymlink != 0:
		link, err = os.Readlink(path)
	case info.Mode().IsRegular():
		data, err = os.ReadFile(path)
	case !info.IsDir():
		return nil // a socket, or a FIFO: nothing of ours
	}
	if err != nil {
		return err
	}
	h, err := tar.FileInfoHeader(info, link)
	if err != nil {
		return err
	}
	h.Name, h.Size = name, int64(len(data))
	return errors.Join(w.WriteHeader(h), second(w.Write(data)))
}

// unpack writes one file of an archive below dir. What would lie elsewhere, or is none of
// what a backup saves, is an error.
func unpack(dir string, h *tar.Header, content io.Reader) error {
	name := strings.TrimSuffix(h.Name, "/")
	part := func(dir string) bool { return name == dir[1:] || strings.HasPrefix(name, dir[1:]+"/") }
	if !filepath.IsLocal(name) || filepath.Clean(name) != name || name != savedConfiguration && !slices.ContainsFunc(saved, part) {
		return fmt.Errorf("%q is no part of a backup", h.Name)
	}
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	mode := fs.FileMode(h.Mode).Perm()
	switch h.Typeflag {
	case tar.TypeDir:
		if err := os.MkdirAll(path, 0o700); err != nil {
			return err
		}
		return errors.Join(own(path, h), os.Chmod(path, mode))
	case tar.TypeSymlink:
		if !filepath.IsLocal(filepath.Join(filepath.Dir(name), h.Linkname)) || filepath.IsAbs(h.Linkname) {
			return fmt.Errorf("%q links to elsewhere", h.Name)
		}
		return errors.Join(files.Link(h.Linkname, path), own(path, h))
	case tar.TypeReg:
		data, err := io.ReadAll(content)
		if err != nil {
			return err
		}
		return errors.Join(files.Write(path, data, mode, -1), own(path, h))
	}
	return fmt.Errorf("%q is of a kind that no backup has", h.Name)
}

// own gives a file its owner and group, by their names: another machine may have other
// numbers. Without a name the number counts.
func own(path string, h *tar.Header) error {
	uid, gid := h.Uid, h.Gid
	if u, err := user.Lookup(h.Uname); err == nil {
		uid, _ = strconv.Atoi(u.Uid) // which it is, on Linux
	}
	if g, err := user.LookupGroup(h.Gname); err == nil {
		gid, _ = strconv.Atoi(g.Gid)
	}
	return os.Lchown(path, uid, gid)
}

// restoredConfig is the configuration that was unpacked below dir.
func restoredConfig(dir string) (config.Layer, error) {
	data, err := os.ReadFile(filepath.Join(dir, savedConfiguration))
	if err != nil {
		return config.Layer{}, errors.New("cannot use the snapshot: it has no configuration")
	}
	layer := config.Layer{Name: paths.Restored, Data: data}
	if _, _, report := config.Parse([]config.Layer{layer}); report.Err() != nil {
		return layer, fmt.Errorf("cannot use the configuration of the snapshot:\n%w", report.Err())
	}
	return layer, nil
}
