// Package layout is how distribution lays a registry out in its storage: where
// blobs are, and the links of repositories to them. It reads through a storage
// driver and changes nothing.
package layout

import (
	"context"
	_ "crypto/sha256" // for the digests
	_ "crypto/sha512" // for the digests
	"errors"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/distribution/distribution/v3/registry/storage/driver"
	"github.com/opencontainers/go-digest"
)

// Where the two halves of a registry are.
const (
	Blobs        = "/docker/registry/v2/blobs"
	Repositories = "/docker/registry/v2/repositories"
)

// Exists tells whether there is a registry in d at all.
func Exists(ctx context.Context, d driver.StorageDriver) (bool, error) {
	for _, dir := range []string{Blobs, Repositories} {
		children, err := list(ctx, d, dir)
		if err != nil || len(children) > 0 {
			return len(children) > 0, err
		}
	}
	return false, nil
}

// Missing tells whether err says that there is nothing at a path. Upstream's driver of
// a directory does not always say so in its own words.
func Missing(err error) bool {
	if wrapped, ok := errors.AsType[driver.Error](err); ok {
		return Missing(wrapped.Detail)
	}
	_, ok := errors.AsType[driver.PathNotFoundError](err)
	return ok || errors.Is(err, fs.ErrNotExist)
}

// list returns what is right below dir, sorted; nothing if dir is not there.
func list(ctx context.Context, d driver.StorageDriver, dir string) ([]string, error) {
	children, err := d.List(ctx, dir)
	if Missing(err) {
		return nil, nil
	}
	slices.Sort(children)
	return children, err
}

// Walk calls f for each file below dir. A driver gives up its walk when a file
// disappears meanwhile; the walk then restarts, so f may see a file twice.
func Walk(ctx context.Context, d driver.StorageDriver, dir string, f func(driver.FileInfo) error) error {
	const tries = 5
	for try := 1; ; try++ {
		var failed error
		err := d.Walk(ctx, dir, func(info driver.FileInfo) error {
			if err := ctx.Err(); err != nil {
				failed = err
			} else if !info.IsDir() {
				failed = f(info)
			}
			return failed
		})
		switch {
		case failed != nil:
			return failed
		case !Missing(err):
			return err
		}
		// A file in the place of a directory cannot be listed either.
		if info, err := d.Stat(ctx, dir); Missing(err) || err == nil && !info.IsDir() {
			return nil
		} else if try == tries {
			return err
		}
	}
}

// name matches a part of a repository's name.
var name = regexp.MustCompile(`^[a-z0-9]+([._-]+[a-z0-9]+)*$`)

// encoded returns the digest in the last two parts of a path.
func encoded(algorithm, hex string) (digest.Digest, bool) {
	dgst := digest.NewDigestFromEncoded(digest.Algorithm(algorithm), hex)
	return dgst, dgst.Validate() == nil
}

// below is p without the prefix dir.
func below(dir, p string) string {
	return strings.TrimPrefix(strings.TrimPrefix(path.Clean(p), dir), "/")
}
