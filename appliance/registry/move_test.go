//go:build integration

package registry

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/distribution/distribution/v3/registry/storage/driver/filesystem"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/validate"

	"github.com/redoubt-registry/redoubt/appliance/storage/bucket"
	"github.com/redoubt-registry/redoubt/appliance/storage/driver"
	"github.com/redoubt-registry/redoubt/appliance/storage/imagecopy"
	"github.com/redoubt-registry/redoubt/appliance/storage/progress"
	"github.com/redoubt-registry/redoubt/test/stores"
)

// The move of docs/storage.md, from the directory to a bucket, under load: no pull
// fails, and each push that was answered is there afterwards.
func TestMove(t *testing.T) {
	m := newMachine(t)
	m.memory = true
	m.config(t, "warn")
	m.start(t)
	store := stores.MinIO(t)
	params := map[string]any{"bucket": store.NewBucket(t), "region": store.Region, "regionendpoint": store.Endpoint,
		"accesskey": store.AccessKey, "secretkey": store.SecretKey}
	b, err := bucket.OpenDefault(params)
	check(t, err)
	target := imagecopy.Objects{StorageDriver: driver.New(b, bucket.NewBuffers(64<<20, t.TempDir()))}
	copyAll := func() imagecopy.Summary {
		c := &imagecopy.Copy{From: filesystem.New(filesystem.DriverParameters{RootDirectory: m.path("store"), MaxThreads: 100}),
			To: target, Parallel: 4, Meter: &progress.Meter{}, Fault: func(f imagecopy.Fault) { t.Error(f) }}
		summary, err := c.Run(context.Background())
		check(t, err)
		return summary
	}

	image, err := random.Image(100_000, 3)
	check(t, err)
	check(t, m.push(image, "old:1"))
	pushed := map[string]v1.Image{"old:1": image}
	stop, pulls := make(chan struct{}), make(chan error, 1)
	go func() {
		for {
			select {
			case <-stop:
				pulls <- nil
				return
			default:
			}
			got, err := m.pull("old:1")
			if err == nil {
				err = validate.Image(got)
			}
			if err != nil {
				pulls <- err
				return
			}
		}
	}()
	first := make(chan imagecopy.Summary)
	go func() { first <- copyAll() }()
	for i := range 10 {
		image, err := random.Image(10_000, 2)
		check(t, err)
		check(t, m.push(image, fmt.Sprintf("new:%d", i)))
		pushed[fmt.Sprintf("new:%d", i)] = image
	}
	<-first

	m.storage(t, fmt.Sprintf("filesystem: {rootdirectory: %q}\n  maintenance: {readonly: {enabled: true}}", m.path("store")))
	if status := m.reload(t); !strings.Contains(status, "STATUS=serving") {
		t.Fatal(status)
	}
	a, err := m.do(http.MethodPost, "https://"+m.host()+"/v2/new/blobs/uploads/", nil)
	check(t, err)
	if a.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("a push while it is read-only: %s %s", a.Status, a.body)
	}
	copyAll()
	if again := copyAll(); again.Blobs > 0 || again.Links > 0 {
		t.Errorf("there is still something to copy: %+v", again)
	}
	m.storage(t, fmt.Sprintf("s3: {bucket: %s, region: %s, regionendpoint: %q, accesskey: %s, secretkey: %s}\n  redirect: {disable: true}",
		params["bucket"], store.Region, store.Endpoint, store.AccessKey, store.SecretKey))
	if status := m.reload(t); !strings.Contains(status, "STATUS=serving") {
		t.Fatal(status)
	}
	close(stop)
	if err := <-pulls; err != nil {
		t.Errorf("a pull: %v", err)
	}
	check(t, os.RemoveAll(filepath.Join(m.path("store"), "docker"))) // nothing comes from there any more
	for tag, image := range pushed {
		got, err := m.pull(tag)
		check(t, err)
		check(t, validate.Image(got))
		have, err := got.Digest()
		check(t, err)
		if want, err := image.Digest(); err != nil || have != want {
			t.Errorf("%s is %v, not %v", tag, have, want)
		}
	}
	image, err = random.Image(10_000, 2)
	check(t, err)
	check(t, m.push(image, "after:1"))
}

// storage renders registry.yml with another storage.
func (m *machine) storage(t *testing.T, text string) {
	t.Helper()
	m.bucket = text
	m.config(t, "warn")
}
