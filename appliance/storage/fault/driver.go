package fault

import (
	"context"
	"errors"
	"io"
	"os"
	"slices"
	"syscall"

	"github.com/distribution/distribution/v3/registry/storage/driver"
)

// Driver makes a driver that notes its failures in the request that its context
// belongs to. It is for drivers that do not do so themselves.
func Driver(d driver.StorageDriver) driver.StorageDriver { return watched{d} }

// Cause is what a driver failed with, without distribution's words around it.
func Cause(err error) error {
	for {
		wrapped, ok := errors.AsType[driver.Error](err)
		if !ok || wrapped.Detail == nil {
			return err
		}
		err = wrapped.Detail
	}
}

// inputs are errors of the operating system that only say what was asked for: a
// name that is too long, or a directory where a file was meant.
var inputs = []syscall.Errno{
	syscall.ENOENT, syscall.ENOTDIR, syscall.EISDIR, syscall.EEXIST, syscall.ENOTEMPTY, syscall.ENAMETOOLONG, syscall.EINVAL,
}

// Own tells whether an error is the storage's own: the operating system reports
// it (input and output, no room, read-only, no access), or the time is up. All
// other errors say what was asked for, or come of how upstream asks.
func Own(err error) bool {
	err = Cause(err)
	if errno, ok := errors.AsType[syscall.Errno](err); ok {
		return !slices.Contains(inputs, errno)
	}
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, io.ErrShortWrite)
}

// watched is a driver whose failures are noted.
type watched struct{ driver.StorageDriver }

func (w watched) note(ctx context.Context, err error) error {
	if Own(err) {
		Note(ctx, Cause(err))
	}
	return err
}

// lose is note where upstream may not look at the error.
func (w watched) lose(ctx context.Context, err error) error {
	if Own(err) {
		Lose(ctx, Cause(err))
	}
	return err
}

func (w watched) GetContent(ctx context.Context, path string) ([]byte, error) {
	data, err := w.StorageDriver.GetContent(ctx, path)
	return data, w.note(ctx, err)
}

func (w watched) PutContent(ctx context.Context, path string, data []byte) error {
	return w.lose(ctx, w.StorageDriver.PutContent(ctx, path, data))
}

func (w watched) Reader(ctx context.Context, path string, offset int64) (io.ReadCloser, error) {
	r, err := w.StorageDriver.Reader(ctx, path, offset)
	return r, w.note(ctx, err)
}

func (w watched) Stat(ctx context.Context, path string) (driver.FileInfo, error) {
	info, err := w.StorageDriver.Stat(ctx, path)
	return info, w.note(ctx, err)
}

func (w watched) List(ctx context.Context, path string) ([]string, error) {
	names, err := w.StorageDriver.List(ctx, path)
	return names, w.note(ctx, err)
}

func (w watched) Move(ctx context.Context, from, to string) error {
	return w.lose(ctx, w.StorageDriver.Move(ctx, from, to))
}

func (w watched) Delete(ctx context.Context, path string) error {
	return w.note(ctx, w.StorageDriver.Delete(ctx, path))
}

func (w watched) Writer(ctx context.Context, path string, appends bool) (driver.FileWriter, error) {
	f, err := w.StorageDriver.Writer(ctx, path, appends)
	if err != nil {
		return nil, w.note(ctx, err)
	}
	return &file{FileWriter: f, driver: w, ctx: ctx}, nil
}

// file is a FileWriter whose failures are noted.
type file struct {
	driver.FileWriter
	driver watched
	ctx    context.Context // the request's
}

func (w *file) Write(p []byte) (int, error) {
	n, err := w.FileWriter.Write(p)
	return n, w.driver.lose(w.ctx, err)
}

// Close flushes what was written. Upstream does not look at what it returns.
func (w *file) Close() error { return w.driver.lose(w.ctx, w.FileWriter.Close()) }

func (w *file) Commit(ctx context.Context) error {
	return w.driver.lose(w.ctx, w.FileWriter.Commit(ctx))
}

func (w *file) Cancel(ctx context.Context) error {
	return w.driver.note(w.ctx, w.FileWriter.Cancel(ctx))
}
