package manifest

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/distribution/distribution/v3"
	"github.com/distribution/distribution/v3/registry/api/errcode"
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/redoubt-registry/redoubt/appliance/registry/route"
	"github.com/redoubt-registry/redoubt/appliance/storage/fault"
	"github.com/redoubt-registry/redoubt/appliance/storage/once"
)

// refuse tells a client that an immutable tag is written already. The code is the one of
// the specification that clients print together with the message.
func refuse(ctx context.Context, tag string, have digest.Digest) error {
	return fault.RefuseWith(ctx, http.StatusConflict, errcode.ErrorCodeTagInvalid.WithMessage(fmt.Sprintf(
		"the tag %s is immutable and is %s already: push another tag, or let an administrator delete it first", tag, have)))
}

var kept = errcode.ErrorCodeDenied.WithMessage("cannot delete it: a tag of it is immutable, and only an administrator (action admin of auth.acl) may delete that")

// create writes a tag that is there once and for all. Of several clients that do so at the
// same time one wins, on whichever machine; the same digest is no conflict.
func (t tags) create(ctx context.Context, tag string, dgst digest.Digest) error {
	const tries = 3 // it may be deleted in between
	for range tries {
		have, err := t.have(ctx, tag)
		switch {
		case err != nil:
			return err
		case have == dgst:
			return nil
		case have != "":
			return refuse(ctx, tag, have)
		}
		err = t.links.Tag(once.With(ctx), t.repository, tag, dgst)
		if !errors.Is(fault.Cause(err), once.ErrExists) {
			return err
		}
	}
	return refuse(ctx, tag, "another image")
}

// have is what a tag points to; empty: there is no such tag.
func (t tags) have(ctx context.Context, tag string) (digest.Digest, error) {
	desc, err := t.Get(ctx, tag)
	if errors.As(err, new(distribution.ErrTagUnknown)) {
		return "", nil
	}
	return desc.Digest, err
}

// mayTag refuses a manifest before it is stored if one of its tags is another one's for
// good.
func (t tags) mayTag(ctx context.Context, dgst digest.Digest, names ...string) error {
	for _, tag := range names {
		if tag == "" || !t.immutable.Holds(t.repository, tag) {
			continue
		}
		have, err := t.have(ctx, tag)
		if err != nil {
			return err
		}
		if have != "" && have != dgst {
			return refuse(ctx, tag, have)
		}
	}
	return nil
}

// mayDelete refuses to delete a manifest that an immutable tag points to, unless the
// client is an administrator.
func (t tags) mayDelete(ctx context.Context, dgst digest.Digest) error {
	if route.From(ctx).Admin || !t.immutable.In(t.repository) {
		return nil
	}
	names, err := t.TagService.Lookup(ctx, v1.Descriptor{Digest: dgst})
	if err != nil {
		return err
	}
	for _, tag := range names {
		if t.immutable.Holds(t.repository, tag) {
			return fault.Refuse(ctx, kept)
		}
	}
	return nil
}

// Untag implements distribution.TagService.
func (t tags) Untag(ctx context.Context, tag string) error {
	if !route.From(ctx).Admin && t.immutable.Holds(t.repository, tag) {
		return fault.Refuse(ctx, kept)
	}
	return t.TagService.Untag(ctx, tag)
}
