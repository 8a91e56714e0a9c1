//go:build image

package image_test

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/validate"
)

// sample is an image of three layers, of which one is large and does not compress,
// with a configuration. Each seed makes another one.
func sample(t *testing.T, seed uint64) v1.Image {
	t.Helper()
	random := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)})
	large := make([]byte, 12<<20)
	if _, err := random.Read(large); err != nil {
		t.Fatal(err)
	}
	img := v1.Image(empty.Image)
	for _, file := range []struct {
		path string
		data []byte
	}{
		{"etc/release", large[:40]},
		{"usr/lib/large", large},
		{"usr/share/zeros", append(make([]byte, 3<<20), large[:8]...)},
	} {
		var err error
		if img, err = mutate.AppendLayers(img, layer(t, file.path, file.data)); err != nil {
			t.Fatal(err)
		}
	}
	config, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	config.Architecture, config.OS = "amd64", "linux"
	config.Config = v1.Config{Env: []string{"PATH=/bin"}, Cmd: []string{"/bin/true"}, Labels: map[string]string{"seed": fmt.Sprint(seed)}}
	if img, err = mutate.ConfigFile(img, config); err != nil {
		t.Fatal(err)
	}
	return img
}

// layer is a layer of one file.
func layer(t *testing.T, path string, data []byte) v1.Layer {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	if err := w.WriteHeader(&tar.Header{Name: path, Mode: 0o644, Size: int64(len(data))}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	l, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b.Bytes())), nil })
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// archive writes the image as `docker save` would, under the name.
func (w *world) archive(t *testing.T, img v1.Image, as string) string {
	t.Helper()
	path := filepath.Join(w.dir, "image.tar")
	if err := tarball.WriteToFile(path, reference(t, as), img); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Remove(path) })
	return path
}

// configID is what docker and podman call an image's id.
func configID(t *testing.T, img v1.Image) string {
	t.Helper()
	id, err := img.ConfigName()
	if err != nil {
		t.Fatal(err)
	}
	return id.String()
}

func digest(t *testing.T, img v1.Image) string {
	t.Helper()
	d, err := img.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return d.String()
}

// reference is a repository and a tag on the guest.
func reference(t *testing.T, as string) name.Tag {
	t.Helper()
	ref, err := name.NewTag(host + "/" + as)
	if err != nil {
		t.Fatal(err)
	}
	return ref
}

// options are the crane library's, for the guest and its CA.
func (g *guest) options(t *testing.T, ca string) []remote.Option {
	return []remote.Option{
		remote.WithContext(t.Context()),
		remote.WithTransport(g.transport([]byte(ca))),
		remote.WithAuth(&authn.Basic{Username: user, Password: password}),
	}
}

// push pushes with the crane library.
func (g *guest) push(t *testing.T, ca, as string, img v1.Image) {
	t.Helper()
	if err := remote.Write(reference(t, as), img, g.options(t, ca)...); err != nil {
		t.Fatal(err)
	}
}

// pull pulls with the crane library every byte of what the name stands for, checks
// each digest, and wants the configuration and the layers of img.
func (g *guest) pull(t *testing.T, ca, as string, img v1.Image) v1.Image {
	t.Helper()
	got, err := remote.Image(reference(t, as), g.options(t, ca)...)
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Image(got); err != nil {
		t.Errorf("%s: %v", as, err)
	}
	if got, want := configID(t, got), configID(t, img); got != want {
		t.Errorf("%s: the configuration is %s, want %s", as, got, want)
	}
	return got
}
