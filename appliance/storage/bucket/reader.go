package bucket

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// resumes is how often one read resumes after a cut without a byte in between.
const resumes = 4

// object is an open object that resumes reading where a cut body ended.
type object struct {
	ctx       context.Context
	bucket    *Bucket
	key       string
	etag      string
	body      io.ReadCloser
	offset    int64 // of the next byte
	remaining int64
	failures  int // since the last byte
}

// open asks for a range and gives a reader of it. With an etag the object must
// still be that one.
func (b *Bucket) open(ctx context.Context, key string, offset, length int64, etag string) (io.ReadCloser, Object, error) {
	if length == 0 {
		o, err := b.Head(ctx, key)
		return io.NopCloser(bytes.NewReader(nil)), o, err
	}
	body, o, n, err := b.get(ctx, key, offset, length, etag)
	if errors.Is(err, errRange) { // at or beyond the end
		if o, err = b.Head(ctx, key); err != nil {
			return nil, o, err
		}
		return io.NopCloser(bytes.NewReader(nil)), o, nil
	}
	if err != nil {
		return nil, o, err
	}
	return &object{ctx: ctx, bucket: b, key: key, etag: o.ETag, body: body, offset: offset, remaining: n}, o, nil
}

// get makes one request, tried again until its answer begins. n is the length
// of the body.
func (b *Bucket) get(ctx context.Context, key string, offset, length int64, etag string) (io.ReadCloser, Object, int64, error) {
	var (
		result io.ReadCloser
		o      Object
		n      int64
	)
	in := &s3.GetObjectInput{Bucket: b.bucket(), Key: b.key(key), IfMatch: optional(etag)}
	switch {
	case length > 0:
		in.Range = aws.String(fmt.Sprintf("bytes=%d-%d", offset, offset+length-1))
	case offset > 0:
		in.Range = aws.String(fmt.Sprintf("bytes=%d-", offset))
	}
	err := b.doOpen(ctx, "read", key, func(ctx context.Context, _ int) error {
		opened, cancel := context.WithCancel(ctx) // ends with the body
		out, err := b.client.GetObject(opened, in)
		if err != nil {
			cancel()
			return err
		}
		n = aws.ToInt64(out.ContentLength)
		o = Object{Key: key, Size: offset + n, Modified: aws.ToTime(out.LastModified), ETag: aws.ToString(out.ETag)}
		if total, ok := total(aws.ToString(out.ContentRange)); ok {
			o.Size = total
		}
		result = newBody(out.Body, cancel)
		return nil
	})
	return result, o, n, err
}

// total reads the size out of a Content-Range.
func total(s string) (int64, bool) {
	var from, to, size int64
	_, err := fmt.Sscanf(s, "bytes %d-%d/%d", &from, &to, &size)
	return size, err == nil
}

func (r *object) Read(p []byte) (int, error) {
	if r.remaining == 0 {
		return 0, io.EOF
	}
	if int64(len(p)) > r.remaining {
		p = p[:r.remaining]
	}
	for {
		n, err := r.body.Read(p)
		r.offset += int64(n)
		r.remaining -= int64(n)
		if n > 0 {
			r.failures = 0
			return n, nil // an error comes again
		}
		if err == nil {
			continue
		}
		if r.ctx.Err() != nil {
			return 0, &Error{Op: "read", Key: r.key, Err: r.ctx.Err()}
		}
		if errors.Is(err, errStalled) {
			r.bucket.patience.note(err)
		}
		if r.failures++; r.failures > resumes {
			return 0, &Error{Op: "read", Key: r.key, Err: err, kind: ErrUnavailable}
		}
		if err := r.resume(); err != nil {
			return 0, err
		}
	}
}

// resume asks for the rest.
func (r *object) resume() error {
	r.body.Close()
	body, _, n, err := r.bucket.get(r.ctx, r.key, r.offset, r.remaining, r.etag)
	if err != nil {
		r.body = io.NopCloser(bytes.NewReader(nil))
		r.failures = resumes // the reason is known
		return err
	}
	if n != r.remaining {
		body.Close()
		r.body = io.NopCloser(bytes.NewReader(nil))
		return &Error{Op: "read", Key: r.key, Err: fmt.Errorf("the store sends %d bytes instead of %d", n, r.remaining)}
	}
	r.body = body
	return nil
}

func (r *object) Close() error { return r.body.Close() }
