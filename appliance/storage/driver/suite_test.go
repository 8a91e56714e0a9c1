//go:build integration

package driver_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"flag"
	"io"
	mathrand "math/rand/v2"
	"reflect"
	"strings"
	"testing"

	storagedriver "github.com/distribution/distribution/v3/registry/storage/driver"
	"github.com/distribution/distribution/v3/registry/storage/driver/testsuites"

	"github.com/redoubt-registry/redoubt/appliance/storage/bucket"
	"github.com/redoubt-registry/redoubt/appliance/storage/driver"
	"github.com/redoubt-registry/redoubt/test/stores"
)

const mib = 1 << 20

func each(t *testing.T, f func(t *testing.T, s *stores.Store)) {
	for name, start := range map[string]func(stores.Owner, ...stores.Options) *stores.Store{"minio": stores.MinIO, "versitygw": stores.Versity} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f(t, start(t))
		})
	}
}

func params(s *stores.Store, name, root string) map[string]any {
	return map[string]any{
		"bucket": name, "region": s.Region, "regionendpoint": s.Endpoint, "rootdirectory": root, "forcepathstyle": true,
		"accesskey": s.AccessKey, "secretkey": s.SecretKey, "secure": false,
	}
}

func ours(t *testing.T, params map[string]any) storagedriver.StorageDriver {
	t.Helper()
	b, err := bucket.OpenDefault(params)
	if err != nil {
		t.Fatal(err)
	}
	return driver.New(b, bucket.NewBuffers(64*mib, t.TempDir()))
}

// large is the suite's stream of 5 GiB, which takes minutes and as much room:
// TestLargeStream is ours.
const large = "TestWriteReadLargeStreams"

// Distribution's own suite.
func TestSuite(t *testing.T) {
	var run []string
	for method := range reflect.TypeFor[*testsuites.DriverSuite]().Methods() {
		if strings.HasPrefix(method.Name, "Test") && method.Name != large {
			run = append(run, method.Name)
		}
	}
	filter := flag.Lookup("testify.m").Value // what the suite goes by
	before := filter.String()
	if err := filter.Set("^(" + strings.Join(run, "|") + ")$"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = filter.Set(before) })
	each(t, func(t *testing.T, s *stores.Store) {
		for name, root := range map[string]string{"at the top": "", "below a root": "/some/root"} {
			t.Run(name, func(t *testing.T) {
				driver := ours(t, params(s, s.NewBucket(t), root))
				testsuites.Driver(t, func() (storagedriver.StorageDriver, error) { return driver, nil }, false)
			})
		}
	})
}

func TestLargeStream(t *testing.T) {
	each(t, func(t *testing.T, s *stores.Store) {
		ctx := context.Background()
		driver := ours(t, params(s, s.NewBucket(t), ""))
		const size = 333*mib + 7
		var seed [32]byte
		if _, err := rand.Read(seed[:]); err != nil {
			t.Fatal(err)
		}
		sum := sha256.New()
		w, err := driver.Writer(ctx, "/large", false)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(w, io.TeeReader(io.LimitReader(mathrand.NewChaCha8(seed), size), sum)); err != nil {
			t.Fatal(err)
		}
		if err := w.Commit(ctx); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		if err := driver.Move(ctx, "/large", "/moved"); err != nil { // in parts
			t.Fatal(err)
		}
		r, err := driver.Reader(ctx, "/moved", 0)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		got := sha256.New()
		if n, err := io.Copy(got, r); err != nil || n != size || !bytes.Equal(got.Sum(nil), sum.Sum(nil)) {
			t.Errorf("%d bytes came back, %v", n, err)
		}
	})
}
