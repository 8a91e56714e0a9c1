// Package links reads and writes what upstream does not: manifests as they are, and
// content under another digest than sha256. Upstream keeps it as sha256, with a link to
// that, which its garbage collection does not follow. Here it lies under the digest that
// the client gave it, which the stock registry serves and keeps as well.
package links

import (
	"context"
	"errors"
	"fmt"
	"path"

	"github.com/distribution/distribution/v3"
	middleware "github.com/distribution/distribution/v3/registry/middleware/registry"
	"github.com/distribution/distribution/v3/registry/storage/driver"
	"github.com/opencontainers/go-digest"

	"github.com/redoubt-registry/redoubt/appliance/storage/layout"
	"github.com/redoubt-registry/redoubt/appliance/storage/once"
)

// Name is what the middleware is called in distribution's middleware section for the
// registry. Option is its option, a *Links, which is never in a file.
const (
	Name   = "redoubt-links"
	Option = "links"
)

// Register makes the middleware known to distribution. It may be called more than
// once.
func Register() {
	_ = middleware.Register(Name, install) // fails only when it is there already
}

func install(_ context.Context, ns distribution.Namespace, d driver.StorageDriver, options map[string]any) (distribution.Namespace, error) {
	l, ok := options[Option].(*Links)
	if !ok {
		return nil, errors.New("cannot write links: there is nothing to keep the storage in")
	}
	l.Driver = d
	return ns, nil
}

// Links writes the links of an application's storage. The application gives it the
// driver when it is made.
type Links struct {
	Driver driver.StorageDriver
}

// Layer links a repository to a blob that is there under this very digest.
func (l *Links) Layer(ctx context.Context, repository string, dgst digest.Digest) error {
	return l.put(ctx, layout.LinkPath(repository, layout.Layers, dgst), dgst.String())
}

// Tag writes what a tag points to, and then that it has done so. The context may say that
// there must be no such tag, see package once.
func (l *Links) Tag(ctx context.Context, repository, tag string, dgst digest.Digest) error {
	if err := l.put(ctx, layout.TagPath(repository, tag), dgst.String()); err != nil {
		return err
	}
	return l.put(once.Never(ctx), layout.TaggedPath(repository, tag, dgst), dgst.String())
}

// Mount links a repository to a blob of another one, and returns its size in bytes. It
// is distribution.ErrBlobUnknown that there is none.
func (l *Links) Mount(ctx context.Context, from, repository string, dgst digest.Digest) (size int64, err error) {
	target, gone, err := layout.Read(ctx, l.Driver, layout.LinkPath(from, layout.Layers, dgst))
	if gone {
		return 0, distribution.ErrBlobUnknown
	}
	if err != nil {
		return 0, fmt.Errorf("cannot mount a blob: %w", err)
	}
	info, err := l.Driver.Stat(ctx, layout.Path(target))
	if layout.Missing(err) {
		return 0, distribution.ErrBlobUnknown
	}
	if err != nil {
		return 0, fmt.Errorf("cannot mount a blob: %w", err)
	}
	return info.Size(), l.put(ctx, layout.LinkPath(repository, layout.Layers, dgst), target.String())
}

// Write keeps a manifest of a repository under its digest.
func (l *Links) Write(ctx context.Context, repository string, dgst digest.Digest, data []byte) error {
	info, err := l.Driver.Stat(ctx, layout.Path(dgst))
	if err != nil || info.Size() != int64(len(data)) {
		if err := l.put(ctx, layout.Path(dgst), string(data)); err != nil {
			return err
		}
	}
	return l.put(ctx, layout.LinkPath(repository, layout.Revisions, dgst), dgst.String())
}

// Known tells whether there is a repository of a name. Where the storage does not say,
// there is.
func (l *Links) Known(ctx context.Context, repository string) bool {
	for _, part := range []string{layout.Layers, path.Dir(layout.Revisions)} {
		if _, err := l.Driver.Stat(ctx, layout.Repositories+"/"+repository+"/"+part); !layout.Missing(err) {
			return true
		}
	}
	return false
}

// largest is the size in bytes of the largest manifest.
const largest = 4 << 20

// Read reads a manifest of a repository, nil if there is none.
func (l *Links) Read(ctx context.Context, repository string, dgst digest.Digest) ([]byte, error) {
	target, gone, err := layout.Read(ctx, l.Driver, layout.LinkPath(repository, layout.Revisions, dgst))
	if _, damaged := errors.AsType[*layout.Damage](err); gone || damaged {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return l.Content(ctx, target)
}

// Content reads a blob that may be a manifest, nil if there is none.
func (l *Links) Content(ctx context.Context, dgst digest.Digest) ([]byte, error) {
	info, err := l.Driver.Stat(ctx, layout.Path(dgst))
	if layout.Missing(err) || err == nil && info.Size() > largest {
		return nil, nil
	}
	var data []byte
	if err == nil {
		data, err = l.Driver.GetContent(ctx, layout.Path(dgst))
	}
	if layout.Missing(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read a manifest: %w", err)
	}
	return data, nil
}

func (l *Links) put(ctx context.Context, path, text string) error {
	if err := l.Driver.PutContent(ctx, path, []byte(text)); err != nil {
		return fmt.Errorf("cannot write to the storage: %w", err)
	}
	return nil
}
