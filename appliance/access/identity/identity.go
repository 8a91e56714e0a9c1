// Package identity carries who a request turned out to come from, from where that
// is proven to where it is written down: what a request claims is no name.
package identity

import "context"

type key struct{}

// Identity is who has been proven to send one request. The zero value is a
// stranger. It belongs to the goroutine of its request.
type Identity struct {
	user string
}

// With returns a context for a request, and the identity that Prove sets in it.
func With(ctx context.Context) (context.Context, *Identity) {
	i := &Identity{}
	return context.WithValue(ctx, key{}, i), i
}

// Prove notes that user sends the request of ctx. Call it when a password, a
// token or a certificate was right. Without With it does nothing.
func Prove(ctx context.Context, user string) {
	if i := Of(ctx); i != nil {
		i.user = user
	}
}

// Of returns the identity of the request of ctx, or nil without With.
func Of(ctx context.Context) *Identity {
	i, _ := ctx.Value(key{}).(*Identity)
	return i
}

// User is the name that was proven, or empty for a stranger.
func (i *Identity) User() string {
	if i == nil {
		return ""
	}
	return i.user
}
