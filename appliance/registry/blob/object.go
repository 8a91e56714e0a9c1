package blob

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"strings"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/redoubt-registry/redoubt/appliance/storage/bucket"
	"github.com/redoubt-registry/redoubt/appliance/storage/fault"
	"github.com/redoubt-registry/redoubt/appliance/storage/layout"
)

// Objects are the blobs in a bucket.
func Objects(b *bucket.Bucket) Source { return objects{b} }

type objects struct{ bucket *bucket.Bucket }

// open begins to read before anything is answered: what is gone can still be
// told then. Nothing is asked for where the client wants no content.
func (o objects) open(r *http.Request, desc v1.Descriptor) (io.ReadSeekCloser, int64, error) {
	b := &object{ctx: r.Context(), bucket: o.bucket, key: layout.Path(desc.Digest), size: desc.Size}
	if r.Method != http.MethodGet || r.Header.Get("If-None-Match") != "" {
		return b, desc.Size, nil
	}
	var length int64 = -1
	if wanted := r.Header.Get("Range"); wanted != "" && r.Header.Get("If-Range") == "" {
		b.offset, length = first(wanted, desc.Size)
	}
	size, err := b.begin(length)
	return b, size, err
}

// first is where a single range begins and how long it is; of all other forms
// it is the whole, and Seek corrects it.
func first(header string, size int64) (offset, length int64) {
	spec, ok := strings.CutPrefix(header, "bytes=")
	var from, to int64
	switch {
	case !ok || strings.Contains(spec, ","):
	case matches(spec, "%d-%d", &from, &to) && from <= to && to < size:
		return from, to - from + 1
	case strings.HasSuffix(spec, "-") && matches(spec, "%d-", &from) && from >= 0 && from < size:
		return from, -1
	}
	return 0, -1
}

func matches(s, format string, values ...any) bool {
	n, err := fmt.Sscanf(s, format, values...)
	return err == nil && n == len(values)
}

// object is a blob of a bucket that is read as from a file.
type object struct {
	ctx    context.Context
	bucket *bucket.Bucket
	key    string
	size   int64

	offset int64 // of the next Read
	body   io.ReadCloser
	at     int64 // of the body
}

func (o *object) begin(length int64) (size int64, err error) {
	body, info, err := o.bucket.Get(o.ctx, o.key, o.offset, length)
	if errors.Is(err, bucket.ErrNotFound) {
		return 0, fs.ErrNotExist
	}
	if err != nil {
		fault.Note(o.ctx, err)
		return 0, err
	}
	o.body, o.at, o.size = body, o.offset, info.Size
	return info.Size, nil
}

// right implements Source.
func (objects) right(f io.ReadSeeker, dgst digest.Digest) (bool, error) { return verifies(f, dgst) }

// damaged implements Source.
func (objects) damaged(v1.Descriptor) (bool, error) { return false, nil }

// alias implements Source: the bucket copies by itself.
func (o objects) alias(ctx context.Context, from, to digest.Digest) error {
	if err := o.bucket.Copy(ctx, layout.Path(from), layout.Path(to)); err != nil {
		fault.Note(ctx, err)
		return fmt.Errorf("cannot keep a blob: %w", err)
	}
	return nil
}

// Read implements io.Reader.
func (o *object) Read(p []byte) (int, error) {
	if o.offset >= o.size {
		return 0, io.EOF
	}
	if o.body != nil && o.at != o.offset {
		o.body.Close()
		o.body = nil
	}
	if o.body == nil {
		if _, err := o.begin(-1); err != nil {
			return 0, err
		}
	}
	n, err := o.body.Read(p)
	o.offset += int64(n)
	o.at = o.offset
	return n, err
}

// Seek implements io.Seeker.
func (o *object) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += o.offset
	case io.SeekEnd:
		offset += o.size
	}
	if offset < 0 {
		return 0, errors.New("cannot seek before the beginning")
	}
	o.offset = offset
	return offset, nil
}

// Close implements io.Closer.
func (o *object) Close() error {
	if o.body == nil {
		return nil
	}
	return o.body.Close()
}
