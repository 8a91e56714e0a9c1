package driver

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"path"
	"slices"
	"strings"

	storagedriver "github.com/distribution/distribution/v3/registry/storage/driver"

	"github.com/redoubt-registry/redoubt/appliance/storage/bucket"
	"github.com/redoubt-registry/redoubt/appliance/storage/fault"
	"github.com/redoubt-registry/redoubt/appliance/storage/layout"
	"github.com/redoubt-registry/redoubt/appliance/storage/once"
)

// GetContent implements storagedriver.StorageDriver.
func (d *driver) GetContent(ctx context.Context, p string) ([]byte, error) {
	if data := d.remembered(p); data != nil {
		return bytes.Clone(data), nil
	}
	r, err := d.Reader(ctx, p, 0)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	data, err := io.ReadAll(r)
	return data, fail(ctx, p, err)
}

// remembered is a small file of one of our uploads.
func (d *driver) remembered(p string) []byte {
	dir, rest, ok := layout.Upload(p)
	if !ok {
		return nil
	}
	s := d.sessions.get(dir)
	if s == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if rest == layout.UploadStarted {
		return s.startedAt
	}
	return s.states[p]
}

// PutContent implements storagedriver.StorageDriver.
func (d *driver) PutContent(ctx context.Context, p string, content []byte) error {
	dir, rest, ok := layout.Upload(p)
	switch {
	case ok && rest == layout.UploadStarted:
		if err := d.put(ctx, p, content); err != nil {
			return err
		}
		s := d.sessions.add(dir)
		s.mu.Lock()
		defer s.mu.Unlock()
		s.ours, s.startedAt = true, bytes.Clone(content)
		s.written = append(s.written, p)
		return nil
	case ok && strings.HasPrefix(rest, layout.UploadStates):
		return d.putState(ctx, dir, p, content)
	}
	return d.put(ctx, p, content)
}

func (d *driver) put(ctx context.Context, p string, content []byte) error {
	var condition bucket.Condition
	if once.Asked(ctx) {
		condition.IfNoneMatch = "*"
	}
	_, err := d.bucket.Put(ctx, p, content, condition)
	if once.Asked(ctx) && errors.Is(err, bucket.ErrConflict) {
		return once.ErrExists
	}
	return fail(ctx, p, err)
}

// putState writes the state of an upload's hash, from which another node or a later
// request continues. The states of an empty and of a complete upload are not needed. The
// writer's Close waits for it.
func (d *driver) putState(ctx context.Context, dir, p string, content []byte) error {
	if offset(p) == 0 {
		return nil
	}
	s := d.sessions.add(dir)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.committed || s.by != requestID(ctx) { // another one goes on, with data of its own
		return nil
	}
	if _, ok := s.states[p]; ok && bytes.Equal(s.states[p], content) {
		return nil
	}
	if s.writing != nil {
		<-s.writing
	}
	s.states[p] = bytes.Clone(content)
	s.written = append(s.written, p)
	done := make(chan error, 1)
	s.writing = done
	ctx = context.WithoutCancel(ctx)
	go func() { done <- d.put(ctx, p, bytes.Clone(content)) }()
	return nil
}

// Reader implements storagedriver.StorageDriver. It resumes by itself if a connection is
// cut.
func (d *driver) Reader(ctx context.Context, p string, offset int64) (io.ReadCloser, error) {
	r, _, err := d.bucket.Get(ctx, p, offset, -1)
	if err != nil {
		return nil, fail(ctx, p, err)
	}
	return &reader{ReadCloser: r, ctx: ctx}, nil
}

// reader notes that the storage failed.
type reader struct {
	io.ReadCloser
	ctx context.Context
}

func (r *reader) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		return n, fail(r.ctx, "", err)
	}
	return n, err
}

// leaves are names that are files in the registry's layout, never directories.
var leaves = []string{"data", "link", "startedat"}

// Stat implements storagedriver.StorageDriver. A request that ends an upload asks
// whether the blob is there already, to drop what it has just verified then. Here
// that takes the place of what is there, which may be damaged.
func (d *driver) Stat(ctx context.Context, p string) (storagedriver.FileInfo, error) {
	if layout.IsBlob(p) && d.placing(ctx) {
		return nil, storagedriver.PathNotFoundError{Path: p}
	}
	if info, known, err := d.statSession(p); known {
		return info, err
	}
	if p != "/" {
		o, err := d.bucket.Head(ctx, p)
		d.noteEnd(ctx, p, err)
		if err == nil {
			return file(p, o), nil
		}
		if !errors.Is(err, bucket.ErrNotFound) || slices.Contains(leaves, path.Base(p)) {
			return nil, fail(ctx, p, err)
		}
	}
	for _, err := range d.bucket.First(ctx, strings.TrimSuffix(p, "/")+"/") {
		if err != nil {
			return nil, fail(ctx, p, err)
		}
		return directory(p), nil
	}
	return nil, storagedriver.PathNotFoundError{Path: p}
}

// statSession answers for the data of an upload that has just been committed.
func (d *driver) statSession(p string) (storagedriver.FileInfo, bool, error) {
	dir, rest, ok := layout.Upload(p)
	if !ok || rest != layout.UploadData {
		return nil, false, nil
	}
	s := d.sessions.get(dir)
	if s == nil {
		return nil, false, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case !s.committed:
		return nil, false, nil
	case s.moved:
		return nil, true, storagedriver.PathNotFoundError{Path: p}
	}
	return file(p, bucket.Object{Size: s.size}), true, nil
}

// noteEnd notes that an upload has ended, if its data is gone while a request ends it:
// another one has, at this machine or at another.
func (d *driver) noteEnd(ctx context.Context, p string, err error) {
	_, rest, ok := layout.Upload(p)
	if ok && rest == layout.UploadData && errors.Is(err, bucket.ErrNotFound) && ends(ctx) {
		_ = fault.Refuse(ctx, fault.UploadEnded) // told if the request fails
	}
}

// placing tells whether the request that ctx belongs to has complete data of an upload,
// which is not yet where it will be.
func (d *driver) placing(ctx context.Context) bool {
	name, _ := ctx.Value("vars.name").(string) // upstream's keys
	id, _ := ctx.Value("vars.uuid").(string)
	if name == "" || id == "" || !ends(ctx) {
		return false
	}
	s := d.sessions.get(layout.Repositories + "/" + name + "/_uploads/" + id)
	if s == nil {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.committed && !s.moved && s.by == requestID(ctx)
}

// ends tells whether the request that ctx belongs to is one that ends an upload.
func ends(ctx context.Context) bool {
	r := request(ctx)
	return r != nil && r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/blobs/uploads/")
}

func file(p string, o bucket.Object) storagedriver.FileInfo {
	return storagedriver.FileInfoInternal{FileInfoFields: storagedriver.FileInfoFields{Path: p, Size: o.Size, ModTime: o.Modified}}
}

func directory(p string) storagedriver.FileInfo {
	return storagedriver.FileInfoInternal{FileInfoFields: storagedriver.FileInfoFields{Path: p, IsDir: true}}
}

// List implements storagedriver.StorageDriver.
func (d *driver) List(ctx context.Context, p string) ([]string, error) {
	if known := d.listStates(p); known != nil {
		return known, nil
	}
	paths := []string{}
	prefix := strings.TrimSuffix(p, "/") + "/"
	for o, err := range d.bucket.List(ctx, prefix, "", "/") {
		if err != nil {
			return nil, fail(ctx, p, err)
		}
		if found := "/" + strings.TrimSuffix(o.Key, "/"); found+"/" != prefix { // not a marker of the directory itself
			paths = append(paths, found)
		}
	}
	if len(paths) == 0 && p != "/" {
		return nil, storagedriver.PathNotFoundError{Path: p}
	}
	return paths, nil
}

// listStates gives the state of the hash that upstream looks for, where this
// process has it.
func (d *driver) listStates(p string) []string {
	dir, rest, ok := layout.Upload(p)
	if !ok || !strings.HasPrefix(rest, layout.UploadStates) {
		return nil
	}
	s := d.sessions.get(dir)
	if s == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for state := range s.states {
		if offset(state) == s.size && path.Dir(state) == strings.TrimSuffix(p, "/") {
			return []string{state}
		}
	}
	return nil
}
