//go:build integration

package bucket

import (
	"context"
	"errors"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const size = 1 << 20

// take gets n buffers.
func take(t *testing.T, b *Buffers, n int, more bool) (all []*buffer) {
	t.Helper()
	for range n {
		buf, err := b.get(t.Context(), size, more)
		if err != nil || buf == nil {
			t.Fatalf("buffer %d: %v, %v", len(all), buf, err)
		}
		buf.data[0], buf.data[size-1] = 1, 1
		all = append(all, buf)
	}
	return all
}

func TestBuffers(t *testing.T) {
	b := NewBuffers(8*size, t.TempDir())
	have := take(t, b, 6, true) // three quarters
	if buf, err := b.get(t.Context(), size, true); buf != nil || err != nil {
		t.Errorf("one more than there is to spare: %v, %v", buf, err)
	}
	have = append(have, take(t, b, 2, false)...)
	for _, buf := range have {
		if buf.disk {
			t.Error("there was memory")
		}
	}
	spilled := take(t, b, 3, false)
	for _, buf := range spilled {
		if !buf.disk {
			t.Error("more memory than there may be")
		}
	}
	if names, err := os.ReadDir(b.dir); err != nil || len(names) > 0 {
		t.Errorf("files with names: %v, %v", names, err)
	}
	for _, buf := range append(have, spilled...) {
		b.put(buf)
	}
	if b.used != kept*size || len(b.free) != kept || b.onDisk != 0 {
		t.Errorf("%d bytes, %d buffers and %d files are kept", b.used, len(b.free), b.onDisk)
	}
	// Parts of another size.
	buf, err := b.get(t.Context(), 2*size, false)
	if err != nil || len(buf.data) != 2*size || b.used != 2*size {
		t.Errorf("%v, %d bytes in use", err, b.used)
	}
}

// Without room on the disk an upload waits for another one's end, or for its own.
func TestBuffersWait(t *testing.T) {
	b := NewBuffers(2*size, "")
	have := take(t, b, 2, false)
	go func() {
		time.Sleep(2 * memoryWait)
		b.put(have[0])
	}()
	take(t, b, 1, false)
	ctx, cancel := context.WithTimeout(t.Context(), memoryWait/2)
	defer cancel()
	if _, err := b.get(ctx, size, false); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("no room gave %v", err)
	}
}

// A disk without room gives no buffer, instead of one that ends the process when
// it is written to.
func TestBuffersOnAFullDisk(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=4m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	b := NewBuffers(size, dir)
	all := take(t, b, 1, false)
	for range 4 {
		if buf := b.spill(size); buf != nil {
			for i := range buf.data {
				buf.data[i] = 1
			}
			all = append(all, buf)
		}
	}
	if buf := b.spill(size); buf != nil {
		t.Error("there is no room")
	}
	if len(all) < 4 || b.onDisk != len(all)-1 {
		t.Errorf("%d buffers, %d on the disk", len(all), b.onDisk)
	}
}

// Uploads with parts of several sizes share the buffers: each gets what it asks for.
func TestBuffersOfSeveralSizes(t *testing.T) {
	b := NewBuffers(64*mib, "")
	var all []*buffer
	for _, size := range []int64{7 * mib, 8 * mib, 7 * mib} {
		buf, err := b.get(t.Context(), size, false)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, buf)
	}
	for _, buf := range all {
		b.put(buf)
	}
	for _, size := range []int64{7 * mib, 8 * mib, 7 * mib} {
		buf, err := b.get(t.Context(), size, false)
		if err != nil || int64(len(buf.data)) != size {
			t.Fatalf("%d bytes instead of %d, %v", len(buf.data), size, err)
		}
		b.put(buf)
	}
	if b.used > 8*mib {
		t.Errorf("%d bytes are used", b.used)
	}
}
