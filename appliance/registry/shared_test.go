//go:build integration

package registry

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/opencontainers/go-digest"

	"github.com/redoubt-registry/redoubt/test/proxy"
	"github.com/redoubt-registry/redoubt/test/redis"
	"github.com/redoubt-registry/redoubt/test/stores"
)

// eachStorage runs a test with what registry.yml says of a storage.
func eachStorage(t *testing.T, test func(t *testing.T, storage string)) {
	t.Run("directory", func(t *testing.T) {
		test(t, fmt.Sprintf("filesystem: {rootdirectory: %q}", t.TempDir()))
	})
	t.Run("bucket", func(t *testing.T) {
		text, err := json.Marshal(parameters(t, stores.MinIO(t)))
		check(t, err)
		test(t, "s3: "+string(text)+"\n  redirect: {disable: true}")
	})
}

// twoMachines run on one storage and one Redis. The second reaches it over a
// network of its own.
func twoMachines(t *testing.T, storage string) (one, two *machine, r *redis.Server, network *proxy.Proxy) {
	t.Helper()
	r = redis.Start(t, redis.Options{})
	network = proxy.TCP(t, r.Address)
	one, two = newMachine(t), newMachine(t)
	one.redis, two.redis = r.Address, network.Address
	for _, m := range []*machine{one, two} {
		m.bucket = storage
		m.config(t, "info")
		m.start(t)
	}
	for _, m := range []*machine{one, two} {
		until(t, "the cache to be in use", func() bool { return m.caches(t, "/v2/warm/blobs/"+m.blob(t, "warm", "warm")) })
	}
	return one, two, r, network
}

// blob pushes data and returns its digest.
func (m *machine) blob(t testing.TB, repo, data string) string {
	t.Helper()
	d := digest.FromString(data).String()
	a, err := m.do(http.MethodPost, "https://"+m.host()+"/v2/"+repo+"/blobs/uploads/", nil)
	check(t, err)
	if a, err = m.do(http.MethodPut, a.Header.Get("Location")+"&digest="+d, bytes.NewReader([]byte(data))); err != nil || a.StatusCode != http.StatusCreated {
		t.Fatalf("PUT: %v %v %s", a.Response, err, a.body)
	}
	return d
}

// head returns the status of a HEAD.
func (m *machine) head(t testing.TB, path string) int {
	t.Helper()
	a, err := m.do(http.MethodHead, "https://"+m.host()+path, nil, "Accept", "*/*")
	check(t, err)
	return a.StatusCode
}

func (m *machine) delete(t testing.TB, path string) {
	t.Helper()
	a, err := m.do(http.MethodDelete, "https://"+m.host()+path, nil)
	check(t, err)
	if a.StatusCode != http.StatusAccepted {
		t.Fatalf("DELETE %s: %s %s", path, a.Status, a.body)
	}
}

// caches says whether a path that is there is answered from the cache.
func (m *machine) caches(t testing.TB, path string) bool {
	t.Helper()
	before := m.metric(t, "redoubt_cache_hits_total")
	if status := m.head(t, path); status != http.StatusOK {
		t.Fatalf("HEAD %s: %d", path, status)
	}
	return m.metric(t, "redoubt_cache_hits_total") > before
}

// cached waits until all machines answer a path from the cache.
func cached(t *testing.T, path string, all ...*machine) {
	t.Helper()
	for _, m := range all {
		until(t, path+" to be cached", func() bool { return m.caches(t, path) })
	}
}

// gone says that no machine knows a path any more.
func gone(t *testing.T, path string, all ...*machine) {
	t.Helper()
	for range 3 {
		for i, m := range all {
			if status := m.head(t, path); status != http.StatusNotFound {
				t.Errorf("HEAD %s at machine %d: %d", path, i+1, status)
			}
		}
	}
}

// What one machine deletes, the others do not serve, and no client is told that
// they have it.
func TestDeletedThroughAnotherMachine(t *testing.T) {
	eachStorage(t, deletedThroughAnotherMachine)
}

func deletedThroughAnotherMachine(t *testing.T, storage string) {
	one, two, r, network := twoMachines(t, storage)
	image, err := random.Image(10_000, 2)
	check(t, err)
	check(t, one.push(image, "app:1"))
	id, err := image.Digest()
	check(t, err)
	manifest := "/v2/app/manifests/" + id.String()
	if strings.HasPrefix(storage, "s3") { // a directory is asked itself
		cached(t, manifest, one, two)
	}
	two.delete(t, manifest)
	gone(t, manifest, one, two)
	check(t, one.push(image, "app:1"))
	if two.head(t, manifest) != http.StatusOK {
		t.Error("what was pushed again is not there")
	}

	// With Redis dead, and back.
	path := "/v2/app/blobs/" + one.blob(t, "app", "while Redis is dead")
	cached(t, path, one, two)
	r.Do(t, "SAVE")
	r.Stop()
	one.delete(t, path)
	gone(t, path, one, two)
	r.Run(t)
	cached(t, "/v2/app/blobs/"+one.blob(t, "app", "afterwards"), one, two)
	gone(t, path, one, two)

	// By one that is cut off, while the other is not.
	path = "/v2/app/blobs/" + one.blob(t, "app", "cut off")
	cached(t, path, one, two)
	network.Cut()
	two.delete(t, path)
	gone(t, path, two)
	until(t, "the other machine to know of it", func() bool { return one.head(t, path) == http.StatusNotFound })
	network.Restore(t)
	cached(t, "/v2/app/blobs/"+two.blob(t, "app", "reached again"), one, two)
	gone(t, path, one, two)
}

// A shared cache outlives the processes that use it.
func TestReloadAndRestartEmptyNothing(t *testing.T) {
	eachStorage(t, reloadAndRestartEmptyNothing)
}

func reloadAndRestartEmptyNothing(t *testing.T, storage string) {
	one, two, r, _ := twoMachines(t, storage)
	path := "/v2/app/blobs/" + one.blob(t, "app", "kept")
	cached(t, path, one, two)
	keys := r.Do(t, "DBSIZE")
	one.reload(t)
	if !one.caches(t, path) || !two.caches(t, path) {
		t.Error("a reload has emptied the cache")
	}
	one.signal(t, syscall.SIGTERM)
	check(t, <-one.exited)
	if !two.caches(t, path) {
		t.Error("the end of one machine has emptied the cache")
	}
	one.start(t)
	cached(t, path, one)
	if now := r.Do(t, "DBSIZE"); now != keys {
		t.Errorf("%s keys, before %s", now, keys)
	}
}

// cacheTrouble counts what Redis was too slow for.
func (m *machine) cacheTrouble(t *testing.T) float64 {
	return m.metric(t, "redoubt_cache_errors_total") + m.metric(t, "redoubt_cache_breaker_opened_total")
}

// Readers at both machines, all the while that blobs come and go: what is
// deleted is gone from the moment that it was said so.
func TestDeletionsAmongReaders(t *testing.T) {
	eachStorage(t, deletionsAmongReaders)
}

func deletionsAmongReaders(t *testing.T, storage string) {
	one, two, _, _ := twoMachines(t, storage)
	machines := []*machine{one, two}
	for i := range 15 {
		path := "/v2/app/blobs/" + one.blob(t, "app", fmt.Sprint("blob ", i))
		stop := make(chan struct{})
		var readers sync.WaitGroup
		for _, m := range machines {
			readers.Go(func() {
				for {
					select {
					case <-stop:
						return
					default:
						_, _ = m.do(http.MethodHead, "https://"+m.host()+path, nil)
					}
				}
			})
		}
		cached(t, path, one, two)
		by, other := machines[i%2], machines[1-i%2]
		before, out := by.cacheTrouble(t), by.metric(t, "redoubt_cache_breaker_open") > 0
		by.delete(t, path)
		if out || by.cacheTrouble(t) > before { // a busy host: the other one goes on for the lease
			until(t, "the other machine to know of it", func() bool { return other.head(t, path) == http.StatusNotFound })
		}
		gone(t, path, one, two)
		close(stop)
		readers.Wait()
		gone(t, path, one, two)
	}
}
