//go:build integration

package takeover

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/google/go-containerregistry/pkg/v1/validate"

	"github.com/redoubt-registry/redoubt/test/stores"
)

// debian is Debian's package docker-registry: the stock registry, version 2.
const debian = "/usr/bin/docker-registry"

// place is a storage in the words of the two.
type place struct {
	stock, ours string
	images      string // the directory, or one for nothing
}

func directory(t *testing.T) place {
	t.Helper()
	dir := t.TempDir()
	return place{stock: fmt.Sprintf("  filesystem: {rootdirectory: %q}\n", dir), images: dir}
}

// bucket has a prefix, and what the stock registry is told of it is what redoubt import
// makes the keys of.
func bucket(t *testing.T, s *stores.Store, redoubt string) place {
	t.Helper()
	stock := fmt.Sprintf("  s3: {bucket: %q, region: us-east-1, regionendpoint: %q, accesskey: %q, secretkey: %q, rootdirectory: /old/registry, secure: false, v4auth: true, forcepathstyle: true}\n",
		s.NewBucket(t), s.Endpoint, s.AccessKey, s.SecretKey)
	config := filepath.Join(t.TempDir(), "config.yml")
	write(t, config, "version: 0.1\nstorage:\n"+stock+"http: {addr: ':5000'}\n")
	out, err := exec.Command(redoubt, "import", "--hostname", "localhost", config).Output()
	if err != nil {
		t.Fatalf("cannot import: %v", err)
	}
	_, ours, ok := strings.Cut(string(out), "  storage:\n")
	if !ok {
		t.Fatalf("no storage in:\n%s", out)
	}
	ours, _, _ = strings.Cut(ours, "\n  #")
	return place{stock: stock, ours: "  storage:\n" + ours + "\n", images: t.TempDir()}
}

// A storage goes from a stock registry to ours, to the stock one and to ours again. All
// that either was told to keep is pulled from the other, byte for byte.
func TestTakeover(t *testing.T) {
	if _, err := os.Stat(debian); err != nil {
		t.Fatalf("needs Debian's docker-registry: %v; scripts/bootstrap installs it", err)
	}
	ours := build(t)
	t.Setenv("OTEL_TRACES_EXPORTER", "none")
	store := stores.MinIO(t)
	for version, stock := range map[string]func(*testing.T, string) *server{"version 2": two, "version 3": three} {
		t.Run(version+" in a directory", func(t *testing.T) {
			p := directory(t)
			kept := thereAndBack(t, stock, ours, p)
			command(t, ours, "storage", "scrub", "--storage", p.images, "--rate", "0")
			copied := directory(t)
			command(t, ours, "storage", "copy", "--from", p.images, "--to", copied.images, "--verify")
			s := stock(t, copied.stock)
			kept.pulled(t, s)
			s.stop()
		})
		t.Run(version+" in a bucket", func(t *testing.T) {
			thereAndBack(t, stock, ours, bucket(t, store, ours))
		})
	}
}

func thereAndBack(t *testing.T, stock func(*testing.T, string) *server, ours string, p place) images {
	t.Helper()
	kept := images{}
	base := kept.image(t, 20_000, 3)

	s := stock(t, p.stock)
	kept.push(t, s, "team/app:1", base)
	kept.push(t, s, "team/app:latest", base)
	kept.push(t, s, "old/gone:1", kept.image(t, 500, 1))
	kept.pushIndex(t, s, "multi/arch:1")
	s.stop()

	s = redoubt(t, ours, p.ours, p.images)
	kept.pulled(t, s)
	layer, err := random.Layer(5_000, types.DockerLayer)
	check(t, err)
	more, err := mutate.AppendLayers(base, layer) // shares what the stock one stored
	check(t, err)
	kept.push(t, s, "team/app:2", more)
	kept.push(t, s, "team/app:latest", more)
	kept.push(t, s, "new/large:1", kept.image(t, 6<<20, 1))
	kept.delete(t, s, "old/gone:1")
	s.stop()

	s = stock(t, p.stock)
	kept.pulled(t, s)
	kept.push(t, s, "team/app:3", kept.image(t, 2_000, 2))
	s.stop()

	s = redoubt(t, ours, p.ours, p.images)
	kept.pulled(t, s)
	s.stop()
	return kept
}

// command has the program do something, which must go well.
func command(t *testing.T, redoubt string, args ...string) {
	t.Helper()
	if out, err := exec.Command(redoubt, args...).CombinedOutput(); err != nil {
		t.Errorf("redoubt %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// images are what a registry was told to keep: the digest under each tag.
type images map[string]v1.Hash

func (images) image(t *testing.T, size, layers int64) v1.Image {
	t.Helper()
	image, err := random.Image(size, layers)
	check(t, err)
	return image
}

func options() remote.Option {
	return remote.WithAuth(&authn.Basic{Username: user, Password: password})
}

func reference(t *testing.T, s *server, tag string) name.Reference {
	t.Helper()
	ref, err := name.ParseReference(s.address + "/" + tag)
	check(t, err)
	return ref
}

func (k images) push(t *testing.T, s *server, tag string, image v1.Image) {
	t.Helper()
	check(t, remote.Write(reference(t, s, tag), image, options()))
	digest, err := image.Digest()
	check(t, err)
	k[tag] = digest
}

func (k images) pushIndex(t *testing.T, s *server, tag string) {
	t.Helper()
	index, err := random.Index(2_000, 2, 2)
	check(t, err)
	check(t, remote.WriteIndex(reference(t, s, tag), index, options()))
	k[tag], err = index.Digest()
	check(t, err)
}

// delete removes a tag with its manifest.
func (k images) delete(t *testing.T, s *server, tag string) {
	t.Helper()
	repository, _, _ := strings.Cut(tag, ":")
	check(t, remote.Delete(reference(t, s, repository+"@"+k[tag].String()), options()))
	if _, err := remote.Head(reference(t, s, tag), options()); err == nil {
		t.Errorf("%s is there after it was deleted", tag)
	}
	delete(k, tag)
}

// pulled pulls all and compares each byte with its digest.
func (k images) pulled(t *testing.T, s *server) {
	t.Helper()
	for tag, want := range k {
		got, err := remote.Get(reference(t, s, tag), options())
		if err != nil {
			t.Errorf("cannot pull %s: %v", tag, err)
			continue
		}
		if got.Digest != want {
			t.Errorf("%s is %s instead of %s", tag, got.Digest, want)
		}
		if got.MediaType.IsIndex() {
			index, err := got.ImageIndex()
			check(t, err)
			err = validate.Index(index)
			check(t, err)
			continue
		}
		image, err := got.Image()
		check(t, err)
		check(t, validate.Image(image))
	}
	if _, err := remote.Head(reference(t, s, "old/gone:1"), options()); err == nil && k["old/gone:1"] == (v1.Hash{}) {
		t.Error("what was deleted is back")
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
