package bucket

import (
	"context"
	"crypto/md5"
	"encoding/hex"
	"fmt"
	"io"
	"net/url"
	"strings"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

// source is an object's name as the header of a copy has it.
func (b *Bucket) source(key string) *string {
	parts := strings.Split(*b.bucket()+"/"+*b.key(key), "/")
	for i, p := range parts {
		parts[i] = url.PathEscape(p)
	}
	return aws.String(strings.Join(parts, "/"))
}

// Copy copies an object within the store; a large one in parts, several at a
// time.
func (b *Bucket) Copy(ctx context.Context, from, to string) error {
	o, err := b.Head(ctx, from)
	if err != nil {
		return err
	}
	return b.CopySized(ctx, from, to, o.Size)
}

// CopySized is Copy of an object whose size is known. A service that cannot copy
// parts copies the whole, of at most 5 GiB; what cannot be copied is uploaded again.
func (b *Bucket) CopySized(ctx context.Context, from, to string, size int64) error {
	whole := size <= b.settings.CopyThreshold
	if !whole && !b.lacks.partCopy.Load() {
		err := b.copyInParts(ctx, from, to, size)
		if !Lacking(err) {
			return err
		}
		b.lacks.partCopy.Store(true)
	}
	if (whole || size <= maxPart) && !b.lacks.copy.Load() {
		err := b.copyWhole(ctx, from, to)
		if !Lacking(err) {
			return err
		}
		b.lacks.copy.Store(true)
	}
	return b.copyThrough(ctx, from, to)
}

func (b *Bucket) copyInParts(ctx context.Context, from, to string, size int64) error {
	m, err := b.CreateMultipart(ctx, to)
	if err != nil {
		return err
	}
	chunk := b.settings.CopyChunkSize
	for size/chunk >= MaxParts {
		chunk *= 2
	}
	parts, err := b.CopyParts(ctx, m, from, size, chunk)
	if err == nil {
		_, err = b.CompleteMultipart(ctx, m, parts)
	}
	if err != nil {
		_ = b.AbortMultipart(context.WithoutCancel(ctx), m) // what is left costs room, no more
	}
	return err
}

// copyThrough reads an object and uploads it again.
func (b *Bucket) copyThrough(ctx context.Context, from, to string) error {
	r, _, err := b.Get(ctx, from, 0, -1)
	if err != nil {
		return err
	}
	defer r.Close()
	u := b.NewUpload(ctx, NewBuffers(parallel*b.settings.ChunkSize, ""), Multipart{Key: to}, nil)
	if _, err = io.Copy(u, r); err == nil {
		if data, all := u.Data(); all {
			_, err = b.Put(ctx, to, data, Condition{})
			u.Close()
			return err
		}
		err = u.Complete(ctx)
	}
	if err != nil {
		_ = u.Abort(context.WithoutCancel(ctx)) // what is left costs room, no more
	}
	return err
}

func (b *Bucket) copyWhole(ctx context.Context, from, to string) error {
	in := &s3.CopyObjectInput{
		Bucket: b.bucket(), Key: b.key(to), CopySource: b.source(from), ContentType: aws.String(contentType),
		StorageClass: types.StorageClass(b.settings.StorageClass), ACL: types.ObjectCannedACL(b.settings.ACL),
	}
	in.ServerSideEncryption, in.SSEKMSKeyId = b.encryption()
	return b.doWork(ctx, "copy to", to, func(ctx context.Context, _ int) error {
		out, err := b.worker.CopyObject(ctx, in)
		if err == nil && (out.CopyObjectResult == nil || aws.ToString(out.CopyObjectResult.ETag) == "") {
			return errAgain // an error after the headers had gone
		}
		return err
	})
}

// CopyParts makes the first size bytes of an object the first parts of an upload,
// each of chunk bytes but for the last one: others may follow where size is a
// multiple of chunk.
func (b *Bucket) CopyParts(ctx context.Context, m Multipart, from string, size, chunk int64) ([]Part, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	parts := make([]Part, max(1, (size+chunk-1)/chunk))
	limit := make(chan struct{}, b.settings.CopyParallel)
	var wg sync.WaitGroup
	for i := range parts {
		limit <- struct{}{}
		wg.Go(func() {
			defer func() { <-limit }()
			offset := int64(i) * chunk
			length := min(chunk, size-offset)
			var err error
			if parts[i], err = b.CopyPart(ctx, m, int32(i+1), from, offset, length); err != nil {
				cancel(err)
			}
		})
	}
	wg.Wait()
	return parts, context.Cause(ctx)
}

// combined is the ETag that S3 gives an object of these parts, "" where their
// own ETags are no MD5 sums.
func combined(parts []Part) string {
	h := md5.New()
	for _, p := range parts {
		sum, err := hex.DecodeString(strings.Trim(p.ETag, `"`))
		if err != nil || len(sum) != md5.Size {
			return ""
		}
		h.Write(sum)
	}
	return fmt.Sprintf("%q", fmt.Sprintf("%x-%d", h.Sum(nil), len(parts)))
}

// digestTag tells whether an ETag is made of MD5 sums, as S3's are.
func digestTag(etag string) bool {
	sum, _, _ := strings.Cut(strings.Trim(etag, `"`), "-")
	_, err := hex.DecodeString(sum)
	return err == nil && len(sum) == 2*md5.Size
}
