package blob

import (
	"context"
	"errors"
	"io"
	"net/http"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/redoubt-registry/redoubt/appliance/registry/space"
	"github.com/redoubt-registry/redoubt/appliance/registry/stream"
	"github.com/redoubt-registry/redoubt/appliance/storage/quota"
)

// push is the upload as quotas count it; nil: they do not.
func (w writer) push() *quota.Push { return w.store.space.Upload(w.store.repository, w.ID()) }

// ReadFrom implements io.ReaderFrom. Upstream's writes and hashes 32 KB at a time. An
// upload that a quota has no space for ends; one whose size is known does so before any of
// it is read.
func (w writer) ReadFrom(r io.Reader) (n int64, err error) {
	p := w.push()
	if p == nil {
		return stream.Copy(w.BlobWriter, r)
	}
	m := &meter{Reader: r, ctx: w.ctx, push: p, came: w.Size(), aside: w.Size()}
	if n := length(w.ctx); n > 0 {
		m.aside, err = p.Set(w.ctx, m.came+n, 0)
	}
	if err == nil {
		n, err = stream.Copy(w.BlobWriter, m)
	}
	if errors.As(err, new(*quota.Exceeded)) {
		refused := space.Refuse(w.ctx, err)
		return n, errors.Join(refused, w.Cancel(w.ctx))
	}
	if m.aside != w.Size() {
		_, failed := p.Set(context.WithoutCancel(w.ctx), w.Size(), 0)
		err = errors.Join(err, space.Refuse(w.ctx, failed))
	}
	return n, err
}

// Commit implements distribution.BlobWriter.
func (w writer) Commit(ctx context.Context, asked v1.Descriptor) (desc v1.Descriptor, err error) {
	p := w.push()
	if p == nil {
		return w.commit(ctx, asked)
	}
	held, err := w.store.space.Held(ctx, p, w.store.repository, asked.Digest)
	if err == nil {
		desc, err = w.commit(ctx, asked)
	}
	stored := w.Size()
	if err != nil { // it may be there all the same
		there, unknown := w.store.space.Held(context.WithoutCancel(ctx), p, w.store.repository, asked.Digest)
		if !there && unknown == nil {
			return desc, err // what was set aside goes with the upload
		}
	}
	if held {
		stored = 0
	}
	if failed := p.End(ctx, stored); err == nil {
		err = space.Refuse(ctx, failed)
	}
	return desc, err
}

// Cancel implements distribution.BlobWriter.
func (w writer) Cancel(ctx context.Context) error {
	err := w.BlobWriter.Cancel(ctx)
	if p := w.push(); p != nil {
		err = errors.Join(err, space.Refuse(ctx, p.End(ctx, 0)))
	}
	return err
}

// step is how many bytes are set aside at a time where the size of an upload is not known.
const step = 32 << 20

// meter lets through what there is space for.
type meter struct {
	io.Reader
	ctx         context.Context
	push        *quota.Push
	came, aside int64 // bytes of the upload
}

func (m *meter) Read(p []byte) (int, error) {
	n, err := m.Reader.Read(p)
	m.came += int64(n)
	if m.came <= m.aside {
		return n, err
	}
	aside, failed := m.push.Set(m.ctx, m.came, m.came+step)
	if failed != nil {
		return 0, failed
	}
	m.aside = aside
	return n, err
}

// length is how many bytes the request of a context has; -1 where that is not known.
func length(ctx context.Context) int64 {
	if r, ok := ctx.Value("http.request").(*http.Request); ok {
		return r.ContentLength
	}
	return -1
}
