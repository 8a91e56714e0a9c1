package bucket

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"iter"
	"net/http"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

// Object is what the store says of an object. In a listing with a delimiter, a
// Key that ends with it and has Prefix set stands for all keys that begin so.
type Object struct {
	Key      string
	Size     int64
	Modified time.Time
	ETag     string
	Prefix   bool

	opaque bool // the ETag is no MD5 sum: a key service encrypts
}

// Condition makes a Put depend on what is there. The zero value does not.
type Condition struct {
	IfMatch     string // an ETag: replace exactly that
	IfNoneMatch string // "*": create, never replace
}

const (
	contentType = "application/octet-stream"
	listMax     = 1000
)

// Head asks for an object's size, time and ETag. ErrNotFound where there is none.
func (b *Bucket) Head(ctx context.Context, key string) (Object, error) {
	var o Object
	err := b.do(ctx, "find", key, func(ctx context.Context, _ int) error {
		out, err := b.client.HeadObject(ctx, &s3.HeadObjectInput{Bucket: b.bucket(), Key: b.key(key)})
		if err != nil {
			return err
		}
		o = Object{Key: key, Size: aws.ToInt64(out.ContentLength), Modified: aws.ToTime(out.LastModified), ETag: aws.ToString(out.ETag)}
		o.opaque = out.ServerSideEncryption != "" && out.ServerSideEncryption != types.ServerSideEncryptionAes256
		return nil
	})
	return o, err
}

// Get reads length bytes from offset on; length -1 is to the end, and an
// offset at or beyond the end has nothing to read. The reader resumes a body
// that is cut or stalls, as long as the object stays the same one.
func (b *Bucket) Get(ctx context.Context, key string, offset, length int64) (io.ReadCloser, Object, error) {
	return b.open(ctx, key, offset, length, "")
}

// ReadAll reads a small object: at most limit bytes.
func (b *Bucket) ReadAll(ctx context.Context, key string, limit int64) ([]byte, Object, error) {
	r, o, err := b.Get(ctx, key, 0, -1)
	if err != nil {
		return nil, o, err
	}
	defer r.Close()
	if o.Size > limit {
		return nil, o, &Error{Op: "read", Key: key, Err: fmt.Errorf("it has %d bytes, more than %d", o.Size, limit)}
	}
	data := make([]byte, o.Size)
	_, err = io.ReadFull(r, data)
	return data, o, err
}

// Put writes a small object in one request and returns its ETag. With a
// condition that does not hold it is ErrConflict; data that was in fact
// written by a first attempt is recognised.
func (b *Bucket) Put(ctx context.Context, key string, data []byte, c Condition) (string, error) {
	var etag string
	err := b.do(ctx, "write", key, func(ctx context.Context, before int) error {
		in := &s3.PutObjectInput{
			Bucket: b.bucket(), Key: b.key(key), Body: bytes.NewReader(data), ContentLength: aws.Int64(int64(len(data))),
			ContentType: aws.String(contentType), StorageClass: types.StorageClass(b.settings.StorageClass), ACL: types.ObjectCannedACL(b.settings.ACL),
			IfMatch: optional(c.IfMatch), IfNoneMatch: optional(c.IfNoneMatch),
		}
		in.ServerSideEncryption, in.SSEKMSKeyId = b.encryption()
		options := []func(*s3.Options){unsigned}
		md5 := b.md5.Load()
		if md5 {
			options = append(options, withMD5)
		} else {
			in.ChecksumCRC32C = aws.String(crc(checksum(data)))
		}
		out, err := b.client.PutObject(ctx, in, options...)
		switch {
		case err == nil:
			etag = aws.ToString(out.ETag)
			return nil
		case b.refusesCRC(err, md5):
			return errAgain
		case before > 0 && c != (Condition{}) && (kindOf(err) == ErrConflict || kindOf(err) == ErrNotFound):
			return b.ours(ctx, key, data, &etag, err)
		}
		return err
	})
	return etag, err
}

// ours tells whether the object is what a lost attempt wrote; if not, the
// conflict is a real one.
func (b *Bucket) ours(ctx context.Context, key string, data []byte, etag *string, conflict error) error {
	have, o, err := b.ReadAll(ctx, key, int64(len(data)))
	if errors.Is(err, ErrUnavailable) {
		return err
	}
	if err != nil || !bytes.Equal(have, data) {
		return conflict
	}
	*etag = o.ETag
	return nil
}

// errAgain asks for another attempt, the way of which has changed.
var errAgain = fmt.Errorf("%w: another attempt is needed", errCut)

// refusesCRC notes when a store does not take CRC32C: MD5 is used from then on.
func (b *Bucket) refusesCRC(err error, md5 bool) bool {
	if err == nil || md5 {
		return false
	}
	s, c := status(err), code(err)
	refused := s == http.StatusNotImplemented || s == http.StatusBadRequest &&
		(c == "InvalidRequest" || c == "NotImplemented" || c == "InvalidArgument" || c == "MissingContentMD5") && mentions(err, "checksum", "md5", "header", "crc32c")
	if refused {
		b.md5.Store(true)
	}
	return refused
}

func mentions(err error, words ...string) bool {
	text := strings.ToLower(err.Error())
	for _, w := range words {
		if strings.Contains(text, w) {
			return true
		}
	}
	return false
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func checksum(data []byte) uint32 { return crc32.Checksum(data, castagnoli) }

// crc is a checksum as the header has it.
func crc(sum uint32) string {
	return base64.StdEncoding.EncodeToString(binary.BigEndian.AppendUint32(nil, sum))
}

// Delete removes objects: many in one call, or, where the service has no such
// call, one by one. One that is not there is no error.
func (b *Bucket) Delete(ctx context.Context, keys ...string) error {
	if len(keys) == 1 {
		return b.deleteOne(ctx, keys[0])
	}
	for len(keys) > 0 && !b.lacks.bulkDelete.Load() {
		n := min(len(keys), listMax)
		err := b.deleteMany(ctx, keys[:n])
		if Lacking(err) {
			b.lacks.bulkDelete.Store(true)
			break
		}
		if err != nil {
			return err
		}
		keys = keys[n:]
	}
	return b.deleteEach(ctx, keys)
}

func (b *Bucket) deleteOne(ctx context.Context, key string) error {
	return b.do(ctx, "delete", key, func(ctx context.Context, _ int) error {
		_, err := b.client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: b.bucket(), Key: b.key(key)})
		if kindOf(err) == ErrNotFound && err != nil {
			return nil
		}
		return err
	})
}

func (b *Bucket) deleteMany(ctx context.Context, keys []string) error {
	objects := make([]types.ObjectIdentifier, len(keys))
	for i, k := range keys {
		objects[i].Key = b.key(k)
	}
	return b.do(ctx, "delete", fmt.Sprintf("%s and %d more", keys[0], len(keys)-1), func(ctx context.Context, _ int) error {
		out, err := b.client.DeleteObjects(ctx, &s3.DeleteObjectsInput{
			Bucket: b.bucket(), Delete: &types.Delete{Objects: objects, Quiet: aws.Bool(true)},
		}, withMD5)
		if err != nil {
			return err
		}
		for _, e := range out.Errors {
			if c := aws.ToString(e.Code); c != "NoSuchKey" {
				return newAnswer(c, aws.ToString(e.Message))
			}
		}
		return nil
	})
}

// DeletePrefix removes all objects whose keys begin with prefix.
func (b *Bucket) DeletePrefix(ctx context.Context, prefix string) error {
	var keys []string
	for o, err := range b.List(ctx, prefix, "", "") {
		if err != nil {
			return err
		}
		if keys = append(keys, o.Key); len(keys) == listMax {
			if err := b.Delete(ctx, keys...); err != nil {
				return err
			}
			keys = keys[:0]
		}
	}
	return b.Delete(ctx, keys...)
}

// List gives the objects whose keys begin with prefix and come after the key
// after, in order. With a delimiter, keys that have it behind the prefix are
// gathered into one Object with Prefix set. It ends with the first error.
func (b *Bucket) List(ctx context.Context, prefix, after, delimiter string) iter.Seq2[Object, error] {
	return b.list(ctx, prefix, after, delimiter, listMax)
}

func (b *Bucket) list(ctx context.Context, prefix, after, delimiter string, page int32) iter.Seq2[Object, error] {
	return func(yield func(Object, error) bool) {
		in := &s3.ListObjectsV2Input{Bucket: b.bucket(), Prefix: b.key(prefix), Delimiter: optional(delimiter), MaxKeys: &page}
		if after != "" {
			in.StartAfter = b.key(after)
		}
		for {
			out, err := b.page(ctx, prefix, in)
			if err != nil {
				yield(Object{}, err)
				return
			}
			if !b.yieldPage(out, yield) {
				return
			}
			if !aws.ToBool(out.IsTruncated) || aws.ToString(out.NextContinuationToken) == "" {
				return
			}
			in.ContinuationToken = out.NextContinuationToken
		}
	}
}

func (b *Bucket) page(ctx context.Context, prefix string, in *s3.ListObjectsV2Input) (out *s3.ListObjectsV2Output, err error) {
	err = b.do(ctx, "list", prefix, func(ctx context.Context, _ int) error {
		out, err = b.client.ListObjectsV2(ctx, in)
		return err
	})
	return out, err
}

// yieldPage merges objects and common prefixes into one order.
func (b *Bucket) yieldPage(out *s3.ListObjectsV2Output, yield func(Object, error) bool) bool {
	objects, prefixes := out.Contents, out.CommonPrefixes
	for len(objects) > 0 || len(prefixes) > 0 {
		var o Object
		if len(prefixes) == 0 || len(objects) > 0 && aws.ToString(objects[0].Key) < aws.ToString(prefixes[0].Prefix) {
			f := objects[0]
			o = Object{Key: b.name(aws.ToString(f.Key)), Size: aws.ToInt64(f.Size), Modified: aws.ToTime(f.LastModified), ETag: aws.ToString(f.ETag)}
			objects = objects[1:]
		} else {
			o = Object{Key: b.name(aws.ToString(prefixes[0].Prefix)), Prefix: true}
			prefixes = prefixes[1:]
		}
		if !yield(o, nil) {
			return false
		}
	}
	return true
}

// Presign makes a URL with which anybody may GET or HEAD an object for a while.
func (b *Bucket) Presign(ctx context.Context, method, key string, life time.Duration) (string, error) {
	signer := s3.NewPresignClient(b.client, s3.WithPresignExpires(life), func(o *s3.PresignOptions) {
		if b.settings.RedirectEndpoint != "" {
			o.ClientOptions = append(o.ClientOptions, func(c *s3.Options) { c.APIOptions = append(c.APIOptions, moveTo(b.settings.RedirectEndpoint)) })
		}
	})
	var url string
	switch method {
	case http.MethodGet:
		out, err := signer.PresignGetObject(ctx, &s3.GetObjectInput{Bucket: b.bucket(), Key: b.key(key)})
		if err != nil {
			return "", &Error{Op: "sign an address of", Key: key, Err: err, kind: kindOf(err)}
		}
		url = out.URL
	case http.MethodHead:
		out, err := signer.PresignHeadObject(ctx, &s3.HeadObjectInput{Bucket: b.bucket(), Key: b.key(key)})
		if err != nil {
			return "", &Error{Op: "sign an address of", Key: key, Err: err, kind: kindOf(err)}
		}
		url = out.URL
	default:
		return "", fmt.Errorf("cannot sign a %s of %s: only GET and HEAD", method, key)
	}
	return url, nil
}

// First gives the first object whose key begins with prefix, if there is one.
func (b *Bucket) First(ctx context.Context, prefix string) iter.Seq2[Object, error] {
	return func(yield func(Object, error) bool) {
		for o, err := range b.list(ctx, prefix, "", "", 1) {
			yield(o, err)
			return
		}
	}
}
