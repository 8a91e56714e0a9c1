package manifest

import (
	"context"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strconv"

	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/redoubt-registry/redoubt/appliance/registry/links"
	"github.com/redoubt-registry/redoubt/appliance/registry/route"
	"github.com/redoubt-registry/redoubt/appliance/storage/layout"
)

const (
	// maxKept is how many manifests are kept, each of at most maxKeptSize bytes.
	maxKept, maxKeptSize = 512, 64 << 10
)

// Reader answers for manifests that it has in memory, after it has looked whether the
// repository has them now: most requests to a registry ask for a few of them, again and
// again. What a digest names never changes.
type Reader struct {
	links *links.Links
	root  string // of a directory; empty: the storage is another one
	knows Knows
	kept  *lru.Cache[digest.Digest, content]
	tags  *tagged
}

// Knows tells whether a cache is sure that a repository has a manifest.
type Knows func(ctx context.Context, repository string, dgst digest.Digest) bool

// content is a manifest as it is stored.
type content struct {
	mediaType string
	data      []byte
}

// NewReader makes a reader of the storage that l writes to: a directory with a root, or
// one that is far away, for which knows is asked first where it is not nil.
func NewReader(l *links.Links, root string, knows Knows) *Reader {
	kept, _ := lru.New[digest.Digest, content](maxKept) // fails for sizes below one
	return &Reader{links: l, root: root, knows: knows, kept: kept, tags: newTagged()}
}

// Serve answers a request of a client that may pull. It returns false, and has done
// nothing, for what it cannot answer: the application then finds out why.
func (m *Reader) Serve(w http.ResponseWriter, r *http.Request, q route.Request) bool {
	ctx, dgst := r.Context(), q.Digest
	if q.Tag != "" {
		var ok bool
		if dgst, ok = m.tag(ctx, q.Name, q.Tag); !ok {
			return false
		}
	}
	if !m.has(ctx, q.Name, dgst) {
		return false
	}
	c, ok := m.kept.Get(dgst)
	if !ok {
		if c, ok = m.load(ctx, dgst); !ok {
			return false
		}
	}
	h := w.Header()
	h.Set("Docker-Distribution-Api-Version", "registry/2.0")
	h.Set("Content-Type", c.mediaType)
	h.Set("Content-Length", strconv.Itoa(len(c.data)))
	h.Set("Docker-Content-Digest", dgst.String())
	h.Set("Etag", strconv.Quote(dgst.String()))
	w.WriteHeader(http.StatusOK)
	if r.Method != http.MethodHead {
		_, _ = w.Write(c.data) // the client has gone
	}
	return true
}

// tag is what a tag points to now.
func (m *Reader) tag(ctx context.Context, repository, tag string) (digest.Digest, bool) {
	path := layout.TagPath(repository, tag)
	if m.root != "" {
		return m.tags.read(filepath.Join(m.root, path))
	}
	dgst, gone, err := layout.Read(ctx, m.links.Driver, path)
	return dgst, !gone && err == nil
}

// has tells whether a repository has a manifest under its own digest. A link that leads
// to another digest than the one in its name leads to one of another length.
func (m *Reader) has(ctx context.Context, repository string, dgst digest.Digest) bool {
	path := layout.LinkPath(repository, layout.Revisions, dgst)
	if m.root != "" {
		info, err := os.Stat(filepath.Join(m.root, path))
		return err == nil && info.Size() == int64(len(dgst))
	}
	if m.knows != nil && m.knows(ctx, repository, dgst) {
		return true
	}
	target, gone, err := layout.Read(ctx, m.links.Driver, path)
	return !gone && err == nil && target == dgst
}

// load reads a manifest, and keeps one that is not large.
func (m *Reader) load(ctx context.Context, dgst digest.Digest) (content, bool) {
	info, err := m.links.Driver.Stat(ctx, layout.Path(dgst))
	if err != nil || info.Size() > maxKeptSize {
		return content{}, false
	}
	data, err := m.links.Driver.GetContent(ctx, layout.Path(dgst))
	if err != nil || dgst.Algorithm().FromBytes(data) != dgst {
		return content{}, false
	}
	mediaType, ok := typeOf(data)
	if !ok {
		return content{}, false
	}
	c := content{mediaType: mediaType, data: data}
	m.kept.Add(dgst, c)
	return c, true
}

// typeOf is the media type of a manifest, if it is one that is answered as it is.
func typeOf(data []byte) (mediaType string, ok bool) {
	var m struct {
		SchemaVersion int             `json:"schemaVersion"`
		MediaType     string          `json:"mediaType"`
		Config        json.RawMessage `json:"config"`
		Manifests     json.RawMessage `json:"manifests"`
	}
	if json.Unmarshal(data, &m) != nil || m.SchemaVersion != 2 {
		return "", false
	}
	switch {
	case m.MediaType != "":
		return m.MediaType, true
	case m.Config != nil && m.Manifests == nil:
		return v1.MediaTypeImageManifest, true
	case m.Manifests != nil && m.Config == nil:
		return v1.MediaTypeImageIndex, true
	}
	return "", false
}
