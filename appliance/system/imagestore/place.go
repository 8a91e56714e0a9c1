// Package imagestore opens the storage that a person names: the registry's own, a
// directory, or what a configuration file describes. Keys of buckets are never
// part of a name, since every user can see command lines.
package imagestore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/distribution/distribution/v3/configuration"
	"github.com/distribution/distribution/v3/registry/storage/driver"
	"github.com/distribution/distribution/v3/registry/storage/driver/filesystem"

	"github.com/redoubt-registry/redoubt/appliance/files"
	"github.com/redoubt-registry/redoubt/appliance/registryyml"
	"github.com/redoubt-registry/redoubt/appliance/storage/quota"
	"github.com/redoubt-registry/redoubt/appliance/storage/sharedstate"
)

// Configured is the name of the storage that the registry uses.
const Configured = "configured"

// Names says what a person may write.
const Names = `"configured" (what the registry uses), a directory, or a configuration FILE.yaml with a storage: section`

// Place is a storage.
type Place struct {
	Driver driver.StorageDriver
	Name   string            // for messages
	Root   string            // the directory, where it is one
	State  sharedstate.Store // for the lease of who changes it, and the count of quotas
	Quotas quota.Rules       // of the registry that uses it; others have none
	id     string            // the same for the same storage
}

// Finder finds places.
type Finder struct {
	Registry    string // path of registry.yml, which Configured means
	Credentials string // directory of systemd's credentials, for cred: in files
}

// Open opens the storage that name means. No bucket is asked anything yet.
func (f Finder) Open(ctx context.Context, name string) (*Place, error) {
	p, err := f.open(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("cannot use %s: %w", name, err)
	}
	return p, nil
}

func (f Finder) open(ctx context.Context, name string) (*Place, error) {
	if name == Configured {
		return f.configured(ctx)
	}
	path, isPath := strings.CutPrefix(name, "filesystem:")
	if !isPath && strings.HasPrefix(name, "s3:") {
		return nil, errors.New("a bucket needs keys, which do not belong on a command line: describe it as storage.s3 in a file, and name the file")
	}
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist) && !isPath && !strings.Contains(name, "/"):
		return nil, errors.New("there is no such file or directory here; write " + Names)
	case err != nil:
		return nil, files.Cause(err) // ErrNotExist among them
	case info.IsDir():
		return directory(path)
	case isPath:
		return nil, errors.New("it is no directory")
	}
	return f.file(ctx, path)
}

// directory is a storage in a file system.
func directory(path string) (*Place, error) {
	real, err := filepath.Abs(path)
	if err == nil {
		real, err = filepath.EvalSymlinks(real)
	}
	if err != nil {
		return nil, files.Cause(err)
	}
	d, err := filesystem.FromParameters(map[string]any{"rootdirectory": real})
	if err != nil {
		return nil, err
	}
	return &Place{Driver: d, Name: real, Root: real, State: sharedstate.Beside(real), id: real}, nil
}

// configured is what registry.yml says.
func (f Finder) configured(ctx context.Context) (*Place, error) {
	data, err := os.ReadFile(f.Registry)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("there is no %s: run it on the machine, after redoubt apply; elsewhere name a directory or a configuration file", f.Registry)
	case errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("only root may read %s: use sudo", f.Registry)
	case err != nil:
		return nil, fmt.Errorf("cannot read %s: %w", f.Registry, files.Cause(err))
	}
	storage, err := storageOf(data)
	if err != nil {
		return nil, fmt.Errorf("cannot read %s: %w", f.Registry, err)
	}
	place, err := open(ctx, storage, nil)
	if err != nil {
		return nil, err
	}
	c, err := registryyml.Read(data)
	if err == nil {
		place.Quotas, err = quota.Parse(c.Auth.Parameters()[quota.Option])
	}
	return place, err
}

// storageOf is the storage of a registry.yml.
func storageOf(data []byte) (configuration.Storage, error) {
	c, err := registryyml.Read(data)
	if err != nil || c.Storage.Type() == "" {
		return nil, errors.New("it is not the registry's configuration")
	}
	return c.Storage, nil
}

// Same tells whether two places are one storage, or one lies in the other, such as
// below a prefix of the same bucket.
func Same(a, b *Place) bool { return a.id == b.id }
