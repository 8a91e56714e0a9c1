// Package directory keeps the uploads of a store that is a directory, in front of
// distribution's own driver for one.
//
// Upstream lets any number of requests write to the file of one upload, and the
// file becomes the blob by a rename: who still has it open goes on writing into
// what was answered 201. Here an upload has one writer at a time, its file only
// grows, and nobody has it open when it has become a blob.
package directory

import (
	"context"
	"crypto/rand"
	"errors"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	storagedriver "github.com/distribution/distribution/v3/registry/storage/driver"
	middleware "github.com/distribution/distribution/v3/registry/storage/driver/middleware"

	"github.com/redoubt-registry/redoubt/appliance/storage/fault"
	"github.com/redoubt-registry/redoubt/appliance/storage/layout"
	"github.com/redoubt-registry/redoubt/appliance/storage/once"
)

// Name is what the middleware is called in distribution's middleware section.
// RootOption is the root directory of the store, UploadsOption an *Uploads that
// all configurations of a process share: an upload outlives a reload.
const (
	Name          = "redoubt-directory"
	RootOption    = "root"
	UploadsOption = "uploads"
)

// Register makes the middleware known to distribution. It may be called more than
// once.
func Register() {
	_ = middleware.Register(Name, install) // fails only when it is there already
}

func install(_ context.Context, d storagedriver.StorageDriver, options map[string]any) (storagedriver.StorageDriver, error) {
	root, ok := options[RootOption].(string)
	uploads, given := options[UploadsOption].(*Uploads)
	if !ok || !given {
		return nil, errors.New("cannot keep uploads: the root directory or the table of uploads is missing")
	}
	return New(d, root, uploads), nil
}

// New makes a driver of distribution's own one for the directory root. It notes
// the failures of the storage in the request (see fault).
func New(d storagedriver.StorageDriver, root string, uploads *Uploads) storagedriver.StorageDriver {
	return fault.Driver(&driver{StorageDriver: d, root: root, uploads: uploads})
}

type driver struct {
	storagedriver.StorageDriver
	root    string
	uploads *Uploads
}

func (d *driver) file(path string) string { return filepath.Join(d.root, path) }

// Writer implements storagedriver.StorageDriver. A writer of an upload's data
// that goes on takes the upload over with its first byte.
func (d *driver) Writer(ctx context.Context, path string, appending bool) (storagedriver.FileWriter, error) {
	dir, rest, ok := layout.Upload(path)
	if !ok || rest != layout.UploadData {
		return d.StorageDriver.Writer(ctx, path, appending)
	}
	w := &writer{ctx: ctx, name: d.file(path), key: d.file(dir), uploads: d.uploads}
	if !appending {
		return w, w.create()
	}
	info, err := os.Stat(w.name)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fault.Refuse(ctx, fault.UploadEnded)
	}
	if err != nil {
		return nil, err
	}
	w.size = info.Size()
	return w, nil
}

// PutContent implements storagedriver.StorageDriver. The state of an upload's hash
// is kept while the upload lasts. That of nothing, and that of what is complete,
// are of no use.
func (d *driver) PutContent(ctx context.Context, path string, content []byte) error {
	if once.Asked(ctx) {
		return d.create(path, content)
	}
	dir, rest, ok := layout.Upload(path)
	if !ok || !strings.HasPrefix(rest, layout.UploadStates) {
		return d.StorageDriver.PutContent(ctx, path, content)
	}
	if strings.HasSuffix(path, "/0") {
		return nil
	}
	return d.uploads.hold(d.file(dir), func(u *upload) error {
		_, err := os.Stat(d.file(dir + "/" + layout.UploadData))
		if u.sealed || errors.Is(err, os.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		return d.StorageDriver.PutContent(ctx, path, content)
	})
}

// create writes a file that is not there yet: whole, or not at all. It has the name of
// upstream's own temporary files until then.
func (d *driver) create(path string, content []byte) error {
	name := d.file(path)
	if err := os.MkdirAll(filepath.Dir(name), 0o777); err != nil {
		return err
	}
	temporary := name + "." + rand.Text() + ".tmp"
	defer os.Remove(temporary)
	f, err := os.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Link(temporary, name); errors.Is(err, fs.ErrExist) {
		return once.ErrExists
	} else if err != nil {
		return err
	}
	parent, err := os.Open(filepath.Dir(name))
	if err != nil {
		return err
	}
	return errors.Join(parent.Sync(), parent.Close())
}

// Move implements storagedriver.StorageDriver.
func (d *driver) Move(ctx context.Context, from, to string) error {
	dir, rest, ok := layout.Upload(from)
	if !ok || rest != layout.UploadData {
		return d.StorageDriver.Move(ctx, from, to)
	}
	return d.uploads.hold(d.file(dir), func(u *upload) error {
		u.revoke()
		err := d.StorageDriver.Move(ctx, from, to)
		if errors.As(err, new(storagedriver.PathNotFoundError)) { // purged
			return fault.Refuse(ctx, fault.UploadEnded)
		}
		return err
	})
}

// Delete implements storagedriver.StorageDriver.
func (d *driver) Delete(ctx context.Context, path string) error {
	dir, rest, ok := layout.Upload(path)
	if !ok || rest != "" {
		return d.StorageDriver.Delete(ctx, path)
	}
	return d.uploads.hold(d.file(dir), func(u *upload) error {
		u.revoke()
		u.sealed = false
		return d.StorageDriver.Delete(ctx, path)
	})
}

// Stat implements storagedriver.StorageDriver. A request that ends an upload asks
// whether the blob is there already, to drop what it has just verified then. Here
// that takes the place of what is there, which may be damaged.
func (d *driver) Stat(ctx context.Context, path string) (storagedriver.FileInfo, error) {
	if ends(ctx) && layout.IsBlob(path) {
		return nil, storagedriver.PathNotFoundError{Path: path, DriverName: d.Name()}
	}
	return d.StorageDriver.Stat(ctx, path)
}

// ends tells whether the request that ctx belongs to is one that ends an upload.
func ends(ctx context.Context) bool {
	r, _ := ctx.Value("http.request").(*http.Request) // upstream's key
	return r != nil && r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/blobs/uploads/")
}
