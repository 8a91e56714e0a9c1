package storagecheck

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/redoubt-registry/redoubt/appliance/files"
	"github.com/redoubt-registry/redoubt/appliance/storage/health"
)

const (
	// probes is the directory below the root that a check writes to.
	probes = "redoubt/health"
	// reserve is the space in bytes that must stay free: the machine's own state is
	// on the same disk, and the links of an image are written after its layers. On
	// a small disk it is a twentieth.
	reserve      = 64 << 20
	reserveFiles = 1000
	smallPart    = 20
	// litter is the age after which files and uploads of a killed check are removed.
	litter = 5 * time.Minute
	silent = "its disk does not answer"
	full   = "it is full"
	// sample is the number of bytes that a check writes.
	sample = 4096
	// fileMode is of all that a look writes: none of it is secret.
	fileMode = 0o644
)

// Directory keeps images in a directory of this machine.
type Directory struct {
	Root   string
	Record string // file with the identity of the file system; empty: none
	ID     string // of this machine: several may use the directory
}

func (d Directory) String() string { return d.Root }

func (d Directory) look(ctx context.Context, l *looker, _ map[string]health.Operation) {
	l.expect("root", "space", "get", "put", "list", "delete")
	at := func(name string, timeout time.Duration, without health.Grade) attempt {
		return attempt{name: name, timeout: timeout, without: without, explain: d.explain}
	}
	if l.try(ctx, at("root", quick, health.Down), d.checkRoot) != nil {
		return
	}
	var all sync.WaitGroup
	all.Go(func() { _ = l.try(ctx, at("space", quick, health.Degraded), d.checkSpace) })
	all.Go(func() { _ = l.try(ctx, at("get", patient, health.Down), d.get) })
	all.Go(func() { _ = l.try(ctx, at("list", patient, health.Degraded), d.list) })
	all.Go(func() {
		name := filepath.Join(d.Root, probes, d.ID, rand.Text())
		if l.try(ctx, at("put", patient, health.Degraded), func(context.Context) error { return put(name) }) == nil {
			_ = l.try(ctx, at("delete", quick, health.Degraded), func(context.Context) error { return d.remove(name) })
		}
	})
	all.Wait()
}

// errNoDirectory: the root is something else.
var errNoDirectory = errors.New("it is not a directory")

func (d Directory) checkRoot(context.Context) error {
	info, err := os.Stat(d.Root)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return errNoDirectory
	}
	return d.identify()
}

// errSpace: the disk is almost full.
var errSpace = errors.New("the disk is full")

func (d Directory) checkSpace(context.Context) error { return space(d.Root, 1) }

// space is errSpace if fewer bytes or files are free than times those that must be.
func space(root string, times uint64) error {
	var s syscall.Statfs_t
	if err := syscall.Statfs(root, &s); err != nil {
		return &fs.PathError{Op: "statfs", Path: root, Err: err}
	}
	block := uint64(s.Bsize) // never negative
	if free, least := s.Bavail*block, min(reserve, s.Blocks*block/smallPart); free < times*least {
		return fmt.Errorf("%w: %d MiB are free", errSpace, free>>20)
	}
	if s.Files > 0 && s.Ffree < times*min(reserveFiles, s.Files/smallPart) {
		return fmt.Errorf("%w: it holds no more files", errSpace)
	}
	return nil
}

// Full tells whether the disk of a directory has less room than pushes need.
func Full(root string) (bool, error) { return short(root, 1) }

// Roomy tells whether it has so much room that pushes do not fill it again at once.
func Roomy(root string) (bool, error) {
	is, err := short(root, 2)
	return !is && err == nil, err
}

func short(root string, times uint64) (bool, error) {
	err := space(root, times)
	if errors.Is(err, errSpace) {
		return true, nil
	}
	return false, err
}

// get reads the marker, which the first check that could write has made.
func (d Directory) get(context.Context) error {
	_, err := os.ReadFile(filepath.Join(d.Root, marker))
	if errors.Is(err, fs.ErrNotExist) {
		return nil // a file system that answers this can be read
	}
	return err
}

// list reads the top directory of the registry's own.
func (d Directory) list(context.Context) error {
	for _, path := range []string{repositories, "."} {
		f, err := os.Open(filepath.Join(d.Root, path))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		_, err = f.Readdirnames(1)
		f.Close()
		if err != nil && !errors.Is(err, io.EOF) { // the end: it is empty
			return err
		}
	}
	return nil
}

// repositories is where distribution keeps what it serves.
const repositories = "docker/registry/v2"

// put writes a file as the registry does, with fsync, and reads it again.
func put(name string) error {
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	data := make([]byte, sample)
	_, _ = rand.Read(data) // it never fails
	err := files.Write(name, data, fileMode, -1)
	if err == nil {
		var again []byte
		if again, err = os.ReadFile(name); err == nil && !bytes.Equal(again, data) {
			err = errors.New("it does not hold what was written")
		}
	}
	if err != nil {
		_ = os.Remove(name) // else the next check removes it
	}
	return err
}

// remove deletes what put wrote, and what a killed check left.
func (d Directory) remove(name string) error {
	if err := os.Remove(name); err != nil {
		return err
	}
	dir := filepath.Dir(name)
	left, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range left {
		info, err := e.Info()
		if err == nil && time.Since(info.ModTime()) > litter {
			_ = os.Remove(filepath.Join(dir, e.Name())) // the next check tries again
		}
	}
	return nil
}

// explain says what an error of the file system means for the operator.
func (d Directory) explain(err error) fault {
	const key = "storage.filesystem.root"
	is := func(errs ...error) bool {
		for _, e := range errs {
			if errors.Is(err, e) {
				return true
			}
		}
		return false
	}
	say := func(reason, key, format string, args ...any) fault {
		return fault{message: fmt.Sprintf(format, args...), key: key, reason: reason, sure: true}
	}
	switch {
	case is(errOther):
		return say("it is not mounted", "", "%s is not the file system that was there before: mount that one; if this one is meant, run: redoubt health --adopt", d.Root)
	case is(errNoDirectory, syscall.ENOTDIR):
		return say("it is missing", key, "%s is not a directory", d.Root)
	case is(errSpace):
		return say(full, "", "%v on %s: make the disk larger", err, d.Root)
	case is(syscall.ENOSPC, syscall.EDQUOT):
		return say(full, "", "the disk of %s is full: make it larger", d.Root)
	case is(syscall.EROFS):
		return say("it is read-only", "", "%s is mounted read-only: look for the disk's errors (journalctl -k), then mount it read-write", d.Root)
	case is(syscall.EACCES, syscall.EPERM):
		return say("it may not be used", "", "the registry may not use %s: %v; fix it with: chown -R redoubt-registry: %s", d.Root, err, d.Root)
	case is(fs.ErrNotExist):
		return say("it is missing", key, "%s is not there: mount its disk, or make the directory (redoubt apply)", d.Root)
	case is(context.DeadlineExceeded):
		return fault{message: fmt.Sprintf("the disk of %s does not answer: look for its errors (journalctl -k)", d.Root), reason: silent}
	}
	return fault{message: fmt.Sprintf("%s cannot be used: %v", d.Root, err), reason: "it fails"}
}
