//go:build integration

package driver_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"

	storagedriver "github.com/distribution/distribution/v3/registry/storage/driver"

	"github.com/redoubt-registry/redoubt/appliance/storage/bucket"
	"github.com/redoubt-registry/redoubt/appliance/storage/driver"
	"github.com/redoubt-registry/redoubt/test/proxy"
	"github.com/redoubt-registry/redoubt/test/stores"
)

// A client that goes away in the middle of a chunk finds at another node what had
// come, and goes on from there.
func TestAClientThatGoesAway(t *testing.T) {
	each(t, func(t *testing.T, s *stores.Store) {
		p := params(s, s.NewBucket(t), "")
		one, two := registry(t, oursName, p), registry(t, oursName, p)
		data := noise(t, 30*mib)
		answer := do(t, http.MethodPost, one+"/v2/some/repo/blobs/uploads/", nil, http.StatusAccepted)
		target := location(t, answer, one)
		body, w := io.Pipe()
		go func() {
			_, _ = w.Write(data[:17*mib+9])
			w.CloseWithError(errors.New("the client goes away"))
		}()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPatch, target, body)
		if err != nil {
			t.Fatal(err)
		}
		if answer, err := http.DefaultTransport.RoundTrip(req); err == nil {
			t.Fatalf("the chunk was taken: %s", answer.Status)
		}
		have, before := 0, -1
		for have < 16*mib || have != before { // the node may still be sending
			time.Sleep(500 * time.Millisecond)
			before = have
			answer = do(t, http.MethodGet, location(t, answer, two), nil, http.StatusNoContent)
			var end int
			if _, err := fmt.Sscanf(answer.Header.Get("Range"), "0-%d", &end); err != nil {
				t.Fatal(err)
			}
			if end > 0 {
				have = end + 1
			}
		}
		if have > 17*mib+9 {
			t.Errorf("%d bytes are left", have)
		}
		answer = do(t, http.MethodPatch, location(t, answer, two), bytes.NewReader(data[have:]), http.StatusAccepted)
		do(t, http.MethodPut, location(t, answer, one)+"&digest="+digestOf(data), nil, http.StatusCreated)
		pull(t, two, data)
	})
}

// The store refuses one part of an upload and takes those around it: what comes
// after the gap does not count.
func TestAPartIsMissing(t *testing.T) {
	each(t, func(t *testing.T, s *stores.Store) {
		ctx := context.Background()
		front := proxy.HTTP(t, s.Endpoint)
		p := params(s, s.NewBucket(t), "")
		p["regionendpoint"], p["chunksize"] = front.URL, 5*mib
		data := noise(t, 37*mib)
		const path = "/docker/registry/v2/repositories/some/repo/_uploads/some-id/data"
		front.Set(proxy.Fault{Status: http.StatusForbidden, Match: func(r *http.Request) bool { return r.URL.Query().Get("partNumber") == "3" }})
		w := writer(t, ours(t, p), path, false)
		if n, err := w.Write(data); err == nil {
			err = w.Close()
			if err == nil {
				t.Fatalf("%d bytes were taken", n)
			}
		} else {
			_ = w.Close()
		}
		if w.Size() != 10*mib {
			t.Errorf("%d bytes count", w.Size())
		}
		front.Set()
		for have := int64(10 * mib); have < int64(len(data)); { // in chunks, each by another node
			w := writer(t, ours(t, p), path, true)
			if w.Size() != have {
				t.Fatalf("%d bytes count, not %d", w.Size(), have)
			}
			n, err := w.Write(data[have:min(have+9*mib, int64(len(data)))])
			if err != nil {
				t.Fatal(err)
			}
			if have += int64(n); have < int64(len(data)) {
				err = w.Close()
			} else {
				err = w.Commit(ctx)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		got, err := ours(t, p).GetContent(ctx, path)
		if err != nil || !bytes.Equal(got, data) {
			t.Errorf("%d bytes, %v", len(got), err)
		}
	})
}

func writer(t *testing.T, d storagedriver.StorageDriver, path string, appending bool) storagedriver.FileWriter {
	t.Helper()
	w, err := d.Writer(context.Background(), path, appending)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// A digest that is not the content's: nothing appears under it, and nothing is
// left.
func TestAWrongDigest(t *testing.T) {
	s := stores.MinIO(t)
	p := params(s, s.NewBucket(t), "/images")
	node := registry(t, oursName, p)
	for _, size := range []int{1000, 20 * mib} {
		data := noise(t, size)
		wrong := digestOf(append([]byte("other"), data...))
		for _, chunked := range []bool{false, true} {
			answer := do(t, http.MethodPost, node+"/v2/some/repo/blobs/uploads/", nil, http.StatusAccepted)
			body := data
			if chunked {
				answer = do(t, http.MethodPatch, location(t, answer, node), bytes.NewReader(data), http.StatusAccepted)
				body = nil
			}
			do(t, http.MethodPut, location(t, answer, node)+"&digest="+wrong, bytes.NewReader(body), http.StatusBadRequest)
			do(t, http.MethodHead, node+"/v2/some/repo/blobs/"+wrong, nil, http.StatusNotFound)
		}
		push(t, []string{node}, data, []int{size})
		pull(t, node, data)
	}
	if left := leftovers(t, func() map[string]any { return params(s, "", "/images") }, p["bucket"].(string)); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

// What a killed process had begun straight at a blob's path does not stay for
// ever; what is new does.
func TestAbandoned(t *testing.T) {
	s := stores.Versity(t) // MinIO lists no uploads by a part of their paths, and ends old ones itself
	p := params(s, s.NewBucket(t), "/images")
	b, err := bucket.OpenDefault(p)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.CreateMultipart(t.Context(), "docker/registry/v2/blobs/sha256/ab/abc/data"); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		before time.Time
		left   int
	}{{time.Now().Add(-time.Hour), 1}, {time.Now().Add(time.Hour), 0}} {
		driver.Sweep(t.Context(), ours(t, p), c.before)
		if left, err := b.Multiparts(t.Context(), "docker/"); err != nil || len(left) != c.left {
			t.Errorf("%d are left instead of %d, %v", len(left), c.left, err)
		}
	}
}
