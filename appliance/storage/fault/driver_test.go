package fault_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"syscall"
	"testing"

	"github.com/distribution/distribution/v3"
	"github.com/distribution/distribution/v3/registry/api/errcode"
	"github.com/distribution/distribution/v3/registry/storage/driver"

	"github.com/redoubt-registry/redoubt/appliance/storage/fault"
)

// failing is a driver whose calls, and those of its writers, all give one error.
type failing struct {
	driver.StorageDriver
	err error
}

func (f failing) GetContent(context.Context, string) ([]byte, error)           { return nil, f.err }
func (f failing) PutContent(context.Context, string, []byte) error             { return f.err }
func (f failing) Stat(context.Context, string) (driver.FileInfo, error)        { return nil, f.err }
func (f failing) List(context.Context, string) ([]string, error)               { return nil, f.err }
func (f failing) Move(context.Context, string, string) error                   { return f.err }
func (f failing) Delete(context.Context, string) error                         { return f.err }
func (f failing) Reader(context.Context, string, int64) (io.ReadCloser, error) { return nil, f.err }
func (f failing) Writer(_ context.Context, path string, _ bool) (driver.FileWriter, error) {
	if path == "/opens" {
		return failingWriter(f), nil
	}
	return nil, f.err
}

type failingWriter failing

func (f failingWriter) Write([]byte) (int, error)    { return 0, f.err }
func (f failingWriter) Close() error                 { return f.err }
func (f failingWriter) Size() int64                  { return 0 }
func (f failingWriter) Cancel(context.Context) error { return f.err }
func (f failingWriter) Commit(context.Context) error { return f.err }

// methods are all ways in which upstream uses a driver.
var methods = map[string]func(ctx context.Context, d driver.StorageDriver){
	"GetContent": func(ctx context.Context, d driver.StorageDriver) { _, _ = d.GetContent(ctx, "/x") },
	"PutContent": func(ctx context.Context, d driver.StorageDriver) { _ = d.PutContent(ctx, "/x", nil) },
	"Reader":     func(ctx context.Context, d driver.StorageDriver) { _, _ = d.Reader(ctx, "/x", 0) },
	"Writer":     func(ctx context.Context, d driver.StorageDriver) { _, _ = d.Writer(ctx, "/x", true) },
	"Stat":       func(ctx context.Context, d driver.StorageDriver) { _, _ = d.Stat(ctx, "/x") },
	"List":       func(ctx context.Context, d driver.StorageDriver) { _, _ = d.List(ctx, "/x") },
	"Move":       func(ctx context.Context, d driver.StorageDriver) { _ = d.Move(ctx, "/x", "/y") },
	"Delete":     func(ctx context.Context, d driver.StorageDriver) { _ = d.Delete(ctx, "/x") },
	"Write":      onWriter(func(_ context.Context, w driver.FileWriter) { _, _ = w.Write([]byte("x")) }),
	"Close":      onWriter(func(_ context.Context, w driver.FileWriter) { _ = w.Close() }),
	"Commit":     onWriter(func(ctx context.Context, w driver.FileWriter) { _ = w.Commit(ctx) }),
	"Cancel":     onWriter(func(ctx context.Context, w driver.FileWriter) { _ = w.Cancel(ctx) }),
}

func onWriter(f func(context.Context, driver.FileWriter)) func(context.Context, driver.StorageDriver) {
	return func(ctx context.Context, d driver.StorageDriver) {
		w, err := d.Writer(ctx, "/opens", true)
		if err != nil {
			panic(err)
		}
		f(ctx, w)
	}
}

// Whatever a driver is asked, only the storage's own errors are blamed on it: all
// else leaves the answer as upstream gives it.
func TestWhoIsToBlame(t *testing.T) {
	file := func(errno syscall.Errno) error { return &os.PathError{Op: "open", Path: "/x", Err: errno} }
	own := []error{
		file(syscall.EIO), file(syscall.ENOSPC), file(syscall.EROFS), file(syscall.EDQUOT), file(syscall.EACCES), file(syscall.EMFILE),
		file(syscall.ESTALE), file(syscall.ETIMEDOUT), driver.Error{DriverName: "filesystem", Detail: file(syscall.EIO)},
		&os.LinkError{Op: "rename", Err: syscall.EXDEV}, context.DeadlineExceeded, os.ErrDeadlineExceeded, io.ErrShortWrite,
		fmt.Errorf("sync dir: %w", file(syscall.EIO)),
	}
	others := []error{
		nil, driver.PathNotFoundError{Path: "/x"}, driver.InvalidPathError{Path: "/x"}, driver.InvalidOffsetError{Path: "/x"},
		driver.ErrUnsupportedMethod{}, driver.Error{Detail: errors.New("already closed")}, errors.New("already closed"), errors.New("already committed"),
		errors.New("already cancelled"), os.ErrClosed, io.EOF, io.ErrUnexpectedEOF, io.ErrClosedPipe, context.Canceled,
		file(syscall.ENOENT), file(syscall.ENOTDIR), file(syscall.EISDIR), file(syscall.ENAMETOOLONG), file(syscall.EINVAL),
		errcode.ErrorCodeBlobUploadUnknown, errcode.ErrorCodeRangeInvalid.WithDetail("x"),
		distribution.ErrBlobUnknown, distribution.ErrBlobInvalidDigest{}, distribution.ErrBlobInvalidLength, distribution.ErrBlobUploadUnknown,
	}
	for method, call := range methods {
		for status := range map[int]bool{400: true, 404: true, 405: true, 409: true, 413: true, 416: true, 500: true} {
			for _, err := range own {
				if got := answer(call, err, status); got != http.StatusServiceUnavailable {
					t.Errorf("%s gave %v and upstream %d: %d", method, err, status, got)
				}
			}
			for _, err := range others {
				if got := answer(call, err, status); got != status {
					t.Errorf("%s gave %v and upstream %d: %d", method, err, status, got)
				}
			}
		}
	}
}

// answer is what a client gets where a call of the driver gives err, and upstream
// answers with a status.
func answer(call func(context.Context, driver.StorageDriver), err error, status int) int {
	h := fault.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		call(r.Context(), fault.Driver(failing{err: err}))
		w.WriteHeader(status)
	}), func(w http.ResponseWriter, _ error) { w.WriteHeader(http.StatusServiceUnavailable) })
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, httptest.NewRequest(http.MethodPut, "/", nil))
	return rec.Code
}

// A request that is refused is answered with the reason, and a success stays one.
func TestRefuse(t *testing.T) {
	for status, want := range map[int]int{500: 416, 404: 416, 202: 202} {
		h := fault.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if err := fault.Refuse(r.Context(), errcode.ErrorCodeRangeInvalid.WithDetail("x")); err == nil {
				t.Error("no error")
			}
			w.WriteHeader(status)
		}), func(http.ResponseWriter, error) { t.Error("the storage is blamed") })
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, httptest.NewRequest(http.MethodPatch, "/", nil))
		if rec.Code != want {
			t.Errorf("upstream %d: %d, want %d", status, rec.Code, want)
		}
	}
}
