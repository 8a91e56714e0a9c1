package fault

import (
	"context"
	"errors"
	"io"

	"github.com/distribution/distribution/v3/registry/storage/driver"
	middleware "github.com/distribution/distribution/v3/registry/storage/driver/middleware"
)

// Name is what the middleware is called in distribution's middleware section. It
// notes the failures of a storage driver that does not do so itself.
const Name = "redoubt-fault"

// Register makes the middleware known to distribution. It may be called more than
// once.
func Register() {
	_ = middleware.Register(Name, func(_ context.Context, d driver.StorageDriver, _ map[string]any) (driver.StorageDriver, error) {
		return watched{d}, nil
	}) // fails only when it is there already
}

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

// failed tells whether an error is the storage's fault, and not what was asked for.
func failed(err error) bool {
	if err == nil || errors.Is(err, io.EOF) || errors.Is(err, context.Canceled) {
		return false
	}
	for _, is := range []func() bool{
		as[driver.PathNotFoundError](err), as[driver.InvalidPathError](err),
		as[driver.InvalidOffsetError](err), as[driver.ErrUnsupportedMethod](err),
	} {
		if is() {
			return false
		}
	}
	return true
}

func as[T error](err error) func() bool {
	return func() bool {
		_, ok := errors.AsType[T](err)
		return ok
	}
}

// watched is a driver whose failures are noted.
type watched struct{ driver.StorageDriver }

func (w watched) note(ctx context.Context, err error) error {
	if failed(err) {
		Note(ctx, Cause(err))
	}
	return err
}

// lose is note where upstream may not look at the error.
func (w watched) lose(ctx context.Context, err error) error {
	if failed(err) {
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
	ended  bool
}

func (w *file) Write(p []byte) (int, error) {
	n, err := w.FileWriter.Write(p)
	return n, w.driver.lose(w.ctx, err)
}

// Close flushes what was written. Upstream does not look at what it returns, and
// calls it on what has ended too.
func (w *file) Close() error {
	err := w.FileWriter.Close()
	if w.ended {
		return err
	}
	w.ended = true
	return w.driver.lose(w.ctx, err)
}

func (w *file) Commit(ctx context.Context) error {
	return w.driver.lose(w.ctx, w.FileWriter.Commit(ctx))
}

func (w *file) Cancel(ctx context.Context) error {
	w.ended = true
	return w.driver.note(w.ctx, w.FileWriter.Cancel(ctx))
}
