//go:build integration

package registry

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/redoubt-registry/redoubt/appliance/storage/bucket"
	"github.com/redoubt-registry/redoubt/appliance/storage/layout"
	"github.com/redoubt-registry/redoubt/test/stores"
)

// file is where a directory store has a blob.
func (m *machine) file(d digest.Digest) string {
	return m.path("store/docker/registry/v2/blobs/sha256/" + d.Encoded()[:2] + "/" + d.Encoded() + "/data")
}

// holds says that a blob is served with the right bytes.
func (m *machine) holds(t testing.TB, repo string, data []byte) {
	t.Helper()
	a := m.get(t, "/v2/"+repo+"/blobs/"+digest.FromBytes(data).String())
	if a.StatusCode != http.StatusOK || a.body != string(data) {
		t.Errorf("the blob is answered %s with %d bytes (right: %v)", a.Status, len(a.body), a.body == string(data))
	}
}

// left is what uploads have left in the store.
func (m *machine) left(t testing.TB, repo string) []string {
	t.Helper()
	found, err := os.ReadDir(m.path("store/docker/registry/v2/repositories/" + repo + "/_uploads"))
	check(t, err)
	var names []string
	for _, f := range found {
		names = append(names, f.Name())
	}
	return names
}

// A PATCH pauses, the client gives it up and ends the upload by others, and then
// the first goes on: what was answered 201 stays as it is.
func TestOneWriterForEachUpload(t *testing.T) {
	m := newMachine(t)
	m.memory = true
	m.config(t, "info")
	m.start(t)
	for name, sent := range map[string]int{"before its first byte": 0, "in the middle": 512 << 10} { // whole pieces, which are passed on at once
		t.Run(name, func(t *testing.T) {
			data := noise(1 << 20)
			location := m.open(t, "app")
			body, first := io.Pipe()
			ended := make(chan answer, 1)
			go func() {
				a, err := m.do(http.MethodPatch, location, body)
				if err != nil {
					t.Error(err)
				}
				ended <- a
			}()
			_, err := first.Write(data[:sent])
			check(t, err)
			until(t, "the first PATCH to be in flight", func() bool { return m.metric(t, "redoubt_http_in_flight") > 0 })
			var status answer
			until(t, "what was sent to be there", func() bool {
				status, err = m.do(http.MethodGet, location, nil)
				check(t, err)
				return status.Header.Get("Range") == fmt.Sprintf("0-%d", max(sent-1, 0))
			})
			location = m.chunk(t, status.Header.Get("Location"), data[sent:])
			d := digest.FromBytes(data)
			a, err := m.end(location, nil, d)
			check(t, err)
			if a.StatusCode != http.StatusCreated {
				t.Fatalf("PUT: %s %s", a.Status, a.body)
			}
			go func() { // it may be cut off
				_, _ = first.Write(noise(400_000))
				first.Close()
			}()
			if a := <-ended; a.Response != nil && (a.StatusCode < 400 || a.StatusCode > 499 || !strings.Contains(a.body, "BLOB_UPLOAD_UNKNOWN") && !strings.Contains(a.body, "RANGE_INVALID")) {
				t.Errorf("the first PATCH: %s %s", a.Status, a.body)
			}
			m.holds(t, "app", data)
			if left := m.left(t, "app"); len(left) > 0 {
				t.Errorf("left of the upload: %v", left)
			}
		})
	}
}

// A push of a digest whose blob is damaged puts the right one there.
func TestAPushHealsABlob(t *testing.T) {
	m := newMachine(t)
	m.memory = true
	m.config(t, "info")
	m.start(t)
	for name, damage := range map[string]func(file string) error{
		"too short": func(file string) error { return os.Truncate(file, 10) },
		"empty":     func(file string) error { return os.Truncate(file, 0) },
		"too long":  func(file string) error { return os.Truncate(file, 70_000) },
		"changed":   func(file string) error { return os.WriteFile(file, noise(50_000), 0o644) },
	} {
		t.Run(name, func(t *testing.T) {
			data := noise(50_000)
			d := m.pushBlob(t, "app", data)
			check(t, damage(m.file(d)))
			path := "https://" + m.host() + "/v2/app/blobs/" + d.String()
			if a, err := m.do(http.MethodHead, path, nil); err != nil || name != "changed" && a.StatusCode != http.StatusNotFound {
				t.Errorf("HEAD of a damaged blob, after which clients leave the upload out: %v, %v", a.Status, err)
			}
			m.pushBlob(t, "other", data)
			m.holds(t, "other", data)
			m.holds(t, "app", data)
		})
	}
}

// So it does in a bucket, whichever way it comes, and however little is remembered.
func TestAPushHealsAnObject(t *testing.T) {
	for name, start := range map[string]func(stores.Owner, ...stores.Options) *stores.Store{"minio": stores.MinIO, "versitygw": stores.Versity} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			params := parameters(t, start(t))
			text, err := json.Marshal(params)
			check(t, err)
			b, err := bucket.OpenDefault(params)
			check(t, err)
			m := newMachine(t)
			m.bucket = "s3: " + string(text) + "\n  redirect: {disable: true}"
			m.config(t, "error")
			m.start(t)
			for size, chunked := range map[int]bool{50_000: true, 60_000: false, 9 << 20: true, 10 << 20: false} {
				data := noise(size)
				d := m.pushBlob(t, "app", data)
				_, err := b.Put(t.Context(), layout.Path(d), noise(size), bucket.Condition{})
				check(t, err)
				if chunked {
					m.pushBlob(t, "other", data)
				} else if a, err := m.end(m.open(t, "other"), data, d); err != nil || a.StatusCode != http.StatusCreated {
					t.Fatalf("PUT: %v %s %v", a.Response, a.body, err)
				}
				m.holds(t, "other", data)
				m.holds(t, "app", data)
			}
		})
	}
}

// Two requests end one upload at the same moment: one of them does, and the blob
// can be read afterwards.
func TestTwoEndsOfOneUpload(t *testing.T) {
	on := func(start func(stores.Owner, ...stores.Options) *stores.Store) func(m *machine) {
		return func(m *machine) {
			text, err := json.Marshal(parameters(t, start(t)))
			check(t, err)
			m.bucket, m.memory = "s3: "+string(text)+"\n  redirect: {disable: true}", true
		}
	}
	for name, setUp := range map[string]func(m *machine){
		"no cache":  func(*machine) {},
		"memory":    func(m *machine) { m.memory = true },
		"redis":     func(m *machine) { m.redis = startRedis(t).socket },
		"minio":     on(stores.MinIO),
		"versitygw": on(stores.Versity),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := newMachine(t)
			setUp(m)
			m.config(t, "error")
			m.start(t)
			transport := m.transport()
			defer transport.CloseIdleConnections()
			for range 40 {
				data := noise(300_000)
				d := digest.FromBytes(data)
				location := m.chunk(t, m.open(t, "app"), data)
				var answers [2]answer
				var wg sync.WaitGroup
				for i := range answers {
					wg.Go(func() {
						var err error
						if answers[i], err = send(transport, http.MethodPut, location+"&digest="+d.String(), nil); err != nil {
							t.Error(err)
						}
					})
				}
				wg.Wait()
				created := 0
				for _, a := range answers {
					switch a.StatusCode {
					case http.StatusCreated:
						created++
					case http.StatusNotFound, http.StatusRequestedRangeNotSatisfiable:
					default:
						t.Errorf("PUT: %s %s", a.Status, a.body)
					}
				}
				if created == 0 {
					t.Error("none of two ends was the end")
				}
				m.holds(t, "app", data)
				if t.Failed() {
					return
				}
			}
			if m.bucket != "" {
				return
			}
			if left := m.left(t, "app"); len(left) > 0 {
				t.Errorf("left of the uploads: %v", left)
			}
		})
	}
}

// Two requests write to one upload of a bucket at the same moment, each content of
// its own: whichever it is that becomes a blob, it is the one that its digest names.
func TestTwoWritersOfOneUpload(t *testing.T) {
	for name, start := range map[string]func(stores.Owner, ...stores.Options) *stores.Store{"minio": stores.MinIO, "versitygw": stores.Versity} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := newMachine(t)
			text, err := json.Marshal(parameters(t, start(t)))
			check(t, err)
			m.bucket = "s3: " + string(text) + "\n  redirect: {disable: true}"
			m.config(t, "error")
			m.start(t)
			transport := m.transport()
			defer transport.CloseIdleConnections()
			for range 40 {
				contents := [2][]byte{noise(300_000), noise(300_000)}
				location := m.open(t, "app")
				var answers [2]answer
				both(func(i int) {
					var err error
					if answers[i], err = send(transport, http.MethodPatch, location, bytes.NewReader(contents[i])); err != nil {
						t.Error(err)
					}
				})
				both(func(i int) {
					if next := answers[i].Header.Get("Location"); next != "" {
						a, err := send(transport, http.MethodPut, "https://"+m.host()+next+"&digest="+digest.FromBytes(contents[i]).String(), nil)
						if err != nil || a.StatusCode >= http.StatusInternalServerError {
							t.Errorf("PUT: %v %s %v", a.Response, a.body, err)
						}
					}
				})
				for _, content := range contents {
					a := m.get(t, "/v2/app/blobs/"+digest.FromBytes(content).String())
					if a.StatusCode != http.StatusNotFound && (a.StatusCode != http.StatusOK || a.body != string(content)) {
						t.Fatalf("a blob is answered %s with %d bytes that its digest does not name", a.Status, len(a.body))
					}
				}
				if t.Failed() {
					return
				}
			}
		})
	}
}

// both calls f twice at once.
func both(f func(i int)) {
	var wg sync.WaitGroup
	for i := range 2 {
		wg.Go(func() { f(i) })
	}
	wg.Wait()
}

// What a client says wrongly is the client's mistake, not the storage's.
func TestAWrongDigest(t *testing.T) {
	m := newMachine(t)
	m.config(t, "info")
	m.start(t)
	data, wrong := noise(10_000), digest.FromString("something else")
	for name, put := range map[string]func() (answer, error){
		"in one request": func() (answer, error) { return m.end(m.open(t, "app"), data, wrong) },
		"in chunks":      func() (answer, error) { return m.end(m.chunk(t, m.open(t, "app"), data), nil, wrong) },
		"streamed": func() (answer, error) {
			return m.do(http.MethodPut, m.open(t, "app")+"&digest="+wrong.String(), io.MultiReader(bytes.NewReader(data)))
		},
	} {
		a, err := put()
		check(t, err)
		if a.StatusCode != http.StatusBadRequest || !strings.Contains(a.body, "DIGEST_INVALID") || a.Header.Get("Retry-After") != "" {
			t.Errorf("%s: %s %s, Retry-After %q", name, a.Status, a.body, a.Header.Get("Retry-After"))
		}
	}
	if left := m.left(t, "app"); len(left) > 0 {
		t.Errorf("left of the uploads: %v", left)
	}
}
