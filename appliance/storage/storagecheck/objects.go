package storagecheck

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/redoubt-registry/redoubt/appliance/storage/bucket"
	"github.com/redoubt-registry/redoubt/appliance/storage/health"
)

const (
	// answer is how long a request may take.
	answer = 4 * time.Second
	// seldom is how often the expensive operations are tried while all is well: an
	// upload in parts and a copy are four Class A requests.
	seldom = 10 * time.Minute
	canary = "canary"
	// parts is one key for all machines: MinIO lists the uploads of a key, not of a
	// prefix.
	parts = "parts"
)

// Objects keeps images in a bucket.
type Objects struct {
	Bucket *bucket.Bucket
	ID     string // of this machine: several share the bucket
}

func (o Objects) String() string { return bucketName(o.Bucket.Settings()) }

func bucketName(s bucket.Settings) string {
	name := strings.TrimSuffix(s.Bucket+"/"+s.Root, "/")
	if s.Endpoint == "" {
		return fmt.Sprintf("bucket %s in %s", name, s.Region)
	}
	return fmt.Sprintf("bucket %s at %s", name, s.Endpoint)
}

// key is the key of an object of this machine.
func (o Objects) key(name string) string { return probes + "/" + o.ID + "/" + name }

func (o Objects) look(ctx context.Context, l *looker, before map[string]health.Operation) {
	l.expect("get", "put", "list", "delete", "multipart", "copy")
	at := func(name string, timeout time.Duration, without health.Grade) attempt {
		return attempt{name: name, timeout: timeout, without: without, explain: explainBucket}
	}
	dear := o.dear(before)
	// First alone: it makes the object that stays, and with it the directory in a
	// store that has directories.
	got := l.try(ctx, at("get", answer, health.Down), o.get)
	var all sync.WaitGroup
	if got == nil && dear {
		all.Go(func() {
			to := o.key("copy-" + rand.Text())
			_ = l.try(ctx, at("copy", answer, health.Degraded), func(ctx context.Context) error { return o.copy(ctx, to) })
			o.drop(ctx, to)
		})
	}
	all.Go(func() {
		key := o.key("put-" + rand.Text())
		put := l.try(ctx, at("put", answer, health.Degraded), func(ctx context.Context) error { return o.put(ctx, key) })
		if put == nil {
			_ = l.try(ctx, at("delete", answer, health.Degraded), func(ctx context.Context) error { return o.Bucket.Delete(ctx, key) })
		}
	})
	all.Go(func() {
		var left []string
		err := l.try(ctx, at("list", answer, health.Degraded), func(ctx context.Context) (err error) {
			left, err = o.left(ctx)
			return err
		})
		if err == nil && len(left) > 0 {
			o.drop(ctx, left...)
		}
	})
	if dear {
		all.Go(func() {
			if l.try(ctx, at("multipart", 2*answer, health.Degraded), o.multipart) == nil {
				o.drop(ctx, o.key(parts))
			}
			o.sweep(ctx, time.Now())
		})
	} else {
		l.keep(before["multipart"])
		l.keep(before["copy"])
	}
	all.Wait()
}

// dear tells whether the expensive operations are to be tried.
func (o Objects) dear(before map[string]health.Operation) bool {
	for _, name := range []string{"multipart", "copy"} {
		last, ok := before[name]
		if age := time.Since(last.At); !ok || last.Error != "" || age >= seldom || age < 0 {
			return true
		}
	}
	return false
}

// get reads a part of an object that stays, so that reading can be graded while writing
// fails. The first check makes it.
func (o Objects) get(ctx context.Context) error {
	key := o.key(canary)
	err := o.read(ctx, key)
	if !errors.Is(err, bucket.ErrNotFound) && !errors.Is(err, bucket.ErrDenied) && !errors.Is(err, errWrong) {
		return err
	}
	// Without the right to list, a missing object is answered with 403.
	if _, e := o.Bucket.Put(ctx, key, pattern(), bucket.Condition{}); e != nil {
		if errors.Is(err, bucket.ErrNotFound) {
			return nil // the store answers; put reports what is wrong
		}
		return err
	}
	return o.read(ctx, key)
}

func (o Objects) read(ctx context.Context, key string) error {
	const from, length = 1000, 2000
	r, _, err := o.Bucket.Get(ctx, key, from, length)
	if err != nil {
		return err
	}
	defer r.Close()
	data, err := io.ReadAll(r)
	if err == nil && !bytes.Equal(data, pattern()[from:from+length]) {
		err = errWrong
	}
	return err
}

// errWrong: an object has another content than was put.
var errWrong = errors.New("the store answers with other bytes than it was given")

// pattern is the content of the canary.
func pattern() []byte {
	data := make([]byte, sample)
	for i := range data {
		data[i] = byte(i*7 + i/256)
	}
	return data
}

func (o Objects) put(ctx context.Context, key string) error {
	_, err := o.Bucket.Put(ctx, key, pattern(), bucket.Condition{})
	return err
}

// copy copies the object that get read.
func (o Objects) copy(ctx context.Context, to string) error {
	return o.Bucket.CopySized(ctx, o.key(canary), to, sample)
}

// multipart uploads in parts. One is enough, and the last may be small.
func (o Objects) multipart(ctx context.Context) error {
	key := o.key(parts)
	m, err := o.Bucket.CreateMultipart(ctx, key)
	if err != nil {
		return err
	}
	part, err := o.Bucket.UploadPart(ctx, m, 1, pattern())
	if err == nil {
		_, err = o.Bucket.CompleteMultipart(ctx, m, []bucket.Part{part})
	}
	if err != nil {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), quick)
		defer cancel()
		_ = o.Bucket.AbortMultipart(ctx, m) // a later check removes it
	}
	return err
}

// drop deletes an object. If that fails, a later check does it.
func (o Objects) drop(ctx context.Context, keys ...string) {
	ctx, cancel := context.WithTimeout(ctx, answer)
	defer cancel()
	_ = o.Bucket.Delete(ctx, keys...)
}

// left lists the objects that killed checks left.
func (o Objects) left(ctx context.Context) ([]string, error) {
	var keys []string
	for object, err := range o.Bucket.List(ctx, o.key(""), "", "") {
		if err != nil {
			return nil, err
		}
		if object.Key != o.key(canary) && time.Since(object.Modified) > litter {
			keys = append(keys, object.Key)
		}
	}
	return keys, nil
}

// sweep aborts the uploads that killed checks left.
func (o Objects) sweep(ctx context.Context, now time.Time) {
	ctx, cancel := context.WithTimeout(ctx, quick)
	defer cancel()
	uploads, err := o.Bucket.Multiparts(ctx, o.key(parts))
	if err != nil {
		return // the next check tries again
	}
	for _, m := range uploads {
		if now.Sub(m.Begun) > litter {
			_ = o.Bucket.AbortMultipart(ctx, m)
		}
	}
}

// explainBucket says what an error of the store means for the operator.
func explainBucket(err error) fault {
	f := fault{message: err.Error(), reason: "it fails"}
	if e, ok := errors.AsType[*bucket.Error](err); ok {
		f.reason = "it could not " + e.Op + " an object"
	}
	if p := bucket.Explain(err); p != nil {
		f.message, f.key = p.Message, p.Key
	}
	switch {
	case errors.Is(err, bucket.ErrFull):
		f.reason = "it is full"
	case errors.Is(err, bucket.ErrDenied):
		f.reason = "it refuses access"
	case errors.Is(err, bucket.ErrUnavailable), errors.Is(err, context.DeadlineExceeded):
		f.reason = "it does not answer"
		if f.key == "" {
			f.key = "storage.s3.endpoint"
		}
	}
	return f
}

// unusable is a storage whose settings do not even allow a check.
type unusable struct {
	name string
	err  error
}

func (u unusable) String() string { return u.name }

func (u unusable) look(ctx context.Context, l *looker, _ map[string]health.Operation) {
	l.expect("open")
	a := attempt{name: "open", timeout: quick, without: health.Down, explain: explainBucket}
	_ = l.try(ctx, a, func(context.Context) error { return u.err })
}
