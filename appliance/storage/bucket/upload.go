package bucket

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"sync"
)

const (
	// parallel is how many parts of one upload are under way at a time.
	parallel = 4
	// smallBytes is what an upload holds before it takes a buffer.
	smallBytes = 256 << 10
)

// Upload is a stream into an object: parts go to the store, several at a time,
// while further ones are written. It is used by one goroutine.
type Upload struct {
	bucket  *Bucket
	buffers *Buffers
	ctx     context.Context
	begun   Multipart
	chunk   int64 // bytes of each part but the last: some services want them all equal

	small []byte  // the first bytes of the next part
	next  *buffer // or the next part
	n     int     // bytes in next
	sum   uint32  // of the next part
	size  int64   // all bytes written

	mu      sync.Mutex
	parts   []Part // by number; without an ETag it is under way
	failed  error
	running int
	sent    bool          // something since it was made
	ended   chan struct{} // something ended
}

// NewUpload begins or, with the parts that an upload has, continues one. The
// store hears of it when the first part is sent: the Multipart may have a key
// alone. ctx is for all that it does.
func (b *Bucket) NewUpload(ctx context.Context, buffers *Buffers, m Multipart, parts []Part) *Upload {
	u := &Upload{bucket: b, buffers: buffers, ctx: ctx, begun: m, chunk: b.chunk(parts), parts: parts, ended: make(chan struct{}, 1)}
	for _, p := range parts {
		u.size += p.Size
	}
	return u
}

// chunk is the size of the parts of an upload that has some already.
func (b *Bucket) chunk(parts []Part) int64 {
	if len(parts) > 0 && parts[0].Size >= MinPart && parts[0].Size <= maxChunk {
		return parts[0].Size
	}
	return b.settings.ChunkSize
}

// Even tells whether the parts that were sent have all one size, so that others
// may follow.
func (u *Upload) Even() bool {
	for _, p := range u.Parts() {
		if p.Size != u.chunk {
			return false
		}
	}
	return true
}

// Held is what is written and not sent. It is not to be kept.
func (u *Upload) Held() []byte { return u.held() }

// Size is all that was written, sent or not.
func (u *Upload) Size() int64 { return u.size }

// Begun is the upload as the store knows it; its ID is empty while nothing was sent.
func (u *Upload) Begun() Multipart { return u.begun }

// Write implements io.Writer. It waits while parts enough are under way.
func (u *Upload) Write(p []byte) (int, error) {
	written := 0
	for len(p) > 0 {
		if err := u.failure(); err != nil {
			return written, err
		}
		n, err := u.hold(p)
		if err != nil {
			return written, err
		}
		u.sum = crc32.Update(u.sum, castagnoli, p[:n])
		u.size += int64(n)
		written += n
		p = p[n:]
		if u.next != nil && u.n == len(u.next.data) {
			if err := u.send(); err != nil {
				return written, err
			}
		}
	}
	return written, nil
}

// hold keeps some of p.
func (u *Upload) hold(p []byte) (int, error) {
	if u.next == nil && len(u.small)+len(p) <= smallBytes {
		u.small = append(u.small, p...)
		return len(p), nil
	}
	if u.next == nil {
		buf, err := u.room()
		if err != nil {
			return 0, err
		}
		u.next, u.n = buf, copy(buf.data, u.small)
		u.small = nil
	}
	n := copy(u.next.data[u.n:], p)
	u.n += n
	return n, nil
}

// room gets a buffer: another one while there is memory to spare, else one that
// a part of ours has left.
func (u *Upload) room() (*buffer, error) {
	for {
		u.mu.Lock()
		running := u.running
		u.mu.Unlock()
		more := running > 0
		if running < parallel {
			buf, err := u.buffers.get(u.ctx, u.chunk, more)
			if err != nil {
				return nil, &Error{Op: "upload", Key: u.begun.Key, Err: err, kind: ErrUnavailable}
			}
			if buf != nil {
				return buf, nil
			}
		}
		<-u.ended // each part ends in time
		if err := u.failure(); err != nil {
			return nil, err
		}
	}
}

// held is what is written and not sent.
func (u *Upload) held() []byte {
	if u.next != nil {
		return u.next.data[:u.n]
	}
	return u.small
}

// send puts what is held under way as a part.
func (u *Upload) send() error {
	if u.begun.ID == "" {
		m, err := u.bucket.CreateMultipart(u.ctx, u.begun.Key)
		if err != nil {
			u.fail(err)
			return err
		}
		u.begun = m
	}
	data, sum, buf := u.held(), u.sum, u.next
	u.next, u.n, u.small, u.sum = nil, 0, nil, 0
	u.mu.Lock()
	number := int32(len(u.parts) + 1)
	u.parts = append(u.parts, Part{Number: number, Size: int64(len(data))})
	u.running++
	u.sent = true
	u.mu.Unlock()
	if number > MaxParts {
		u.end(buf, number, Part{}, fmt.Errorf("cannot upload %s: it has more than %d parts; raise storage.s3.chunksize", u.begun.Key, MaxParts))
		return u.failure()
	}
	go func() {
		part, err := u.bucket.uploadPart(u.ctx, u.begun, number, data, sum)
		u.end(buf, number, part, err)
	}()
	return nil
}

// end notes how a part ended.
func (u *Upload) end(buf *buffer, number int32, part Part, err error) {
	if buf != nil {
		u.buffers.put(buf)
	}
	u.mu.Lock()
	u.running--
	if err == nil {
		u.parts[number-1] = part
	} else if u.failed == nil {
		u.failed = err
	}
	u.mu.Unlock()
	select {
	case u.ended <- struct{}{}:
	default:
	}
}

func (u *Upload) fail(err error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.failed == nil {
		u.failed = err
	}
}

func (u *Upload) failure() error {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.failed
}

// wait waits for the parts that are under way.
func (u *Upload) wait() error {
	for {
		u.mu.Lock()
		running, err := u.running, u.failed
		u.mu.Unlock()
		if running == 0 {
			return err
		}
		<-u.ended
	}
}

// Flush sends what is held, however little, and waits until all is sent. Another
// one may then continue. After an error Size is what the store surely has.
func (u *Upload) Flush() error {
	if err := u.failure(); err == nil && len(u.held()) > 0 {
		_ = u.send() // it is kept
	}
	err := u.wait()
	u.release()
	if err != nil {
		u.size = 0
		for _, p := range u.Parts() {
			u.size += p.Size
		}
	}
	return err
}

// Parts are those that the store has, up to the first that it has not.
func (u *Upload) Parts() []Part {
	u.mu.Lock()
	defer u.mu.Unlock()
	for i, p := range u.parts {
		if p.ETag == "" {
			return u.parts[:i:i]
		}
	}
	return u.parts
}

// Torn tells whether the store may have parts that do not count.
func (u *Upload) Torn() bool { return u.failure() != nil }

// Data is all that was written where none of it was sent yet.
func (u *Upload) Data() ([]byte, bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.held(), len(u.parts) == 0 && u.failed == nil
}

// Complete makes what was written the object. At least one byte must have been.
func (u *Upload) Complete(ctx context.Context) error {
	if err := u.Flush(); err != nil {
		return err
	}
	parts := u.Parts()
	if len(parts) == 0 {
		return errors.New("cannot complete an upload without a part")
	}
	_, err := u.bucket.CompleteMultipart(ctx, u.begun, parts)
	return err
}

// Close gives up what is held and waits for what is under way; the store keeps
// what it has. It may be called at any time, and again.
func (u *Upload) Close() {
	_ = u.wait() // told before
	u.release()
}

func (u *Upload) release() {
	if u.next != nil {
		u.buffers.put(u.next)
	}
	u.next, u.n, u.small, u.sum = nil, 0, nil, 0
}

// Abort makes the store forget the upload.
func (u *Upload) Abort(ctx context.Context) error {
	u.Close()
	if u.begun.ID == "" {
		return nil
	}
	return u.bucket.AbortMultipart(ctx, u.begun)
}

// Sending tells whether parts were sent or are held since it was made.
func (u *Upload) Sending() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.sent || len(u.held()) > 0
}
