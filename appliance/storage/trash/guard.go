package trash

import (
	"context"
	"fmt"
	"path"
	"sync/atomic"
	"time"

	"github.com/distribution/distribution/v3/registry/storage/driver"
	"github.com/opencontainers/go-digest"

	"github.com/redoubt-registry/redoubt/appliance/storage/layout"
)

// Protected is the directory of the marks of blobs that a push has named.
const Protected = "/redoubt/protected"

// ProtectedPath is the mark of a blob. Collection counts its age as that of the blob.
func ProtectedPath(dgst digest.Digest) string {
	return fmt.Sprintf("%s/%s/%s/%s", Protected, dgst.Algorithm(), dgst.Encoded()[:2], dgst.Encoded())
}

// ProtectedAt is the digest of the blob whose mark is at p.
func ProtectedAt(p string) (digest.Digest, bool) {
	dir, hex := path.Split(p)
	dgst := digest.NewDigestFromEncoded(digest.Algorithm(path.Base(path.Dir(path.Clean(dir)))), hex)
	return dgst, dgst.Validate() == nil
}

// Least is the shortest grace of a collection: for so long a blob is safe that a push
// has named.
const Least = time.Hour

const markTime = 10 * time.Second

// Guard sees to it that a blob that a client is told to be present stays until the push
// that uses it is done.
type Guard struct {
	driver atomic.Pointer[driver.StorageDriver]
	grace  time.Duration
	safe   recent[digest.Digest]
	linked recent[string] // links of manifests
}

// NewGuard makes a guard against collections that spare for grace what a push has
// named. 0 means none, and then each blob is looked for each time.
func NewGuard(grace time.Duration) *Guard {
	return &Guard{grace: grace, safe: newRecent[digest.Digest](grace / 4), linked: newRecent[string](grace / 4)}
}

// Guarding makes a guard of a storage as it is opened, for a process that is not the
// registry.
func Guarding(d driver.StorageDriver, grace time.Duration) *Guard {
	g := NewGuard(grace)
	g.use(Driver(d))
	return g
}

func (g *Guard) use(d driver.StorageDriver) { g.driver.Store(&d) }

// Ensure tells whether a blob is there, and makes that true until the push is over: it
// brings it back from the trash, and marks it where it is old. Caches are not asked.
func (g *Guard) Ensure(ctx context.Context, dgst digest.Digest) (bool, error) {
	if g.safe.has(dgst) {
		return true, nil
	}
	d := *g.driver.Load()
	info, err := d.Stat(ctx, layout.Path(dgst))
	marked := true
	if err == nil && g.grace > 0 && time.Since(info.ModTime()) > g.grace/2 {
		marked = g.mark(d, dgst)
		// It may have been taken before the mark was there.
		_, err = d.Stat(ctx, layout.Path(dgst))
	}
	if layout.Missing(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("cannot look for a blob: %w", err)
	}
	if marked {
		g.safe.add(dgst)
	}
	return true, nil
}

// mark marks a blob. On a storage that takes no writes no push ends either, and reading
// goes on: that is no failure of the request.
func (g *Guard) mark(d driver.StorageDriver, dgst digest.Digest) bool {
	ctx, cancel := context.WithTimeout(context.Background(), markTime)
	defer cancel()
	return d.PutContent(ctx, ProtectedPath(dgst), []byte(time.Now().UTC().Format(time.RFC3339))) == nil
}

// Back tells whether a manifest is one of a repository, and brings its link back if it
// lies in the trash. Caches are not asked.
func (g *Guard) Back(ctx context.Context, repository string, dgst digest.Digest) (bool, error) {
	_, err := (*g.driver.Load()).Stat(ctx, layout.LinkPath(repository, layout.Revisions, dgst))
	return err == nil, unlessMissing(err)
}

// Linked is Back for who only reads. It may remember what was taken since, and which
// stays in the trash for longer than that.
func (g *Guard) Linked(ctx context.Context, repository string, dgst digest.Digest) (bool, error) {
	name := repository + "@" + dgst.String()
	if g.linked.has(name) {
		return true, nil
	}
	is, err := g.Back(ctx, repository, dgst)
	if is {
		g.linked.add(name)
	}
	return is, err
}

// Restore brings back a blob, and tells whether it was in the trash.
func (g *Guard) Restore(ctx context.Context, dgst digest.Digest) (bool, error) {
	_, err := (*g.driver.Load()).Stat(ctx, layout.Path(dgst))
	return err == nil, unlessMissing(err)
}
