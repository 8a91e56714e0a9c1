package route

import (
	"context"

	"github.com/opencontainers/go-digest"
)

type key struct{}

// With gives a context the request that it belongs to.
func With(ctx context.Context, q Request) context.Context { return context.WithValue(ctx, key{}, q) }

// From is the request that a context belongs to; that of none is empty.
func From(ctx context.Context) Request {
	q, _ := ctx.Value(key{}).(Request)
	return q
}

// Stand is the path that stands for that of q behind /v2/. Upstream takes a manifest by
// its sha256 alone; by another digest it gets it as it would by a tag.
func (q Request) Stand() string {
	if q.Kind == Manifest && q.Digest != "" && q.Digest.Algorithm() != digest.Canonical {
		return q.Name + "/manifests/" + q.Digest.Algorithm().String()
	}
	return q.Path()
}
