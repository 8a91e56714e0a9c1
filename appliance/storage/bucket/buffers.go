package bucket

import (
	"context"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// memoryWait is how long an upload waits for memory before it takes room on
	// the disk, and roomWait how long it waits for either.
	memoryWait = 300 * time.Millisecond
	roomWait   = 20 * time.Second
	// kept is how many buffers stay for the next upload.
	kept = 4
	// spilled is the most buffers on the disk.
	spilled = 128
)

// Buffers hold the parts of uploads before they are sent: so much in memory for
// all uploads together and, since each must hold one part at least and slow
// clients hold theirs for long, some more in files without a name. They are
// outside of Go's heap, which would double them.
type Buffers struct {
	limit int64  // bytes in memory
	dir   string // of the files

	mu      sync.Mutex
	used    int64 // bytes in memory
	onDisk  int
	free    []*buffer
	changed chan struct{} // closed when something is given back
}

// NewBuffers makes Buffers of at most limit bytes of memory, with files in dir
// beyond that.
func NewBuffers(limit int64, dir string) *Buffers {
	return &Buffers{limit: limit, dir: dir, changed: make(chan struct{})}
}

type buffer struct {
	data []byte
	disk bool
}

// get gives a buffer of size bytes: at once or not at all where it is for more
// than the one that each upload needs.
func (b *Buffers) get(ctx context.Context, size int64, more bool) (*buffer, error) {
	if more {
		return b.take(size, b.limit*3/4), nil // the rest is for those who have none
	}
	began := time.Now()
	for {
		b.mu.Lock()
		changed := b.changed
		b.mu.Unlock()
		if buf := b.take(size, b.limit); buf != nil {
			return buf, nil
		}
		waited := time.Since(began)
		if waited >= memoryWait {
			if buf := b.spill(size); buf != nil {
				return buf, nil
			}
		}
		if waited >= roomWait {
			return nil, fmt.Errorf("%w: too many uploads at a time", ErrUnavailable)
		}
		select {
		case <-changed:
		case <-time.After(memoryWait):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// take gives a buffer in memory, nil where limit would be passed.
func (b *Buffers) take(size, limit int64) *buffer {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.free = slices.DeleteFunc(b.free, func(buf *buffer) bool { // uploads may have parts of another size
		other := int64(cap(buf.data)) != size
		if other {
			b.drop(buf)
		}
		return other
	})
	if n := len(b.free); n > 0 && b.used-int64(n-1)*size <= limit {
		buf := b.free[n-1]
		b.free = b.free[:n-1]
		return buf
	}
	if b.used+size > limit && (b.used > 0 || limit < b.limit) { // one of any size
		return nil
	}
	data, err := unix.Mmap(-1, 0, int(size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return nil
	}
	b.used += size
	return &buffer{data: data}
}

// drop gives a buffer's memory back to the system.
func (b *Buffers) drop(buf *buffer) {
	if buf.disk {
		b.onDisk--
	} else {
		b.used -= int64(cap(buf.data))
	}
	_ = unix.Munmap(buf.data[:cap(buf.data)]) // it succeeds for our own mapping
}

// spill gives a buffer in a file without a name, nil where there is no room.
func (b *Buffers) spill(size int64) *buffer {
	b.mu.Lock()
	if b.dir == "" || b.onDisk >= spilled {
		b.mu.Unlock()
		return nil
	}
	b.onDisk++
	b.mu.Unlock()
	data, err := mapFile(b.dir, size)
	if err != nil {
		b.mu.Lock()
		b.onDisk--
		b.mu.Unlock()
		return nil
	}
	return &buffer{data: data, disk: true}
}

// mapFile maps a new file. Its blocks are there before: a full disk would end
// the process at the first write to a page without one.
func mapFile(dir string, size int64) ([]byte, error) {
	f, err := os.CreateTemp(dir, ".upload-")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if err := os.Remove(f.Name()); err != nil {
		return nil, err
	}
	if err := unix.Fallocate(int(f.Fd()), 0, 0, size); err != nil {
		return nil, err
	}
	return unix.Mmap(int(f.Fd()), 0, int(size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
}

// put takes a buffer back. Nobody may have its bytes any more.
func (b *Buffers) put(buf *buffer) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if buf.disk || len(b.free) >= kept {
		b.drop(buf)
	} else {
		b.free = append(b.free, buf)
	}
	close(b.changed)
	b.changed = make(chan struct{})
}
