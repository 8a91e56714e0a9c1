package blob

import (
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

type files struct {
	root string

	mu    sync.Mutex
	wrong map[digest.Digest]os.FileInfo // files whose content is not what it must be
}

// Files are the blobs of a store that is a directory.
func Files(root string) Source { return &files{root: root, wrong: map[digest.Digest]os.FileInfo{}} }

func (s *files) open(_ *http.Request, desc v1.Descriptor) (io.ReadSeekCloser, int64, error) {
	f, err := os.Open(filepath.Join(s.root, layout.Path(desc.Digest)))
	if err != nil {
		return nil, 0, err
	}
	info, err := f.Stat()
	if err == nil && s.isWrong(desc.Digest, info) {
		err = fs.ErrNotExist
	}
	if err != nil {
		f.Close()
		return nil, 0, err
	}
	return f, info.Size(), nil
}

// isWrong tells whether a file is the one that was found damaged, and forgets that
// when another one has taken its place.
func (s *files) isWrong(dgst digest.Digest, info os.FileInfo) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	had, ok := s.wrong[dgst]
	if !ok {
		return false
	}
	if os.SameFile(had, info) && had.Size() == info.Size() && had.ModTime().Equal(info.ModTime()) {
		return true
	}
	delete(s.wrong, dgst)
	return false
}

func (s *files) damaged(f io.ReadSeeker, dgst digest.Digest) {
	file, ok := f.(*os.File)
	if !ok {
		return
	}
	info, err := file.Stat()
	if err != nil {
		return // it is found again
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wrong[dgst] = info
}
