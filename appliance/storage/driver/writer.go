package driver

import (
	"context"
	"errors"
	"io"
	"net/http"

	storagedriver "github.com/distribution/distribution/v3/registry/storage/driver"
	"github.com/opencontainers/go-digest"

	"github.com/redoubt-registry/redoubt/appliance/storage/bucket"
	"github.com/redoubt-registry/redoubt/appliance/storage/fault"
	"github.com/redoubt-registry/redoubt/appliance/storage/layout"
)

// writer implements storagedriver.FileWriter.
type writer struct {
	driver *driver
	ctx    context.Context // of the request, without its cancellation: what came is stored
	path   string
	key    string
	s      *session

	upload *bucket.Upload
	object int64  // size of the object that is there already and counts
	torn   bool   // see session
	tail   []byte // of the last part, where it is known
	final  bool   // upload goes to the final path

	turn        int  // see session: when it was opened
	taken, lost bool // it has written; and another one has since

	closed, committed, cancelled bool
}

// Writer implements storagedriver.StorageDriver.
func (d *driver) Writer(ctx context.Context, p string, appending bool) (storagedriver.FileWriter, error) {
	w := &writer{driver: d, ctx: context.WithoutCancel(ctx), path: p, key: p[1:]}
	dir, rest, ok := layout.Upload(p)
	inUpload := ok && rest == layout.UploadData
	if inUpload {
		w.s = d.sessions.add(dir)
	} else {
		w.s = &session{}
	}
	w.s.mu.Lock()
	ended := appending && w.s.committed
	w.turn = w.s.turn
	w.s.mu.Unlock()
	if ended {
		return nil, fault.Refuse(ctx, fault.UploadEnded)
	}
	if err := w.open(ctx, inUpload, appending); err != nil {
		return nil, fail(ctx, p, err)
	}
	if inUpload && w.Size() == 0 {
		w.aim()
	}
	return w, nil
}

// open finds where to continue.
func (w *writer) open(ctx context.Context, inUpload, appending bool) error {
	m := bucket.Multipart{Key: w.key}
	if !appending {
		if !inUpload { // upstream's driver finds an upload in progress by asking the store
			var err error
			if m, err = w.driver.bucket.CreateMultipart(ctx, w.key); err != nil {
				return err
			}
		}
		w.begin(m, nil)
		w.s.mu.Lock()
		defer w.s.mu.Unlock()
		w.s.committed, w.s.moved = false, false
		return nil
	}
	if want, ok := expected(ctx); ok && inUpload && w.recall(want) {
		dir, _, _ := layout.Upload(w.path)
		w.tail = w.driver.sessions.tails.get(dir)
		return nil
	}
	w.s.mu.Lock()
	w.s.ours = false
	w.s.mu.Unlock()
	m, parts, torn, err := w.find(ctx)
	if err != nil {
		return err
	}
	if m.ID != "" {
		w.torn = torn
		w.begin(m, parts)
		return nil
	}
	o, err := w.driver.bucket.Head(ctx, w.path)
	switch {
	case errors.Is(err, bucket.ErrNotFound) && inUpload: // started, and nothing sent
	case err != nil:
		return err
	default:
		w.object = o.Size
	}
	w.begin(bucket.Multipart{Key: w.key}, nil)
	return nil
}

func (w *writer) begin(m bucket.Multipart, parts []bucket.Part) {
	w.upload = w.driver.bucket.NewUpload(w.ctx, w.driver.buffers, m, parts)
	w.s.mu.Lock()
	defer w.s.mu.Unlock()
	w.s.size = w.Size()
}

// recall continues from what this process knows, if that has the size that the client
// was told.
func (w *writer) recall(want int64) bool {
	s := w.s
	s.mu.Lock()
	if !s.ours || s.size != want || s.committed || s.ready != nil {
		s.mu.Unlock()
		return false
	}
	m, parts := s.multipart, s.parts
	w.torn = s.torn
	s.mu.Unlock()
	m.Key = w.key
	w.begin(m, parts)
	return true
}

// find asks the store for the upload in parts in progress. If there are several, which
// lost answers leave behind, it is the largest one.
func (w *writer) find(ctx context.Context) (best bucket.Multipart, parts []bucket.Part, torn bool, err error) {
	uploads, err := w.driver.uploads(ctx, w.path)
	if err != nil {
		return best, nil, false, err
	}
	most := int64(-1)
	for _, u := range uploads {
		all, err := w.driver.bucket.Parts(ctx, &u)
		if errors.Is(err, bucket.ErrNotFound) { // it has just ended
			continue
		}
		if err != nil {
			return best, nil, false, err
		}
		count, size := prefix(all)
		if size > most {
			most, best, parts, torn = size, u, all[:count:count], count < len(all)
		}
	}
	return best, parts, torn, nil
}

// prefix is how many parts there are before the first gap, and their bytes.
func prefix(parts []bucket.Part) (count int, size int64) {
	for i, p := range parts {
		if int(p.Number) != i+1 {
			break
		}
		count, size = count+1, size+p.Size
	}
	return count, size
}

// aim makes the upload go to its final path at once, where one request brings
// all of it and names its digest. The object appears there in Move, which
// upstream calls when it has checked the digest.
func (w *writer) aim() {
	r := request(w.ctx)
	if r == nil || r.Method != http.MethodPut || r.ContentLength == 0 || w.torn {
		return
	}
	d, err := digest.Parse(r.URL.Query().Get("digest"))
	if err != nil || d.Algorithm() != digest.SHA256 {
		return
	}
	w.final = true
	w.upload = w.driver.bucket.NewUpload(w.ctx, w.driver.buffers, bucket.Multipart{Key: layout.Path(d)[1:]}, nil)
}

// Size implements storagedriver.FileWriter.
func (w *writer) Size() int64 { return w.object + w.upload.Size() }

// Write implements io.Writer.
func (w *writer) Write(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, w.usable()
	}
	w.s.busy.Lock()
	defer w.s.busy.Unlock()
	if err := w.usable(); err != nil {
		return 0, err
	}
	if err := w.take(); err != nil {
		return 0, err
	}
	if err := w.rejoin(); err != nil {
		return 0, fail(w.ctx, w.path, err)
	}
	n, err := w.upload.Write(p)
	return n, fail(w.ctx, w.path, err)
}

// rejoin makes what is there fit to be continued: parts of one size, which some services
// require. A short last part is sent again with what follows, if this process has its
// bytes. Otherwise the upload is completed and becomes the first part of another one, as
// with upstream's driver.
func (w *writer) rejoin() error {
	if w.object == 0 {
		sent := w.upload.Begun().ID != "" && !w.upload.Sending()
		if !sent || !w.torn && w.upload.Even() {
			return nil
		}
		if again, err := w.resend(); again {
			return err
		}
		size := w.upload.Size()
		if size == 0 { // torn, and nothing counts
			if err := w.upload.Abort(w.ctx); err != nil {
				return err
			}
			w.torn = false
			w.begin(bucket.Multipart{Key: w.key}, nil)
			return nil
		}
		if err := w.upload.Complete(w.ctx); err != nil {
			return err
		}
		w.object = size
		w.begin(bucket.Multipart{Key: w.key}, nil)
	}
	return w.takeOver()
}

// resend writes the bytes of the last part again: the next part takes its number,
// and its place.
func (w *writer) resend() (again bool, err error) {
	parts := w.upload.Parts()
	n := len(parts) - 1
	if w.torn || n < 0 || len(w.tail) == 0 || int64(len(w.tail)) != parts[n].Size {
		return false, nil
	}
	w.begin(w.upload.Begun(), parts[:n:n])
	_, err = w.upload.Write(w.tail)
	w.tail = nil
	return true, err
}

// takeOver puts the object before the new data: whole parts of it by copies in the store,
// and the rest by sending it again.
func (w *writer) takeOver() error {
	b := w.driver.bucket
	m, parts, whole := bucket.Multipart{Key: w.key}, []bucket.Part(nil), int64(0)
	if chunk := b.ChunkFor(w.object); w.object >= chunk {
		var err error
		if m, err = b.CreateMultipart(w.ctx, w.key); err != nil {
			return err
		}
		whole = w.object - w.object%chunk
		parts, err = b.CopyParts(w.ctx, m, w.path, whole, chunk)
		if bucket.Lacking(err) {
			parts, whole, err = nil, 0, nil
		}
		if err != nil {
			return err
		}
	}
	size := w.object
	w.object, w.torn = 0, false
	w.begin(m, parts)
	if whole == size {
		return nil
	}
	r, _, err := b.Get(w.ctx, w.path, whole, size-whole)
	if err != nil {
		return err
	}
	defer r.Close()
	_, err = io.Copy(w.upload, r)
	return err
}

// Close implements io.Closer: what was written is stored, and another node may continue
// it.
func (w *writer) Close() error {
	if w.closed {
		return errors.New("already closed")
	}
	w.closed = true
	if err := w.joinState(); err != nil {
		fault.Note(w.ctx, err) // the hash is computed again, from the store
	}
	w.s.busy.Lock()
	defer w.s.busy.Unlock()
	if w.committed || w.cancelled || w.lost {
		return nil
	}
	if !w.taken {
		w.upload.Close()
		return nil
	}
	defer w.leave()
	if w.final { // cut in the middle: the client starts again
		return fail(w.ctx, w.path, w.upload.Abort(w.ctx))
	}
	if dir, rest, ok := layout.Upload(w.path); ok && rest == layout.UploadData && w.upload.Sending() {
		w.driver.sessions.tails.keep(dir, w.upload.Held())
	}
	err := w.upload.Flush()
	w.remember(err != nil)
	if err != nil {
		fault.Lose(w.ctx, err) // upstream ignores the error of Close
	}
	return fail(w.ctx, w.path, err)
}

func (w *writer) joinState() error {
	w.s.mu.Lock()
	defer w.s.mu.Unlock()
	done := w.s.writing
	w.s.writing = nil
	if done == nil {
		return nil
	}
	return <-done
}

// remember notes where the next request continues.
func (w *writer) remember(failed bool) {
	w.s.mu.Lock()
	defer w.s.mu.Unlock()
	w.s.multipart, w.s.parts, w.s.size = w.upload.Begun(), w.upload.Parts(), w.Size()
	w.s.torn = failed || w.torn
	w.s.complete = false
	if w.object > 0 || failed {
		w.s.ours = false // ask the store
	}
}

// Commit implements storagedriver.FileWriter.
func (w *writer) Commit(ctx context.Context) error {
	if err := w.usable(); err != nil {
		return err
	}
	w.s.busy.Lock()
	defer w.s.busy.Unlock()
	if err := w.take(); err != nil {
		return err
	}
	size := w.Size()
	if err := w.commit(context.WithoutCancel(ctx)); err != nil {
		return fail(ctx, w.path, err)
	}
	w.committed = true
	w.s.mu.Lock()
	defer w.s.mu.Unlock()
	w.s.size, w.s.committed, w.s.complete = size, true, !w.final
	if w.final {
		w.s.ready = &ready{path: "/" + w.upload.Begun().Key, upload: w.upload}
	} else {
		w.s.written = append(w.s.written, w.path)
	}
	return nil
}

func (w *writer) commit(ctx context.Context) error {
	if w.final {
		if _, small := w.upload.Data(); small {
			return nil
		}
		return w.upload.Flush()
	}
	if w.object > 0 { // it is there, and nothing was added
		return nil
	}
	if data, all := w.upload.Data(); all {
		if _, err := w.driver.bucket.Put(ctx, w.path, data, bucket.Condition{}); err != nil {
			return err
		}
		return w.upload.Abort(ctx)
	}
	return w.upload.Complete(ctx)
}

// Cancel implements storagedriver.FileWriter.
func (w *writer) Cancel(ctx context.Context) error {
	if w.closed && !w.committed {
		return errors.New("already closed")
	}
	if w.cancelled {
		return errors.New("already cancelled")
	}
	w.s.busy.Lock()
	defer w.s.busy.Unlock()
	if err := w.mine(); err != nil && !w.committed {
		return err
	}
	w.cancelled = true
	if w.committed { // what there is goes with the upload's directory
		return nil
	}
	err := w.upload.Abort(context.WithoutCancel(ctx))
	w.s.mu.Lock()
	w.s.multipart = bucket.Multipart{}
	w.s.committed = true // complete
	w.s.mu.Unlock()
	return fail(ctx, w.path, err)
}

func (w *writer) usable() error {
	switch {
	case w.closed:
		return errors.New("already closed")
	case w.committed:
		return errors.New("already committed")
	case w.cancelled:
		return errors.New("already cancelled")
	}
	return nil
}
