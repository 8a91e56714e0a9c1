package audit

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"sync"

	"github.com/redoubt-registry/redoubt/appliance/files"
)

// File is a sink that is a file. When it is full it becomes path.1, and what was path.1
// path.2, and so on. It is for one process.
type File struct {
	path string
	size int64
	keep int

	mu   sync.Mutex // of err
	err  error
	f    *os.File
	have int64
}

// NewFile makes a sink of the file path, which begins again after size bytes; keep full
// ones stay. It opens the file with the first line.
func NewFile(path string, size int64, keep int) *File {
	return &File{path: path, size: size, keep: keep}
}

// Write implements Sink.
func (f *File) Write(lines []byte) error {
	err := f.write(lines)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.err = err
	return err
}

// Err is why the last lines are not in the file, or nil.
func (f *File) Err() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.err
}

func (f *File) write(lines []byte) error {
	if f.f == nil {
		if err := f.open(); err != nil {
			return err
		}
	}
	if f.have > 0 && f.have+int64(len(lines)) > f.size {
		f.Close()
		if err := f.rotate(); err != nil {
			return err
		}
		if err := f.open(); err != nil {
			return err
		}
	}
	n, err := f.f.Write(lines)
	f.have += int64(n)
	if err != nil {
		f.Close()
		return fmt.Errorf("cannot write the audit log to its file: %w", files.Cause(err))
	}
	return nil
}

func (f *File) open() error {
	if err := os.MkdirAll(filepath.Dir(f.path), 0o750); err != nil {
		return fmt.Errorf("cannot write the audit log to its file: %w", files.Cause(err))
	}
	file, err := os.OpenFile(f.path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o640)
	if err != nil {
		return fmt.Errorf("cannot write the audit log to its file: %w", files.Cause(err))
	}
	info, err := file.Stat()
	if err != nil {
		file.Close()
		return fmt.Errorf("cannot write the audit log to its file: %w", files.Cause(err))
	}
	f.f, f.have = file, info.Size()
	return nil
}

// rotate shifts the full files by one. The oldest one goes.
func (f *File) rotate() error {
	numbered := func(n int) string { return f.path + "." + strconv.Itoa(n) }
	for n := f.keep; n >= 1; n-- {
		from := numbered(n - 1)
		if n == 1 {
			from = f.path
		}
		if err := files.Rename(from, numbered(n)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("cannot begin a new file of the audit log: %w", files.Cause(err))
		}
	}
	return nil
}

// Close closes the file; the next line opens it again.
func (f *File) Close() {
	if f.f != nil {
		_ = f.f.Close()
		f.f = nil
	}
}
