//go:build integration

package bucket_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redoubt-registry/redoubt/appliance/storage/bucket"
	"github.com/redoubt-registry/redoubt/test/proxy"
	"github.com/redoubt-registry/redoubt/test/stores"
)

// longest is more than any call may take.
const longest = 30 * time.Second

// behind opens a bucket of a store through a proxy.
func behind(t *testing.T, s *stores.Store) (*bucket.Bucket, *proxy.Proxy) {
	t.Helper()
	p := proxy.HTTP(t, s.Endpoint)
	all := params(s, s.NewBucket(t))
	all["regionendpoint"] = p.URL
	return open(t, all), p
}

func is(method, part string) func(*http.Request) bool {
	return func(r *http.Request) bool {
		return r.Method == method && strings.Contains(r.URL.RequestURI(), part)
	}
}

// Each of these is done by the store, and the answer is lost: what is tried again
// must be known as done.
func TestLostAnswers(t *testing.T) {
	each(t, func(t *testing.T, s *stores.Store) {
		b, p := behind(t, s)
		ctx := t.Context()
		lose := func(method, part string) { p.Set(proxy.Fault{Match: is(method, part), Times: 1, Lost: true}) }
		for _, lost := range []proxy.Fault{{Lost: true}, {Lost: true, Status: 500}, {Lost: true, Status: 503}} {
			lost.Times = 1
			p.Set(lost)
			key := "created-" + http.StatusText(lost.Status)
			etag, err := b.Put(ctx, key, []byte("first"), bucket.Condition{IfNoneMatch: "*"})
			if err != nil {
				t.Fatalf("a create whose answer was lost (%+v): %v", lost, err)
			}
			p.Set(lost)
			if etag, err = b.Put(ctx, key, []byte("second"), bucket.Condition{IfMatch: etag}); err != nil {
				t.Fatalf("a swap whose answer was lost (%+v): %v", lost, err)
			}
			if o, err := b.Head(ctx, key); err != nil || o.ETag != etag {
				t.Errorf("the ETag is %s, %v; not %s", o.ETag, err, etag)
			}
		}
		// Somebody else has written in between: that is a conflict.
		p.Set(proxy.Fault{Match: is("PUT", "theirs"), Times: 1, Status: 503})
		direct := open(t, params(s, b.Settings().Bucket))
		if _, err := direct.Put(ctx, "theirs", []byte("theirs"), bucket.Condition{}); err != nil {
			t.Fatal(err)
		}
		if _, err := b.Put(ctx, "theirs", []byte("ours"), bucket.Condition{IfNoneMatch: "*"}); !errors.Is(err, bucket.ErrConflict) {
			t.Errorf("what another one has written gave %v", err)
		}

		data := noise(t, 6*mib)
		m, err := b.CreateMultipart(ctx, "big")
		if err != nil {
			t.Fatal(err)
		}
		lose("PUT", "partNumber=1")
		part, err := b.UploadPart(ctx, m, 1, data)
		if err != nil {
			t.Fatal(err)
		}
		lose("POST", "uploadId")
		if _, err := b.CompleteMultipart(ctx, m, []bucket.Part{part}); err != nil {
			t.Errorf("an upload that was completed, and the answer lost: %v", err)
		}
		lose("PUT", "copied")
		if err := b.Copy(ctx, "big", "copied"); err != nil {
			t.Error(err)
		}
		lose("DELETE", "big")
		if err := b.Delete(ctx, "big"); err != nil {
			t.Errorf("a deletion whose answer was lost: %v", err)
		}
		got, _, err := b.ReadAll(ctx, "copied", 6*mib)
		if err != nil || !bytes.Equal(got, data) {
			t.Errorf("%d bytes, %v", len(got), err)
		}
		if p.Hit() < 10 {
			t.Errorf("%d answers were lost", p.Hit())
		}
		// An upload that is gone for another reason is not taken for complete.
		if m, err = b.CreateMultipart(ctx, "other"); err != nil {
			t.Fatal(err)
		}
		if part, err = b.UploadPart(ctx, m, 1, data[:1000]); err != nil {
			t.Fatal(err)
		}
		if err := b.AbortMultipart(ctx, m); err != nil {
			t.Fatal(err)
		}
		if _, err := b.Put(ctx, "other", data[:1000], bucket.Condition{}); err != nil {
			t.Fatal(err)
		}
		p.Set(proxy.Fault{Match: is("POST", "uploadId"), Times: 1, Status: 500})
		// versitygw itself takes it for complete.
		if _, err := b.CompleteMultipart(ctx, m, []bucket.Part{part}); s.Name == "minio" && !errors.Is(err, bucket.ErrNotFound) {
			t.Errorf("an upload that was aborted gave %v", err)
		}
	})
}

// Half of all requests fail: all that is tried again succeeds in the end.
func TestHalfOfAllFails(t *testing.T) {
	each(t, func(t *testing.T, s *stores.Store) {
		b, p := behind(t, s)
		p.Set(proxy.Fault{Share: 0.25, Status: 500}, proxy.Fault{Share: 0.33, Status: 503})
		data := noise(t, 20*mib)
		u := b.NewUpload(t.Context(), bucket.NewBuffers(32*mib, t.TempDir()), bucket.Multipart{Key: "big"}, nil)
		if _, err := u.Write(data); err != nil {
			t.Fatal(err)
		}
		if err := u.Complete(t.Context()); err != nil {
			t.Fatal(err)
		}
		for n := 0; n < 5 || p.Hit() == 0 && n < 200; n++ { // some requests are lucky
			r, _, err := b.Get(t.Context(), "big", 0, -1)
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(r)
			r.Close()
			if err != nil || !bytes.Equal(got, data) {
				t.Fatalf("%d bytes, %v", len(got), err)
			}
		}
		if err := b.DeletePrefix(t.Context(), ""); err != nil {
			t.Fatal(err)
		}
		if p.Hit() == 0 {
			t.Error("nothing failed")
		}
	})
}

// A read resumes after a connection is cut in the middle of a body.
func TestReadsGoOn(t *testing.T) {
	s := stores.MinIO(t)
	cutter := proxy.TCP(t, strings.TrimPrefix(s.Endpoint, "http://"))
	all := params(s, s.NewBucket(t))
	all["regionendpoint"] = cutter.URL
	b := open(t, all)
	data := noise(t, 40*mib)
	u := b.NewUpload(t.Context(), bucket.NewBuffers(64*mib, ""), bucket.Multipart{Key: "big"}, nil)
	if _, err := u.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := u.Complete(t.Context()); err != nil {
		t.Fatal(err)
	}
	r, _, err := b.Get(t.Context(), "big", 7, -1)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var got bytes.Buffer
	for range 3 {
		if _, err := io.CopyN(&got, r, 4*mib); err != nil {
			t.Fatal(err)
		}
		cutter.Reset()
	}
	if _, err := io.Copy(&got, r); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got.Bytes(), data[7:]) {
		t.Errorf("%d other bytes", got.Len())
	}
	// Another object under the same name is not the rest of this one.
	r, _, err = b.Get(t.Context(), "big", 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, err := io.CopyN(io.Discard, r, mib); err != nil {
		t.Fatal(err)
	}
	cutter.Reset() // before: MinIO takes no other object while it hands one out
	if _, err := b.Put(t.Context(), "big", data[:12*mib], bucket.Condition{}); err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, r); !errors.Is(err, bucket.ErrConflict) {
		t.Errorf("reading on in another object gave %v", err)
	}
}

// A store that is frozen is given up in time, and at once by those that come
// soon after; what it sent before is not waited for either.
func TestFrozen(t *testing.T) {
	s := stores.MinIO(t)
	b := open(t, params(s, s.NewBucket(t)))
	big := noise(t, 64*mib)
	u := b.NewUpload(t.Context(), bucket.NewBuffers(64*mib, ""), bucket.Multipart{Key: "big"}, nil)
	if _, err := u.Write(big); err != nil {
		t.Fatal(err)
	}
	if err := u.Complete(t.Context()); err != nil {
		t.Fatal(err)
	}
	m, err := b.CreateMultipart(t.Context(), "part")
	if err != nil {
		t.Fatal(err)
	}
	r, _, err := b.Get(t.Context(), "big", 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, err := io.CopyN(io.Discard, r, mib); err != nil {
		t.Fatal(err)
	}
	s.Freeze()
	calls := map[string]func() error{
		"head": func() error { _, err := b.Head(t.Context(), "big"); return err },
		"get":  func() error { _, _, err := b.Get(t.Context(), "big", 0, -1); return err },
		"put":  func() error { _, err := b.Put(t.Context(), "x", []byte("x"), bucket.Condition{}); return err },
		"part": func() error { _, err := b.UploadPart(t.Context(), m, 1, big[:8*mib]); return err },
		"complete": func() error {
			_, err := b.CompleteMultipart(t.Context(), m, []bucket.Part{{Number: 1, ETag: "x"}})
			return err
		},
		"copy":    func() error { return b.CopySized(t.Context(), "big", "y", 100) },
		"read on": func() error { _, err := io.Copy(io.Discard, r); return err },
	}
	type result struct {
		name string
		err  error
		took time.Duration
	}
	results := make(chan result)
	for name, call := range calls {
		go func() {
			began := time.Now()
			err := call()
			results <- result{name, err, time.Since(began)}
		}()
	}
	for range calls {
		r := <-results
		if !errors.Is(r.err, bucket.ErrUnavailable) || r.took > longest {
			t.Errorf("%s gave %v after %v", r.name, r.err, r.took)
		}
		t.Logf("%s: %v", r.name, r.took.Round(time.Millisecond))
	}
	began := time.Now()
	if _, err := b.Head(t.Context(), "big"); !errors.Is(err, bucket.ErrUnavailable) {
		t.Error(err)
	}
	t.Logf("the next one: %v", time.Since(began).Round(time.Millisecond))
	s.Thaw()
	if _, err := b.Head(t.Context(), "big"); err != nil {
		t.Errorf("after it all: %v", err)
	}
}

// The end of the caller's context is the caller's affair.
func TestEndOfTheCaller(t *testing.T) {
	s := stores.MinIO(t)
	b := open(t, params(s, s.NewBucket(t)))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := b.Head(ctx, "x"); !errors.Is(err, context.Canceled) || errors.Is(err, bucket.ErrUnavailable) {
		t.Errorf("%v", err)
	}
	if bucket.Explain(ctx.Err()) != nil {
		t.Error("that is no problem of the configuration")
	}
}

// The store may have long work with an upload that is completed. It is waited
// for, and known when its answer is lost.
func TestWorkTakesItsTime(t *testing.T) {
	s := stores.MinIO(t)
	b, p := behind(t, s)
	m, err := b.CreateMultipart(t.Context(), "big")
	if err != nil {
		t.Fatal(err)
	}
	part, err := b.UploadPart(t.Context(), m, 1, noise(t, 1000))
	if err != nil {
		t.Fatal(err)
	}
	p.Set(proxy.Fault{Match: is("POST", "uploadId"), Times: 1, Delay: 14 * time.Second, Lost: true})
	if _, err := b.CompleteMultipart(t.Context(), m, []bucket.Part{part}); err != nil {
		t.Error(err)
	}
	if p.Hit() != 1 {
		t.Errorf("%d requests were slow", p.Hit())
	}
}

// What is written beside what is being deleted is written.
func TestNeighbours(t *testing.T) {
	s := stores.Versity(t)
	b := open(t, params(s, s.NewBucket(t)))
	ctx := t.Context()
	for i := range 200 {
		dir := fmt.Sprintf("%d/a/b/", i)
		var both sync.WaitGroup
		both.Go(func() {
			if _, err := b.Put(ctx, dir+"stays", []byte("x"), bucket.Condition{}); err != nil {
				t.Error(err)
			}
		})
		both.Go(func() {
			if _, err := b.Put(ctx, dir+"goes", []byte("x"), bucket.Condition{}); err != nil {
				t.Error(err)
			}
			if err := b.Delete(ctx, dir+"goes"); err != nil {
				t.Error(err)
			}
		})
		both.Wait()
	}
}
