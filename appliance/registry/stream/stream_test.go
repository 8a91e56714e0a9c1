package stream

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/iotest"
	"time"
)

func noise(n int) []byte {
	data := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(data)
	return data
}

func TestCopy(t *testing.T) {
	broken := errors.New("broken")
	for name, wrap := range map[string]func(io.Reader) io.Reader{
		"as it comes":        func(r io.Reader) io.Reader { return r },
		"halves":             iotest.HalfReader,
		"data with its end":  iotest.DataErrReader,
		"broken at the end":  func(r io.Reader) io.Reader { return io.MultiReader(r, iotest.ErrReader(broken)) },
		"cut as by a client": func(r io.Reader) io.Reader { return io.MultiReader(r, iotest.ErrReader(io.ErrUnexpectedEOF)) },
	} {
		for _, size := range []int{0, 1, small, large - 1, large, large + 1, 3*large + 5} {
			data, out := noise(size), bytes.Buffer{}
			n, err := Copy(&out, wrap(bytes.NewReader(data)))
			if n != int64(size) || !bytes.Equal(out.Bytes(), data) {
				t.Errorf("%s: %d of %d bytes, or others", name, n, size)
			}
			_, want := io.Copy(io.Discard, wrap(bytes.NewReader(data)))
			if !errors.Is(err, want) || (err == nil) != (want == nil) {
				t.Errorf("%s: %v, as io.Copy: %v", name, err, want)
			}
		}
	}
}

// limited takes so many bytes.
type limited struct{ left int }

var errFull = errors.New("full")

func (l *limited) Write(p []byte) (int, error) {
	n := min(len(p), l.left)
	l.left -= n
	if n < len(p) {
		return n, errFull
	}
	return n, nil
}

func TestWhatCannotBeWrittenIsTold(t *testing.T) {
	n, err := Copy(&limited{left: 10}, bytes.NewReader(noise(large)))
	if n != 10 || !errors.Is(err, errFull) {
		t.Errorf("%d, %v", n, err)
	}
	if len(room) != most {
		t.Errorf("%d of %d pieces are back", len(room), most)
	}
}

// Who is slow does not keep the room: the others go on, and all arrives.
func TestTheSlowKeepNoRoom(t *testing.T) {
	var group sync.WaitGroup
	held := make(chan struct{})
	for range 2 * most {
		r, w := io.Pipe()
		group.Go(func() {
			var out bytes.Buffer
			if _, err := Copy(&out, r); err != nil || out.Len() != large+3 {
				t.Errorf("%d bytes: %v", out.Len(), err)
			}
		})
		group.Go(func() {
			_, _ = w.Write([]byte("a"))
			<-held
			_, _ = w.Write(noise(large + 2))
			w.Close()
		})
	}
	for len(room) > 0 { // all is lent
		time.Sleep(time.Millisecond)
	}
	data, out := noise(2*large), bytes.Buffer{}
	if _, err := Copy(&out, bytes.NewReader(data)); err != nil || !bytes.Equal(out.Bytes(), data) {
		t.Errorf("with no room: %d bytes, %v", out.Len(), err)
	}
	time.Sleep(patience)
	close(held)
	group.Wait()
	if len(room) != most {
		t.Errorf("%d of %d pieces are back", len(room), most)
	}
}
