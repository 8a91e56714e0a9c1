package bucket

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"
)

// Multipart is an upload in parts in progress.
type Multipart struct {
	Key   string
	ID    string
	Begun time.Time // where it was listed

	plain bool // it was created without a checksum, and the store would refuse one
}

// Part is one part of an upload.
type Part struct {
	Number int32
	Size   int64
	ETag   string
}

// CreateMultipart starts an upload.
func (b *Bucket) CreateMultipart(ctx context.Context, key string) (Multipart, error) {
	m := Multipart{Key: key}
	in := &s3.CreateMultipartUploadInput{
		Bucket: b.bucket(), Key: b.key(key), ContentType: aws.String(contentType),
		StorageClass: types.StorageClass(b.settings.StorageClass), ACL: types.ObjectCannedACL(b.settings.ACL),
	}
	in.ServerSideEncryption, in.SSEKMSKeyId = b.encryption()
	if b.settings.atAmazon() { // it refuses a part's checksum otherwise
		in.ChecksumAlgorithm, in.ChecksumType = types.ChecksumAlgorithmCrc32c, types.ChecksumTypeFullObject
	}
	err := b.do(ctx, "begin an upload of", key, func(ctx context.Context, _ int) error {
		out, err := b.client.CreateMultipartUpload(ctx, in)
		if err != nil {
			return err
		}
		m.ID = aws.ToString(out.UploadId)
		return nil
	})
	return m, err
}

// UploadPart sends one part. data is not touched after it returns.
func (b *Bucket) UploadPart(ctx context.Context, m Multipart, number int32, data []byte) (Part, error) {
	return b.uploadPart(ctx, m, number, data, checksum(data))
}

func (b *Bucket) uploadPart(ctx context.Context, m Multipart, number int32, data []byte, sum uint32) (Part, error) {
	part := Part{Number: number, Size: int64(len(data))}
	err := b.doOpen(ctx, fmt.Sprintf("upload part %d of", number), m.Key, func(ctx context.Context, _ int) error {
		source := &source{Reader: bytes.NewReader(data)}
		defer source.Close()
		in := &s3.UploadPartInput{
			Bucket: b.bucket(), Key: b.key(m.Key), UploadId: &m.ID, PartNumber: &number,
			Body: source, ContentLength: aws.Int64(int64(len(data))),
		}
		options := []func(*s3.Options){unsigned}
		md5 := m.plain || b.md5.Load()
		if md5 {
			options = append(options, withMD5)
		} else {
			in.ChecksumCRC32C = aws.String(crc(sum))
		}
		out, err := b.client.UploadPart(ctx, in, options...)
		if b.refusesCRC(err, md5) {
			return errAgain
		}
		if err != nil {
			return err
		}
		part.ETag = aws.ToString(out.ETag)
		return nil
	})
	return part, err
}

// source is a request's body. The transport may read on in another goroutine
// after its answer: once closed, it no longer touches the caller's bytes.
type source struct {
	*bytes.Reader
	mu     sync.Mutex
	closed bool
}

func (s *source) Read(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return 0, io.ErrClosedPipe
	}
	return s.Reader.Read(p)
}

// WriteTo must not lead past Read.
func (s *source) WriteTo(w io.Writer) (int64, error) {
	return io.Copy(w, struct{ io.Reader }{s})
}

func (s *source) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	return nil
}

// CopyPart makes length bytes of another object, from offset on, a part.
func (b *Bucket) CopyPart(ctx context.Context, m Multipart, number int32, from string, offset, length int64) (Part, error) {
	part := Part{Number: number, Size: length}
	err := b.doWork(ctx, "copy into", m.Key, func(ctx context.Context, _ int) error {
		out, err := b.worker.UploadPartCopy(ctx, &s3.UploadPartCopyInput{
			Bucket: b.bucket(), Key: b.key(m.Key), UploadId: &m.ID, PartNumber: &number,
			CopySource: b.source(from), CopySourceRange: aws.String(fmt.Sprintf("bytes=%d-%d", offset, offset+length-1)),
		})
		if err != nil {
			return err
		}
		if out.CopyPartResult == nil || aws.ToString(out.CopyPartResult.ETag) == "" {
			return errAgain
		}
		part.ETag = aws.ToString(out.CopyPartResult.ETag)
		return nil
	})
	return part, err
}

// Parts lists what an upload has, in order. ErrNotFound where it has ended.
func (b *Bucket) Parts(ctx context.Context, m *Multipart) ([]Part, error) {
	var parts []Part
	in := &s3.ListPartsInput{Bucket: b.bucket(), Key: b.key(m.Key), UploadId: &m.ID}
	for {
		var out *s3.ListPartsOutput
		err := b.do(ctx, "list the parts of", m.Key, func(ctx context.Context, _ int) (err error) {
			out, err = b.client.ListParts(ctx, in)
			return err
		})
		if err != nil {
			return nil, err
		}
		m.plain = b.settings.atAmazon() && out.ChecksumAlgorithm != types.ChecksumAlgorithmCrc32c
		for _, p := range out.Parts {
			parts = append(parts, Part{Number: aws.ToInt32(p.PartNumber), Size: aws.ToInt64(p.Size), ETag: aws.ToString(p.ETag)})
		}
		if !aws.ToBool(out.IsTruncated) || aws.ToString(out.NextPartNumberMarker) == "" {
			slices.SortFunc(parts, func(a, c Part) int { return cmp.Compare(a.Number, c.Number) })
			return parts, nil
		}
		in.PartNumberMarker = out.NextPartNumberMarker
	}
}

// Multiparts lists the unfinished uploads of keys that begin with prefix.
func (b *Bucket) Multiparts(ctx context.Context, prefix string) ([]Multipart, error) {
	var list []Multipart
	in := &s3.ListMultipartUploadsInput{Bucket: b.bucket(), Prefix: b.key(prefix)}
	for {
		var out *s3.ListMultipartUploadsOutput
		err := b.do(ctx, "list the uploads of", prefix, func(ctx context.Context, _ int) (err error) {
			out, err = b.client.ListMultipartUploads(ctx, in)
			return err
		})
		if err != nil {
			return nil, err
		}
		for _, u := range out.Uploads {
			list = append(list, Multipart{Key: b.name(aws.ToString(u.Key)), ID: aws.ToString(u.UploadId), Begun: aws.ToTime(u.Initiated)})
		}
		if !aws.ToBool(out.IsTruncated) || aws.ToString(out.NextKeyMarker) == "" && aws.ToString(out.NextUploadIdMarker) == "" {
			return list, nil
		}
		in.KeyMarker, in.UploadIdMarker = out.NextKeyMarker, out.NextUploadIdMarker
	}
}

// CompleteMultipart makes the parts the object. Where an earlier attempt had
// succeeded and its answer was lost, it succeeds.
func (b *Bucket) CompleteMultipart(ctx context.Context, m Multipart, parts []Part) (etag string, err error) {
	completed := make([]types.CompletedPart, len(parts))
	var size int64
	for i, p := range parts {
		completed[i] = types.CompletedPart{ETag: aws.String(p.ETag), PartNumber: aws.Int32(p.Number)}
		size += p.Size
	}
	err = b.doWork(ctx, "complete the upload of", m.Key, func(ctx context.Context, before int) error {
		out, err := b.worker.CompleteMultipartUpload(ctx, &s3.CompleteMultipartUploadInput{
			Bucket: b.bucket(), Key: b.key(m.Key), UploadId: &m.ID, MultipartUpload: &types.CompletedMultipartUpload{Parts: completed},
		})
		if err == nil {
			if etag = aws.ToString(out.ETag); etag == "" {
				return errAgain // neither an error nor an answer
			}
			return nil
		}
		if before > 0 && code(err) == "NoSuchUpload" {
			return b.completed(ctx, m, parts, size, &etag, err)
		}
		return err
	})
	return etag, err
}

// completed tells whether the object is what a lost attempt made.
func (b *Bucket) completed(ctx context.Context, m Multipart, parts []Part, size int64, etag *string, cause error) error {
	o, err := b.Head(ctx, m.Key)
	switch {
	case errors.Is(err, ErrNotFound):
		return cause
	case err != nil:
		return err
	case o.Size != size:
		return cause
	}
	if want := combined(parts); want != "" && !o.opaque && digestTag(o.ETag) && o.ETag != want {
		return cause
	}
	*etag = o.ETag
	return nil
}

// AbortMultipart ends an upload and drops its parts. One that is gone is no error.
func (b *Bucket) AbortMultipart(ctx context.Context, m Multipart) error {
	return b.do(ctx, "abort the upload of", m.Key, func(ctx context.Context, _ int) error {
		_, err := b.client.AbortMultipartUpload(ctx, &s3.AbortMultipartUploadInput{Bucket: b.bucket(), Key: b.key(m.Key), UploadId: &m.ID})
		if err != nil && kindOf(err) == ErrNotFound {
			return nil
		}
		return err
	})
}

// newAnswer is an error that the store reports inside an answer.
func newAnswer(code, message string) error {
	return &smithy.GenericAPIError{Code: code, Message: message}
}
