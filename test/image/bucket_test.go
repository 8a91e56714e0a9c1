//go:build image

package image_test

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/random"

	"github.com/redoubt-registry/redoubt/test/program"
	"github.com/redoubt-registry/redoubt/test/vm"
)

var (
	storeData = regexp.MustCompile(`Its data, in (\S+),`)
	secretKey = regexp.MustCompile(`secretKey: (\S+)`)
)

// TestBucket does what docs/storage.md says: make bucket, make up with its
// user-data, and the images are in the bucket and nowhere else.
func TestBucket(t *testing.T) {
	t.Parallel()
	root, err := filepath.Abs(repository)
	if err != nil {
		t.Fatal(err)
	}
	a, err := accel()
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(root, ".cache", "test", t.Name())
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	userData, said := keeps(t, root, "bucket", dir, "BUCKET_DIR="+dir)
	data := storeData.FindStringSubmatch(said)
	text, err := os.ReadFile(userData)
	if err != nil {
		t.Fatal(err)
	}
	secret := secretKey.FindSubmatch(text)
	if data == nil || secret == nil {
		t.Fatalf("make bucket does not say where its data is, or the user-data has no key:\n%s", said)
	}
	g := &guest{https: program.FreePort(t, "127.0.0.1"), http: program.FreePort(t, "127.0.0.1")}
	ctx, cancel := context.WithTimeout(t.Context(), 2*bootLimit)
	defer cancel()
	up := exec.CommandContext(ctx, "make", "-C", root, "up")
	up.Env = append(os.Environ(), "UP_SHELL=1", "ACCEL="+string(a), "UP_DIR="+dir, "USER_DATA="+userData,
		fmt.Sprintf("PORT=%d", g.https), fmt.Sprintf("HTTP_PORT=%d", g.http))
	t.Cleanup(func() {
		if v, err := vm.Attach(dir); err == nil {
			_ = v.Kill()
		}
		if !t.Failed() {
			_ = os.RemoveAll(dir)
		}
	})
	if out, err := up.CombinedOutput(); err != nil {
		t.Fatalf("make up: %v\n%s", err, out)
	}
	if g.VM, err = vm.Attach(dir); err != nil {
		t.Fatal(err)
	}
	img, err := random.Image(100_000, 2)
	if err != nil {
		t.Fatal(err)
	}
	g.push(t, g.ca(t), "bucket/image:1", img)
	g.pull(t, g.ca(t), "bucket/image:1", img)

	var blobs int
	err = filepath.WalkDir(data[1], func(path string, e fs.DirEntry, err error) error {
		if strings.Contains(path, "/docker/registry/v2/blobs/sha256/") && e != nil && e.IsDir() && e.Name() == "data" {
			blobs++ // MinIO has a directory for each object
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if blobs < 4 { // two layers, the configuration, the manifest
		t.Errorf("%d blobs are in the bucket, want 4", blobs)
	}
	if local := g.sh(t, "find /var/lib/redoubt/registry -type f | head"); strings.TrimSpace(local) != "" {
		t.Errorf("images are on the machine:\n%s", local)
	}
	if status := g.sh(t, "redoubt status"); !strings.Contains(status, "bucket-1") {
		t.Errorf("the status does not name the bucket:\n%s", status)
	}
	if found := g.sh(t, "journalctl --namespace='*' --no-pager | grep -cF '"+string(secret[1])+"' || true"); strings.TrimSpace(found) != "0" {
		t.Errorf("the secret key is in the journal, %s times", found)
	}
}
