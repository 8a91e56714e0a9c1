package collect

import (
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"slices"

	"github.com/distribution/distribution/v3/registry/storage/driver"
	"github.com/opencontainers/go-digest"

	"github.com/redoubt-registry/redoubt/appliance/storage/layout"
)

// key stands for a digest in a quarter of its space. Should two digests have one key,
// both are kept.
type key [16]byte

func keyOf(dgst digest.Digest) (k key) {
	text := dgst.Encoded()
	_, _ = hex.Decode(k[:], []byte(text[:2*len(k)])) // a digest is valid and longer
	return k
}

// references are what a manifest needs.
type references struct {
	there    bool // whether the manifest was found
	blobs    []key
	children []digest.Digest // manifests, or what an index lists otherwise
	subject  digest.Digest   // empty: none
	foreign  []digest.Digest // those not of sha256, which may be links to others
}

// largest is the size in bytes of the largest manifest that a registry accepts. What is
// larger is none.
const largest = 4 << 20

// load reads a manifest, once in a run.
func (m *marking) load(ctx context.Context, dgst digest.Digest) (*references, error) {
	k := keyOf(dgst)
	m.mu.Lock()
	refs := m.known[k]
	m.mu.Unlock()
	if refs != nil {
		return refs, nil
	}
	data, there, err := content(ctx, m.storage, dgst)
	if err != nil {
		return nil, err
	}
	refs = &references{}
	if there {
		refs = parse(data)
		refs.there = true
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if there { // it may come until the next look
		m.known[k] = refs
	}
	return refs, nil
}

// content reads a blob that may be a manifest.
func content(ctx context.Context, d driver.StorageDriver, dgst digest.Digest) (data []byte, there bool, err error) {
	r, err := d.Reader(ctx, layout.Path(dgst), 0)
	if layout.Missing(err) {
		return nil, false, nil
	}
	if err == nil {
		defer r.Close()
		data, err = io.ReadAll(io.LimitReader(r, largest+1))
	}
	if err != nil {
		return nil, false, fmt.Errorf("cannot read manifest %s: %w", dgst, err)
	}
	if len(data) > largest {
		data = nil
	}
	return data, true, nil
}

// parse reads what a manifest needs.
func parse(data []byte) *references {
	found := layout.ReferencesOf(data)
	refs := &references{subject: found.Subject}
	for _, d := range slices.Concat(found.Blobs, found.Manifests) {
		refs.add(d.Digest)
	}
	for _, d := range found.Manifests {
		refs.children = append(refs.children, d.Digest)
	}
	return refs
}

func (r *references) add(dgst digest.Digest) {
	r.blobs = append(r.blobs, keyOf(dgst))
	if dgst.Algorithm() != digest.Canonical {
		r.foreign = append(r.foreign, dgst)
	}
}
