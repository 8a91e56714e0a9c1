package bucket

import (
	"context"
	"crypto/md5"
	"encoding/hex"
	"fmt"
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

// CopySized is Copy of an object whose size is known.
func (b *Bucket) CopySized(ctx context.Context, from, to string, size int64) error {
	if size <= b.settings.CopyThreshold {
		return b.copyWhole(ctx, from, to)
	}
	m, err := b.CreateMultipart(ctx, to)
	if err != nil {
		return err
	}
	parts, err := b.CopyParts(ctx, m, from, size)
	if err == nil {
		_, err = b.CompleteMultipart(ctx, m, parts)
	}
	if err != nil {
		_ = b.AbortMultipart(context.WithoutCancel(ctx), m) // what is left costs room, no more
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

// CopyParts makes an object, of at least MinPart bytes, the first parts of an
// upload: others may follow.
func (b *Bucket) CopyParts(ctx context.Context, m Multipart, from string, size int64) ([]Part, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	chunk := b.settings.CopyChunkSize
	for size/chunk >= MaxParts {
		chunk *= 2
	}
	parts := make([]Part, max(1, size/chunk)) // the last one has the rest
	limit := make(chan struct{}, b.settings.CopyParallel)
	var wg sync.WaitGroup
	for i := range parts {
		limit <- struct{}{}
		wg.Go(func() {
			defer func() { <-limit }()
			offset, length := int64(i)*chunk, chunk
			if i == len(parts)-1 {
				length = size - offset
			}
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
