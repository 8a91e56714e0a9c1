package driver

import (
	"github.com/redoubt-registry/redoubt/appliance/storage/fault"
)

// An upload has one writer at a time at this machine, the last that began to write:
// what two requests send is not mixed, and the state of a hash is that of the data. All
// here is called with the session's busy held.

// mine tells whether w may still do something to its upload.
func (w *writer) mine() error {
	w.s.mu.Lock()
	defer w.s.mu.Unlock()
	switch {
	case w.s.committed && !w.committed:
		w.lost = true
		return fault.Refuse(w.ctx, fault.UploadEnded)
	case w.lost, !w.taken && w.s.turn != w.turn:
		w.lost = true
		return fault.Refuse(w.ctx, fault.UploadTaken)
	}
	return nil
}

// take makes w the writer of its upload, if nobody has begun to write since w was opened.
func (w *writer) take() error {
	if err := w.mine(); err != nil || w.taken {
		return err
	}
	if err := w.relieve(); err != nil {
		return err
	}
	w.s.mu.Lock()
	defer w.s.mu.Unlock()
	w.taken = true
	w.s.owner, w.s.by = w, requestID(w.ctx)
	w.s.turn++
	return nil
}

// relieve ends who is writing. It may have replaced parts that w has found.
func (w *writer) relieve() error {
	old := w.s.owner
	if old == nil || old == w {
		return nil
	}
	w.s.owner = nil
	old.lost = true
	old.upload.Close()
	theirs, ours := old.upload.Begun(), w.upload.Begun()
	switch {
	case theirs.ID == "":
		return nil
	case theirs.ID != ours.ID:
		return fail(w.ctx, w.path, old.upload.Abort(w.ctx))
	}
	_, parts, torn, err := w.find(w.ctx)
	if err != nil {
		return fail(w.ctx, w.path, err)
	}
	size := w.Size()
	w.torn, w.tail = torn, nil
	if w.begin(ours, parts); w.Size() != size {
		w.lost = true
		return fault.Refuse(w.ctx, fault.UploadTaken)
	}
	return nil
}

// leave is called when w writes no more.
func (w *writer) leave() {
	if w.s.owner == w {
		w.s.owner = nil
	}
}
