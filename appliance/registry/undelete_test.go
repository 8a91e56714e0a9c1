//go:build integration

package registry

import (
	"context"
	"encoding/json"
	"net/http"
	"testing"
	"time"

	"github.com/distribution/distribution/v3/registry/storage/driver"
	"github.com/distribution/distribution/v3/registry/storage/driver/filesystem"

	"github.com/redoubt-registry/redoubt/appliance/storage/bucket"
	"github.com/redoubt-registry/redoubt/appliance/storage/collect"
	storedriver "github.com/redoubt-registry/redoubt/appliance/storage/driver"
	"github.com/redoubt-registry/redoubt/appliance/storage/trash"
	"github.com/redoubt-registry/redoubt/test/stores"
)

// What a client has deleted by mistake is gone for clients, comes back, also when it was
// collected meanwhile, and is pulled by its digest and by its tag.
func TestDeletedByMistake(t *testing.T) {
	t.Run("directory", func(t *testing.T) {
		m := newMachine(t)
		m.memory = true
		deleteByMistake(t, m, filesystem.New(filesystem.DriverParameters{RootDirectory: m.path("store"), MaxThreads: 100}))
	})
	t.Run("bucket", func(t *testing.T) {
		m := newMachine(t)
		m.memory = true
		params := parameters(t, stores.MinIO(t))
		text, err := json.Marshal(params)
		check(t, err)
		m.bucket = "s3: " + string(text)
		b, err := bucket.OpenDefault(params)
		check(t, err)
		deleteByMistake(t, m, storedriver.New(b, bucket.NewBuffers(16<<20, t.TempDir())))
	})
}

func deleteByMistake(t *testing.T, m *machine, d driver.StorageDriver) {
	m.config(t, "error")
	m.start(t, "REDOUBT_TEST_GRACE=none")
	w := newWorld(t, m)
	const name = "team/one"
	index := w.indexes[0]
	signature := w.image(w.config(0), index)
	status := func(method, reference string) int {
		return w.ask(method, "/v2/"+name+"/manifests/"+reference, nil, "Accept", "*/*").StatusCode
	}
	want := func(code int, method, reference string) {
		t.Helper()
		if got := status(method, reference); got != code {
			t.Fatalf("%s %s: %d, and not %d", method, reference, got, code)
		}
	}
	run := func() {
		c := collect.Collector{Storage: d, Parallel: 4, Untagged: true, Trash: time.Hour, Now: time.Now, Beat: func(context.Context) error { return nil }}
		_, err := c.Run(t.Context())
		check(t, err)
	}
	back := func(wanted trash.Wanted) {
		t.Helper()
		b, err := trash.TakeBack(t.Context(), d, wanted)
		check(t, err)
		if len(b.Deletions) == 0 || len(b.Gone) > 0 {
			t.Fatalf("%+v", b)
		}
	}
	if !w.put(name, "v1", index) || !w.put(name, signature.digest.String(), signature) {
		t.Fatal("not pushed")
	}
	for _, collected := range []bool{false, true} {
		want(http.StatusAccepted, http.MethodDelete, index.digest.String())
		want(http.StatusNotFound, http.MethodGet, "v1")
		want(http.StatusNotFound, http.MethodGet, index.digest.String())
		if collected {
			run()
			run()
		}
		want(http.StatusNotFound, http.MethodGet, index.digest.String())
		back(trash.Wanted{Repository: name, Digest: index.digest})
		w.get(name, "v1", index)
		w.get(name, index.digest.String(), index)
		w.get(name, signature.digest.String(), signature)

		want(http.StatusAccepted, http.MethodDelete, "v1")
		if collected {
			run()
			run()
		}
		want(http.StatusNotFound, http.MethodGet, "v1")
		back(trash.Wanted{Since: time.Now().Add(-time.Hour)})
		w.get(name, "v1", index)
	}
	// A signature that is back is listed again.
	want(http.StatusAccepted, http.MethodDelete, signature.digest.String())
	want(http.StatusNotFound, http.MethodGet, signature.digest.String())
	back(trash.Wanted{Repository: name, Digest: signature.digest})
	var list struct{ Manifests []struct{ Digest string } }
	check(t, json.Unmarshal([]byte(w.ask(http.MethodGet, "/v2/"+name+"/referrers/"+index.digest.String(), nil).body), &list))
	if len(list.Manifests) != 1 || list.Manifests[0].Digest != signature.digest.String() {
		t.Errorf("referrers: %+v", list)
	}
	// So is a blob that was deleted.
	blob := w.images[8].blobs[0]
	w.upload(name, blob)
	at := "/v2/" + name + "/blobs/" + blob.String()
	if a := w.ask(http.MethodDelete, at, nil); a.StatusCode != http.StatusAccepted {
		t.Fatal(a.Status, a.body)
	}
	if a := w.ask(http.MethodGet, at, nil); a.StatusCode != http.StatusNotFound {
		t.Error(a.Status)
	}
	back(trash.Wanted{Repository: name})
	if a := w.ask(http.MethodHead, at, nil); a.StatusCode >= http.StatusBadRequest {
		t.Error(a.Status)
	}
}
