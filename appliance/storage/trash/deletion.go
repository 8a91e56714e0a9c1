package trash

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/distribution/distribution/v3/registry/storage/driver"
	"github.com/opencontainers/go-digest"

	"github.com/redoubt-registry/redoubt/appliance/storage/bucket"
	"github.com/redoubt-registry/redoubt/appliance/storage/layout"
)

// Deleted is the directory of the links that somebody has deleted: tags, manifests, and
// blobs of a repository. Unlike what lies below Root, they do not come back when they are
// asked for. Each is a file in the directory new, until a collection puts them together
// in files below the number of its run.
const Deleted = "/redoubt/deleted"

const fresh = Deleted + "/new"

// Deletion is a link that somebody has deleted. What it led to is collected like
// everything that nothing holds.
type Deletion struct {
	Link   string        `json:"link"`   // its path
	Digest digest.Digest `json:"digest"` // that it held
	At     time.Time     `json:"at"`     // by the clock of who deleted it
}

// deletable is the link whose deletion is kept when p is deleted; empty: none.
func deletable(p string) string {
	if repository, tag, ok := layout.TagAt(p); ok {
		return layout.TagPath(repository, tag)
	}
	if _, _, ok := layout.RevisionAt(p); ok {
		return p
	}
	if _, _, ok := layout.LayerAt(p); ok {
		return p
	}
	return ""
}

// keepTime bounds how long a deletion waits until it is kept.
const keepTime = 10 * time.Second

// keep keeps a link that is about to be deleted. Where the storage is full it is deleted
// all the same: that is how space is made.
func keep(ctx context.Context, d driver.StorageDriver, link string) error {
	dgst, gone, err := layout.Read(ctx, d, link)
	if _, damaged := errors.AsType[*layout.Damage](err); gone || damaged {
		return nil
	}
	if err != nil {
		return err
	}
	now := time.Now().UTC()
	data, err := json.Marshal(Deletion{Link: link, Digest: dgst, At: now})
	if err != nil {
		return err
	}
	// Not the request's context: a storage that is full must not fail the request.
	ctx, cancel := context.WithTimeout(context.Background(), keepTime)
	defer cancel()
	if err := d.PutContent(ctx, fmt.Sprintf("%s/%d-%s", fresh, now.UnixNano(), rand.Text()), data); err != nil && !Full(err) {
		return fmt.Errorf("cannot keep what is deleted: %w", err)
	}
	return nil
}

// Full tells whether a storage has failed since it has no room.
func Full(err error) bool {
	if wrapped, ok := errors.AsType[driver.Error](err); ok {
		err = errors.Join(err, wrapped.Detail)
	}
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || errors.Is(err, bucket.ErrFull)
}

type forgetKey struct{}

// Forget makes a context in which what is deleted is not kept.
func Forget(ctx context.Context) context.Context { return context.WithValue(ctx, forgetKey{}, true) }

// Untag deletes a tag of a repository, as the registry does. It can be brought back.
func Untag(ctx context.Context, d driver.StorageDriver, repository, tag string) error {
	return unlessMissing(Driver(d).Delete(ctx, path.Dir(path.Dir(layout.TagPath(repository, tag)))))
}

// Remove makes a manifest none of a repository any more, as the registry does. Its tags
// are the caller's, who deletes them after it. It can be brought back.
func Remove(ctx context.Context, d driver.StorageDriver, repository string, dgst digest.Digest) error {
	rd := Driver(d)
	link := layout.LinkPath(repository, layout.Revisions, dgst)
	data, err := manifest(ctx, rd, link)
	if err != nil {
		return err
	}
	if err := unlessMissing(rd.Delete(ctx, link)); err != nil || data == nil {
		return err
	}
	subject := layout.ReferencesOf(data).Subject
	if subject == "" {
		return nil
	}
	return unlessMissing(d.Delete(ctx, layout.ReferrerPath(repository, subject, dgst)))
}

// Record is a file of deletions.
type Record struct {
	Run       int64 // of the collection that made it; 0: it is of one deletion, and none has
	Path      string
	Deletions []Deletion
}

// EachRecord calls f for each file of deletions, one at a time, in no order.
func EachRecord(ctx context.Context, d driver.StorageDriver, f func(Record) error) error {
	if err := layout.Walk(ctx, d, Deleted, func(info driver.FileInfo) error {
		p := info.Path()
		run, err := strconv.ParseInt(path.Base(path.Dir(p)), 10, 64)
		if err != nil && path.Dir(p) != fresh || strings.Contains(path.Base(p), ".") {
			return nil // a directory's driver is writing it
		}
		r := Record{Run: run, Path: p}
		data, err := d.GetContent(ctx, p)
		if err != nil {
			return unlessMissing(err)
		}
		for line := range bytes.Lines(data) {
			var x Deletion
			if json.Unmarshal(line, &x) == nil && x.Digest.Validate() == nil && x.Link != "" && deletable(x.Link) == x.Link {
				r.Deletions = append(r.Deletions, x)
			}
		}
		return f(r)
	}); err != nil {
		return fmt.Errorf("cannot look at what was deleted: %w", err)
	}
	return nil
}

// write writes a file of deletions, or deletes it with the last one.
func (r Record) write(ctx context.Context, d driver.StorageDriver) error {
	if len(r.Deletions) == 0 {
		return unlessMissing(d.Delete(ctx, r.Path))
	}
	var b bytes.Buffer
	for _, x := range r.Deletions {
		if err := json.NewEncoder(&b).Encode(x); err != nil {
			return err
		}
	}
	return d.PutContent(ctx, r.Path, b.Bytes())
}

// gathered is how many deletions a file has at most.
const gathered = 10_000

// Gather puts the deletions that no collection has seen into files of this one. A process
// that is killed meanwhile leaves some twice, which does no harm. beat is called between
// changes.
func Gather(ctx context.Context, d driver.StorageDriver, run int64, beat func(context.Context) error) (n int64, err error) {
	var one Record
	var from []string
	flush := func() error {
		if len(from) == 0 {
			return nil
		}
		one.Run, one.Path = run, fmt.Sprintf("%s/%d/%s", Deleted, run, rand.Text())
		if len(one.Deletions) > 0 {
			if err := one.write(ctx, d); err != nil {
				return err
			}
		}
		for _, p := range from {
			if err := errors.Join(beat(ctx), unlessMissing(d.Delete(ctx, p))); err != nil {
				return err
			}
		}
		n += int64(len(one.Deletions))
		one, from = Record{}, nil
		return nil
	}
	var files []Record
	err = EachRecord(ctx, d, func(r Record) error {
		if r.Run == 0 {
			files = append(files, r)
		}
		return nil
	})
	for _, r := range files {
		if err != nil {
			break
		}
		one.Deletions, from = append(one.Deletions, r.Deletions...), append(from, r.Path)
		if len(one.Deletions) >= gathered {
			err = flush()
		}
	}
	if err == nil {
		err = flush()
	}
	if err != nil {
		return n, fmt.Errorf("cannot gather what was deleted: %w", err)
	}
	return n, nil
}

// Runs are the runs that have files of deletions.
func Runs(ctx context.Context, d driver.StorageDriver) (runs []int64, err error) {
	dirs, err := d.List(ctx, Deleted)
	if unlessMissing(err) != nil {
		return nil, fmt.Errorf("cannot look at what was deleted: %w", err)
	}
	for _, dir := range dirs {
		if run, err := strconv.ParseInt(path.Base(dir), 10, 64); err == nil {
			runs = append(runs, run)
		}
	}
	return runs, nil
}

// Drop drops the deletions of a run: they cannot be taken back any more.
func Drop(ctx context.Context, d driver.StorageDriver, run int64) error {
	if err := unlessMissing(d.Delete(ctx, fmt.Sprintf("%s/%d", Deleted, run))); err != nil {
		return fmt.Errorf("cannot drop what was deleted: %w", err)
	}
	return nil
}
