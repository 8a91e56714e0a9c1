package directory

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"sync"

	"github.com/redoubt-registry/redoubt/appliance/storage/fault"
)

// Uploads are those that requests are at, by their directories. Several processes
// do not share a store that is a directory.
type Uploads struct {
	mu    sync.Mutex
	byDir map[string]*upload
}

// NewUploads makes a table without an upload.
func NewUploads() *Uploads { return &Uploads{byDir: map[string]*upload{}} }

// upload is what its requests have in common.
type upload struct {
	users int // who holds it; guarded by the table's lock

	mu     sync.Mutex // held for each call of the disk
	writer *writer    // the one; nil: none
	sealed bool       // its content is complete: it becomes a blob, or goes
}

// revoke closes the writer, if there is one: it writes no more.
func (u *upload) revoke() {
	if u.writer != nil {
		_ = u.writer.file.Close() // who ends the upload syncs
		u.writer = nil
	}
}

// hold calls f while nobody else is at an upload.
func (t *Uploads) hold(dir string, f func(*upload) error) error {
	u := t.get(dir)
	defer t.put(dir, u)
	u.mu.Lock()
	defer u.mu.Unlock()
	return f(u)
}

func (t *Uploads) get(dir string) *upload {
	t.mu.Lock()
	defer t.mu.Unlock()
	u, ok := t.byDir[dir]
	if !ok {
		u = &upload{}
		t.byDir[dir] = u
	}
	u.users++
	return u
}

// put forgets an upload that nobody is at. One that is sealed is remembered until
// it is deleted.
func (t *Uploads) put(dir string, u *upload) {
	t.mu.Lock()
	defer t.mu.Unlock()
	u.users--
	if u.users == 0 && u.writer == nil && !u.sealed {
		delete(t.byDir, dir)
	}
}

// writer implements storagedriver.FileWriter. What it has written is in the file
// at once, so that a hash of what was written is one of the file.
type writer struct {
	ctx     context.Context // of the request
	name    string          // of the file
	key     string          // of the upload
	uploads *Uploads
	size    int64 // of the file when it was found, and what was written since

	file                    *os.File // nil: nothing was written yet
	closed, committed, lost bool
}

// create begins an upload.
func (w *writer) create() error {
	if err := os.MkdirAll(filepath.Dir(w.name), 0o777); err != nil {
		return err
	}
	f, err := os.OpenFile(w.name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o666)
	if err != nil {
		return err
	}
	return f.Close()
}

// take makes w the writer of the upload, if nobody has written since it was found.
// The upload is held.
func (w *writer) take(u *upload) error {
	switch {
	case w.file != nil && u.writer == w:
		return nil
	case w.file != nil || w.lost:
		w.lost = true
		return w.refuse()
	case u.sealed:
		w.lost = true
		return fault.Refuse(w.ctx, fault.UploadEnded)
	}
	f, err := os.OpenFile(w.name, os.O_WRONLY, 0)
	if errors.Is(err, os.ErrNotExist) {
		return fault.Refuse(w.ctx, fault.UploadEnded)
	}
	if err != nil {
		return err
	}
	end, err := f.Seek(0, io.SeekEnd)
	if err == nil && end != w.size {
		w.lost, err = true, fault.Refuse(w.ctx, fault.UploadTaken)
	}
	if err != nil {
		f.Close()
		return err
	}
	u.revoke()
	w.file, u.writer = f, w
	return nil
}

// refuse says what has become of the upload.
func (w *writer) refuse() error {
	if _, err := os.Stat(w.name); errors.Is(err, os.ErrNotExist) {
		return fault.Refuse(w.ctx, fault.UploadEnded)
	}
	return fault.Refuse(w.ctx, fault.UploadTaken)
}

// Size implements storagedriver.FileWriter.
func (w *writer) Size() int64 { return w.size }

// Write implements io.Writer.
func (w *writer) Write(p []byte) (n int, err error) {
	if w.closed || w.committed {
		return 0, os.ErrClosed
	}
	err = w.uploads.hold(w.key, func(u *upload) error {
		if err := w.take(u); err != nil {
			return err
		}
		n, err = w.file.Write(p)
		w.size += int64(n)
		return err
	})
	return n, err
}

// Close implements io.Closer: what was written is kept, and may be gone on with.
func (w *writer) Close() error {
	if w.closed {
		return nil
	}
	w.closed = true
	return w.uploads.hold(w.key, func(u *upload) error {
		if w.file == nil || u.writer != w { // it wrote nothing, or another one goes on
			return nil
		}
		var err error
		if !w.committed {
			err = w.file.Sync()
		}
		u.writer = nil
		return errors.Join(err, w.file.Close())
	})
}

// Commit implements storagedriver.FileWriter. Nothing is written to the upload
// afterwards.
func (w *writer) Commit(context.Context) error {
	if w.closed || w.committed {
		return os.ErrClosed
	}
	return w.uploads.hold(w.key, func(u *upload) error {
		if err := w.take(u); err != nil {
			return err
		}
		if err := w.file.Sync(); err != nil {
			return err
		}
		w.committed, u.sealed = true, true
		return nil
	})
}

// Cancel implements storagedriver.FileWriter. Upstream deletes the upload's
// directory next, so that there is nothing to do after a Commit.
func (w *writer) Cancel(context.Context) error {
	if w.committed {
		return nil
	}
	return w.uploads.hold(w.key, func(u *upload) error {
		if w.lost || w.file != nil && u.writer != w || u.sealed {
			return w.refuse() // it is another one's now
		}
		w.closed = true
		u.revoke()
		err := os.Remove(w.name)
		if errors.Is(err, os.ErrNotExist) {
			return fault.Refuse(w.ctx, fault.UploadEnded)
		}
		return err
	})
}
