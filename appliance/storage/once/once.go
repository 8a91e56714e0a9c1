// Package once asks a storage driver to create a file, and never to replace one: a
// bucket compares and writes in one step, so that of several machines one wins.
package once

import (
	"context"
	"errors"
)

// ErrExists is what a driver says to a write that would replace a file.
var ErrExists = errors.New("the file exists already")

type key struct{}

// With makes a context whose writes of small files create and never replace, in the
// drivers of this repository. Others write as always.
func With(ctx context.Context) context.Context { return context.WithValue(ctx, key{}, true) }

// Never makes a context whose writes replace what is there, as always.
func Never(ctx context.Context) context.Context { return context.WithValue(ctx, key{}, false) }

// Asked tells whether a write may only create.
func Asked(ctx context.Context) bool { return ctx.Value(key{}) == true }
