package scrub

import (
	"sync"

	"github.com/opencontainers/go-digest"
)

// sizes remembers the sizes of blobs that are there, of a bounded number.
type sizes struct {
	mu    sync.Mutex
	known map[digest.Digest]int64
}

// remembered bounds sizes; a digest and its place in the map take about 200 bytes.
const remembered = 100_000

func (s *sizes) get(dgst digest.Digest) (int64, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	size, ok := s.known[dgst]
	return size, ok
}

func (s *sizes) put(dgst digest.Digest, size int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.known == nil || len(s.known) >= remembered {
		s.known = map[digest.Digest]int64{}
	}
	s.known[dgst] = size
}
