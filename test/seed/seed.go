// Package seed fills a storage with real images, through a real registry, for
// tests of what works on storages.
package seed

import (
	"context"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/distribution/distribution/v3/configuration"
	"github.com/distribution/distribution/v3/registry/handlers"
	_ "github.com/distribution/distribution/v3/registry/storage/driver/filesystem" // registers itself
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/google/go-containerregistry/pkg/v1/validate"
	"github.com/sirupsen/logrus"
)

// Registry is distribution's own, on a storage.
type Registry struct{ host string }

// Directory is the storage that is a directory.
func Directory(root string) configuration.Storage {
	return configuration.Storage{"filesystem": {"rootdirectory": root}, "delete": {"enabled": true}}
}

// Serve serves a storage until the test ends.
func Serve(t testing.TB, storage configuration.Storage) *Registry {
	t.Helper()
	t.Setenv("OTEL_TRACES_EXPORTER", "none")
	c := &configuration.Configuration{Version: configuration.CurrentVersion, Storage: storage}
	c.HTTP.Secret = "seed"
	c.Storage["redirect"] = configuration.Parameters{"disable": true}
	c.Storage["maintenance"] = configuration.Parameters{"uploadpurging": map[any]any{"enabled": false}}
	logrus.SetLevel(logrus.FatalLevel) // of the whole process: its log says nothing that a test needs
	ctx, cancel := context.WithCancel(context.Background())
	server := httptest.NewServer(handlers.NewApp(ctx, c))
	t.Cleanup(func() {
		server.Close()
		cancel()
	})
	return &Registry{strings.TrimPrefix(server.URL, "http://")}
}

// Reference names a thing in the registry.
func (r *Registry) Reference(t testing.TB, text string) name.Reference {
	t.Helper()
	ref, err := name.ParseReference(r.host + "/" + text)
	check(t, err)
	return ref
}

// Push pushes an image.
func (r *Registry) Push(t testing.TB, text string, image v1.Image) {
	t.Helper()
	check(t, remote.Write(r.Reference(t, text), image))
}

// Pull pulls an image or each of an index, and checks all of its bytes.
func (r *Registry) Pull(t testing.TB, text string) error {
	t.Helper()
	descriptor, err := remote.Get(r.Reference(t, text))
	if err != nil {
		return err
	}
	if descriptor.MediaType.IsIndex() {
		index, err := descriptor.ImageIndex()
		if err != nil {
			return err
		}
		return validate.Index(index)
	}
	image, err := descriptor.Image()
	if err != nil {
		return err
	}
	return validate.Image(image)
}

// Tags are what Fill pushes and each may be pulled.
var Tags = []string{"team/app:1", "team/app:latest", "team/app:v1.0-rc_1", "team/app/worker:1", "team:base", "multi:1", "large:1"}

// Fill pushes images of each kind: with shared layers, with a tag that moved, for
// several platforms, with a signature, in nested repositories, and with a layer of
// large bytes.
func (r *Registry) Fill(t testing.TB, large int64) {
	t.Helper()
	base := Image(t, 20_000, 3)
	r.Push(t, "team/app:1", base)
	r.Push(t, "team/app:v1.0-rc_1", base)
	r.Push(t, "team:base", base)
	layer, err := random.Layer(5_000, types.OCILayer)
	check(t, err)
	worker, err := mutate.AppendLayers(base, layer)
	check(t, err)
	r.Push(t, "team/app/worker:1", worker)
	r.Push(t, "team/app:latest", base)
	r.Push(t, "team/app:latest", Image(t, 1_000, 1))
	index, err := random.Index(2_000, 2, 2)
	check(t, err)
	check(t, remote.WriteIndex(r.Reference(t, "multi:1"), index))
	r.Push(t, "large:1", Image(t, large, 1))
	subject, err := partial.Descriptor(base)
	check(t, err)
	signature, ok := mutate.Subject(mutate.MediaType(Image(t, 500, 1), types.OCIManifestSchema1), *subject).(v1.Image)
	if !ok {
		t.Fatal("no signature")
	}
	r.Push(t, "team/app:sha256-"+subject.Digest.Hex+".sig", signature)
	check(t, remote.Write(r.Reference(t, "empty:1"), empty.Image))
}

// Image makes an image of random layers.
func Image(t testing.TB, size, layers int64) v1.Image {
	t.Helper()
	image, err := random.Image(size, layers)
	check(t, err)
	return image
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
