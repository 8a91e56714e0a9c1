package trash

import (
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
)

// recent remembers for a time what was found. One for no time remembers nothing.
type recent[K comparable] struct {
	found *lru.Cache[K, time.Time]
	life  time.Duration
}

const remembered = 20_000

func newRecent[K comparable](life time.Duration) recent[K] {
	found, _ := lru.New[K, time.Time](remembered) // fails for sizes below one
	return recent[K]{found, life}
}

func (r recent[K]) has(k K) bool {
	at, ok := r.found.Get(k)
	return ok && time.Since(at) < r.life
}

func (r recent[K]) add(k K) { r.found.Add(k, time.Now()) }
