package driver

import (
	"bytes"
	"slices"
	"sync"
)

const (
	// maxTails bounds the memory for the short last parts of all uploads, in bytes,
	// and maxTailed how many there are.
	maxTails  = 32 << 20
	maxTailed = 256
)

// tails are the bytes of the short last parts of uploads, by their directories: a
// client that goes on needs them once more. The oldest make room for new ones.
type tails struct {
	mu   sync.Mutex
	list []tail
	size int // bytes
}

type tail struct {
	dir  string
	data []byte
}

// get gives the tail of an upload, nil where there is none.
func (t *tails) get(dir string) []byte {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, have := range t.list {
		if have.dir == dir {
			return have.data
		}
	}
	return nil
}

// keep makes a copy of data the tail of an upload. Without data there is none.
func (t *tails) keep(dir string, data []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if i := slices.IndexFunc(t.list, func(have tail) bool { return have.dir == dir }); i >= 0 {
		t.drop(i)
	}
	if len(data) == 0 || len(data) > maxTails {
		return
	}
	t.list = append(t.list, tail{dir, bytes.Clone(data)})
	t.size += len(data)
	for t.size > maxTails || len(t.list) > maxTailed {
		t.drop(0)
	}
}

func (t *tails) drop(i int) {
	t.size -= len(t.list[i].data)
	t.list = slices.Delete(t.list, i, i+1)
}
