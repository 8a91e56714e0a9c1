package driver

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	storagedriver "github.com/distribution/distribution/v3/registry/storage/driver"

	"github.com/redoubt-registry/redoubt/appliance/storage/bucket"
	"github.com/redoubt-registry/redoubt/appliance/storage/layout"
)

// Move implements storagedriver.StorageDriver. S3 has no such thing: it is a
// copy within the store, but where the upload waits for its final path.
func (d *driver) Move(ctx context.Context, from, to string) error {
	dir, rest, ok := layout.Upload(from)
	if ok && rest == layout.UploadData {
		if s := d.sessions.get(dir); s != nil {
			if done, err := d.moveSession(ctx, s, from, to); done {
				return err
			}
		}
	}
	if err := d.bucket.Copy(ctx, from, to); err != nil {
		d.noteEnd(ctx, from, err)
		return fail(ctx, from, err)
	}
	return fail(ctx, from, d.bucket.Delete(ctx, from))
}

// moveSession moves the data of an upload that has just been committed. The
// copy's source goes with the rest of the upload, for which upstream asks next.
func (d *driver) moveSession(ctx context.Context, s *session, from, to string) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.committed || s.moved {
		return false, nil
	}
	if s.ready != nil {
		if s.ready.path != to {
			return true, fmt.Errorf("cannot move an upload to %s: it was made for %s", to, s.ready.path)
		}
		if err := s.ready.publish(ctx, d.bucket); err != nil {
			return true, fail(ctx, from, err)
		}
		s.ready, s.moved = nil, true
		return true, nil
	}
	if err := d.bucket.CopySized(ctx, from, to, s.size); err != nil {
		d.noteEnd(ctx, from, err)
		return true, fail(ctx, from, err)
	}
	s.moved = true
	return true, nil
}

// publish makes the data an object: in one request where it is small.
func (r *ready) publish(ctx context.Context, b *bucket.Bucket) error {
	if data, all := r.upload.Data(); all {
		if _, err := b.Put(ctx, r.path, data, bucket.Condition{}); err != nil {
			return err
		}
		r.upload.Close()
		return nil
	}
	return r.upload.Complete(ctx)
}

// Delete implements storagedriver.StorageDriver: a file, or all below a
// directory.
func (d *driver) Delete(ctx context.Context, p string) error {
	if dir, rest, ok := layout.Upload(p); ok && rest == "" {
		return d.deleteUpload(ctx, dir)
	}
	found, err := d.deleteAll(ctx, p)
	if err == nil && !found {
		err = bucket.ErrNotFound
	}
	return fail(ctx, p, err)
}

// deleteAll deletes an object and all below it.
func (d *driver) deleteAll(ctx context.Context, p string) (found bool, err error) {
	if slices.Contains(leaves, path.Base(p)) {
		return d.deleteFile(ctx, p)
	}
	const batch = 1000
	var keys []string
	for o, err := range d.bucket.List(ctx, strings.TrimSuffix(p, "/")+"/", "", "") {
		if err != nil {
			return found, err
		}
		found = true
		if keys = append(keys, o.Key); len(keys) == batch {
			if err := d.bucket.Delete(ctx, keys...); err != nil {
				return found, err
			}
			keys = keys[:0]
		}
	}
	if !found {
		return d.deleteFile(ctx, p)
	}
	return true, d.bucket.Delete(ctx, append(keys, p)...)
}

func (d *driver) deleteFile(ctx context.Context, p string) (found bool, err error) {
	if _, err := d.bucket.Head(ctx, p); errors.Is(err, bucket.ErrNotFound) {
		return false, nil
	} else if err != nil {
		return false, err
	}
	return true, d.bucket.Delete(ctx, p)
}

// deleteUpload deletes everything of an upload. If only this process wrote it, it knows
// the objects without a listing.
func (d *driver) deleteUpload(ctx context.Context, dir string) error {
	s := d.sessions.end(dir)
	if s == nil {
		s = &session{}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	known := s.known()
	s.committed = true // for who still writes
	if s.writing != nil {
		<-s.writing // or the state would be written after the deletion
		s.writing = nil
	}
	if s.ready != nil {
		_ = s.ready.upload.Abort(ctx) // what stays costs only space
		s.ready = nil
	}
	if s.ours {
		if s.multipart.ID != "" && !s.complete {
			if err := d.bucket.AbortMultipart(ctx, s.multipart); err != nil {
				return fail(ctx, dir, err)
			}
		}
		return fail(ctx, dir, d.bucket.Delete(ctx, s.written...))
	}
	if !known { // upstream purges abandoned uploads
		d.sweep(ctx, time.Now().Add(-abandoned))
	}
	found, err := d.deleteAll(ctx, dir)
	if err != nil {
		return fail(ctx, dir, err)
	}
	aborted, err := d.abort(ctx, dir+"/"+layout.UploadData)
	if err != nil {
		return fail(ctx, dir, err)
	}
	if !found && !aborted {
		return storagedriver.PathNotFoundError{Path: dir}
	}
	return nil
}

// sweep ends uploads in parts, straight to a blob's path, of a process that was
// killed. It runs along with upstream's purge of its uploads, and retries at the next
// one.
func (d *driver) sweep(ctx context.Context, before time.Time) {
	if !d.sweeping.TryLock() {
		return
	}
	defer d.sweeping.Unlock()
	if time.Since(d.swept) < sweepPause {
		return
	}
	d.swept = time.Now()
	uploads, err := d.bucket.Multiparts(ctx, layout.Blobs[1:]+"/")
	if err != nil {
		return
	}
	for _, u := range uploads {
		if u.Begun.Before(before) {
			_ = d.bucket.AbortMultipart(ctx, u)
		}
	}
}

// abort ends all uploads in parts of a path.
func (d *driver) abort(ctx context.Context, p string) (found bool, err error) {
	uploads, err := d.uploads(ctx, p)
	for _, u := range uploads {
		if err := d.bucket.AbortMultipart(ctx, u); err != nil {
			return found, err
		}
		found = true
	}
	return found, err
}

// uploads are those in parts of exactly a path.
func (d *driver) uploads(ctx context.Context, p string) ([]bucket.Multipart, error) {
	key := strings.TrimPrefix(p, "/")
	list, err := d.bucket.Multiparts(ctx, key)
	return slices.DeleteFunc(list, func(m bucket.Multipart) bool { return m.Key != key }), err
}
