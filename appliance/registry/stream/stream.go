// Package stream copies layers: in large pieces, which cost less of the processor, as long
// as the other side is quick, and in small ones for clients that would keep the room.
package stream

import (
	"io"
	"net/http"
	"time"
)

const (
	// large pieces are few: so many are under way in the whole process.
	large, most = 256 << 10, 16
	small       = 32 << 10
	// patience is how long a large piece may take before the rest goes in small ones.
	patience = 100 * time.Millisecond
)

// room has the large pieces that nobody uses, and nil for one that was never made.
var room = func() chan []byte {
	c := make(chan []byte, most)
	for range most {
		c <- nil
	}
	return c
}()

// Copy copies until src ends, as io.Copy does, and fills a piece before it writes it. What
// came before an error of src is written.
func Copy(dst io.Writer, src io.Reader) (written int64, err error) {
	var own []byte
	quick := true
	for {
		var piece []byte
		lent := false
		if quick {
			piece, lent = borrow()
		}
		if !lent {
			if own == nil {
				own = make([]byte, small)
			}
			piece = own
		}
		began := time.Now()
		n, ended, err := pass(dst, src, piece)
		if lent {
			room <- piece
			quick = time.Since(began) < patience
		}
		written += int64(n)
		if ended {
			return written, err
		}
	}
}

// borrow gives a large piece, if there is one.
func borrow() (piece []byte, ok bool) {
	select {
	case piece = <-room:
		if piece == nil {
			piece = make([]byte, large)
		}
		return piece, true
	default:
		return nil, false
	}
}

// pass copies one piece, and tells whether it was the last one.
func pass(dst io.Writer, src io.Reader, piece []byte) (written int, ended bool, err error) {
	n := 0
	for n < len(piece) && err == nil { // io.ReadFull would not tell how src ended
		var got int
		got, err = src.Read(piece[n:])
		n += got
	}
	ended = err != nil
	if err == io.EOF {
		err = nil
	}
	if n == 0 {
		return 0, ended, err
	}
	written, failed := dst.Write(piece[:n])
	if failed == nil && written < n {
		failed = io.ErrShortWrite
	}
	if failed != nil {
		return written, true, failed
	}
	return written, ended, err
}

// Writer has a response written in such pieces by what copies to it.
type Writer struct{ http.ResponseWriter }

// ReadFrom implements io.ReaderFrom.
func (w Writer) ReadFrom(src io.Reader) (int64, error) { return Copy(w.ResponseWriter, src) }

// Unwrap lets the handler reach the connection.
func (w Writer) Unwrap() http.ResponseWriter { return w.ResponseWriter }
