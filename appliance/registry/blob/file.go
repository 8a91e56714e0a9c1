package blob

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"sync"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/redoubt-registry/redoubt/appliance/storage/layout"
)

// maxVerdicts bounds what is remembered of files that were read to their end.
const maxVerdicts = 10_000

// files are the blobs of a store that is a directory.
type files struct {
	root string

	mu       sync.Mutex
	verdicts map[digest.Digest]verdict
}

// verdict is whether a file has the content that its digest says.
type verdict struct {
	file  os.FileInfo
	right bool
}

// Files are the blobs of a store that is a directory.
func Files(root string) Source { return &files{root: root, verdicts: map[digest.Digest]verdict{}} }

// open implements Source. A blob that was found damaged is not there.
func (s *files) open(_ *http.Request, desc v1.Descriptor) (io.ReadSeekCloser, int64, error) {
	f, err := os.Open(filepath.Join(s.root, layout.Path(desc.Digest)))
	if err != nil {
		return nil, 0, err
	}
	info, err := f.Stat()
	if right, known := s.known(desc.Digest, info); err == nil && known && !right {
		err = fs.ErrNotExist
	}
	if err != nil {
		f.Close()
		return nil, 0, err
	}
	return f, info.Size(), nil
}

// right implements Source.
func (s *files) right(f io.ReadSeeker, dgst digest.Digest) (bool, error) {
	file, ok := f.(*os.File)
	if !ok {
		return verifies(f, dgst)
	}
	info, err := file.Stat()
	if err != nil {
		return false, fmt.Errorf("cannot read a blob: %w", err)
	}
	if right, known := s.known(dgst, info); known {
		return right, nil
	}
	right, err := verifies(f, dgst)
	if err == nil {
		s.remember(dgst, verdict{info, right})
	}
	return right, err
}

// known is the verdict on a file, if there is one.
func (s *files) known(dgst digest.Digest, info os.FileInfo) (right, known bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	v, ok := s.verdicts[dgst]
	if !ok || info == nil || !os.SameFile(v.file, info) || v.file.Size() != info.Size() || !v.file.ModTime().Equal(info.ModTime()) {
		return false, false
	}
	return v.right, true
}

func (s *files) remember(dgst digest.Digest, v verdict) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for d := range s.verdicts {
		if len(s.verdicts) < maxVerdicts {
			break
		}
		delete(s.verdicts, d) // it is found again
	}
	s.verdicts[dgst] = v
}

// damaged implements Source: a manifest says how large a blob must be.
func (s *files) damaged(desc v1.Descriptor) (bool, error) {
	f, size, err := s.open(nil, desc)
	if errors.Is(err, fs.ErrNotExist) {
		_, err := os.Stat(filepath.Join(s.root, layout.Path(desc.Digest)))
		return err == nil, nil // what is not there at all is for others to say
	}
	if err != nil {
		return false, fmt.Errorf("cannot open a blob: %w", err)
	}
	defer f.Close()
	if size == desc.Size {
		return false, nil
	}
	right, err := s.right(f, desc.Digest)
	return !right, err
}

// alias implements Source: one file with two names. What is there already with another
// size is damaged, and gives way.
func (s *files) alias(_ context.Context, from, to digest.Digest) error {
	source, target := filepath.Join(s.root, layout.Path(from)), filepath.Join(s.root, layout.Path(to))
	if err := os.MkdirAll(filepath.Dir(target), 0o777); err != nil { // as upstream does
		return fmt.Errorf("cannot keep a blob: %w", err)
	}
	for {
		err := os.Link(source, target)
		if err == nil {
			return nil
		}
		if !errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("cannot keep a blob: %w", err)
		}
		want, errWant := os.Stat(source)
		have, errHave := os.Stat(target)
		if errWant == nil && errHave == nil && want.Size() == have.Size() {
			return nil
		}
		if err := errors.Join(errWant, os.Remove(target)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("cannot keep a blob: %w", err)
		}
	}
}
