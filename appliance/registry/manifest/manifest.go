// Package manifest checks what a manifest refers to before upstream does: an index
// may refer to blobs, and a layer that is damaged counts as missing.
package manifest

import (
	"context"
	"errors"

	"github.com/distribution/distribution/v3"
	"github.com/distribution/distribution/v3/registry/api/errcode"
	middleware "github.com/distribution/distribution/v3/registry/middleware/repository"
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/redoubt-registry/redoubt/appliance/access/immutable"
	"github.com/redoubt-registry/redoubt/appliance/registry/blobcache"
	"github.com/redoubt-registry/redoubt/appliance/registry/links"
	"github.com/redoubt-registry/redoubt/appliance/registry/referrers"
	"github.com/redoubt-registry/redoubt/appliance/registry/route"
	"github.com/redoubt-registry/redoubt/appliance/registry/space"
	"github.com/redoubt-registry/redoubt/appliance/registry/uses"
	"github.com/redoubt-registry/redoubt/appliance/storage/layout"
	"github.com/redoubt-registry/redoubt/appliance/storage/trash"
)

// Name is what the middleware is called in distribution's middleware section. It
// needs those of blobcache. LinksOption is its option, a *links.Links, ReferrersOption
// a *referrers.Index, UsesOption a *uses.Index, GuardOption a *trash.Guard,
// ForgetOption a blob.Forget, where there is a cache, ImmutableOption an immutable.Rules
// and SpaceOption a *space.Keeper, where there are any.
const (
	Name            = "redoubt-manifest"
	LinksOption     = "links"
	ReferrersOption = "referrers"
	UsesOption      = "uses"
	GuardOption     = "guard"
	ForgetOption    = "forget"
	ImmutableOption = "immutable"
	SpaceOption     = "space"
)

// Register makes the middleware known to distribution. It may be called more than
// once.
func Register() {
	_ = middleware.Register(Name, newRepository) // fails only when it is there already
}

func newRepository(_ context.Context, r distribution.Repository, options map[string]any) (distribution.Repository, error) {
	l, ok := options[LinksOption].(*links.Links)
	index, given := options[ReferrersOption].(*referrers.Index)
	used, known := options[UsesOption].(*uses.Index)
	guard, guarded := options[GuardOption].(*trash.Guard)
	if !ok || !given || !known || !guarded {
		return nil, errors.New("cannot keep manifests: there are no links, no indexes of what refers to them and needs them, or no guard")
	}
	forget, _ := options[ForgetOption].(func(context.Context, string, digest.Digest) error)
	rules, _ := options[ImmutableOption].(immutable.Rules)
	keeper, _ := options[SpaceOption].(*space.Keeper)
	return repository{r, l, index, used, guard, rules, keeper, forget}, nil
}

type repository struct {
	distribution.Repository
	links     *links.Links
	referrers *referrers.Index
	uses      *uses.Index
	guard     *trash.Guard
	immutable immutable.Rules
	space     *space.Keeper                                                          // nil: no quotas
	forget    func(ctx context.Context, repository string, dgst digest.Digest) error // nil: nothing is cached
}

func (r repository) Manifests(ctx context.Context, options ...distribution.ManifestServiceOption) (distribution.ManifestService, error) {
	s, err := r.Repository.Manifests(ctx, options...)
	return service{ManifestService: s, repository: r, ctx: ctx, options: options}, err
}

// Tags implements distribution.Repository.
func (r repository) Tags(ctx context.Context) distribution.TagService { return r.tags(ctx) }

func (r repository) tags(ctx context.Context) tags {
	return tags{TagService: r.Repository.Tags(ctx), repository: r.Named().Name(), links: r.links, immutable: r.immutable}
}

// service lives for one request.
type service struct {
	distribution.ManifestService
	repository repository
	ctx        context.Context
	options    []distribution.ManifestServiceOption
}

// checker is a blob store that can tell damaged blobs; blob's can.
type checker interface {
	Damaged(desc v1.Descriptor) (bool, error)
}

// Put implements distribution.ManifestService.
func (s service) Put(ctx context.Context, m distribution.Manifest, options ...distribution.ManifestServiceOption) (digest.Digest, error) {
	if c, ok := s.repository.Blobs(s.ctx).(checker); ok {
		if err := check(c, m); err != nil {
			return "", err
		}
	}
	_, data, err := m.Payload()
	if err != nil {
		return "", err
	}
	asked := route.From(ctx)
	if asked.Digest != "" {
		if asked.Digest.Algorithm().FromBytes(data) != asked.Digest {
			return "", errcode.ErrorCodeDigestInvalid.WithDetail(nil)
		}
		options = nil // its tag only stands for the digest
	}
	own := asked.Digest
	if own == "" {
		own = digest.FromBytes(data)
	}
	if err := s.repository.tags(ctx).mayTag(ctx, own, append(asked.Tags, asked.Tag)...); err != nil {
		return "", err
	}
	end, err := s.repository.space.Manifest(ctx, s.repository.Named().Name(), own, data)
	if err != nil {
		return "", err
	}
	d, err := s.put(ctx, m, data, asked, options)
	if failed := end(ctx, err == nil); err == nil {
		err = failed
	}
	return d, err
}

// put stores a manifest that may be stored.
func (s service) put(ctx context.Context, m distribution.Manifest, data []byte, asked route.Request, options []distribution.ManifestServiceOption) (digest.Digest, error) {
	blobs := s.repository.Blobs(s.ctx)
	there, err := s.repository.secure(ctx, m)
	if err != nil {
		return "", err
	}
	all, err := s.repository.Repository.Manifests(blobcache.AlsoBlobs(s.ctx, blobs), s.options...)
	if err != nil {
		return "", err
	}
	if foreign(asked.Digest) {
		d, err := s.putForeign(ctx, all, m, data, asked)
		if err != nil {
			return d, err
		}
		return d, s.repository.still(ctx, asked.Digest, m, there)
	}
	unlock, err := manifestLocks.lock(ctx, s.repository.Named().Name()+"@"+digest.FromBytes(data).String())
	if err != nil {
		return "", err
	}
	defer unlock()
	d, err := all.Put(ctx, m, options...)
	if err != nil {
		return d, mistake(err)
	}
	if err := s.note(ctx, d, data, asked.Tags); err != nil {
		return d, err
	}
	return d, s.repository.still(ctx, d, m, there)
}

// putForeign puts a manifest under another digest than sha256. Upstream checks it, and
// keeps it as sha256: that is taken back, unless it was there before.
func (s service) putForeign(ctx context.Context, all distribution.ManifestService, m distribution.Manifest, data []byte, asked route.Request) (digest.Digest, error) {
	canonical := digest.FromBytes(data)
	unlock, err := manifestLocks.lock(ctx, s.repository.Named().Name()+"@"+canonical.String())
	if err != nil {
		return "", err
	}
	defer unlock()
	had, err := all.Exists(ctx, canonical)
	if err != nil {
		return "", err
	}
	if _, err := all.Put(ctx, m); err != nil {
		return "", mistake(err)
	}
	if err := s.note(ctx, asked.Digest, data, asked.Tags); err != nil || had {
		return canonical, err
	}
	return canonical, s.forgetCanonical(ctx, canonical)
}

// forgetCanonical removes what upstream has written. Where deleting is turned off it
// stays.
func (s service) forgetCanonical(ctx context.Context, canonical digest.Digest) error {
	err := s.ManifestService.Delete(trash.Forget(ctx), canonical)
	if errors.Is(err, distribution.ErrUnsupported) {
		return nil
	}
	return err
}

// foreign tells whether upstream keeps what has such a digest under another one.
func foreign(dgst digest.Digest) bool { return dgst != "" && dgst.Algorithm() != digest.Canonical }

// note keeps what upstream does not of a manifest that was put: its own digest where
// that is not sha256, what it refers to, and its tags.
func (s service) note(ctx context.Context, dgst digest.Digest, data []byte, with []string) error {
	name := s.repository.Named().Name()
	if foreign(dgst) {
		if err := s.repository.links.Write(ctx, name, dgst, data); err != nil {
			return err
		}
	}
	if err := s.repository.referrers.Add(ctx, name, dgst, data); err != nil {
		return err
	}
	for _, tag := range with {
		if err := s.repository.tags(ctx).put(ctx, tag, v1.Descriptor{Digest: dgst}); err != nil {
			return err
		}
	}
	return nil
}

// deletions is how often a manifest is deleted that a collection takes meanwhile.
const deletions = 3

// Delete implements distribution.ManifestService.
func (s service) Delete(ctx context.Context, dgst digest.Digest) error {
	for range deletions {
		if err := s.remove(ctx, dgst); !layout.Missing(err) {
			return err
		}
	}
	return distribution.ErrBlobUnknown // upstream knows no other error for it
}

// remove is Delete once. That a collection takes the link just then is a path that is
// missing, which upstream would answer with 500.
func (s service) remove(ctx context.Context, dgst digest.Digest) error {
	name := s.repository.Named().Name()
	data, err := s.repository.links.Read(ctx, name, dgst)
	if err != nil {
		return err
	}
	if err := s.repository.tags(ctx).mayDelete(ctx, dgst); err != nil {
		return err
	}
	if err := s.repository.uses.Free(ctx, name, dgst); err != nil {
		return err
	}
	if err := s.ManifestService.Delete(ctx, dgst); err != nil || data == nil {
		return err
	}
	return s.repository.referrers.Remove(ctx, name, dgst, data)
}

// mistake is the error of a put, with a code for what upstream finds wrong in a
// manifest but has no code for, such as the URL of a layer: it would answer 500. What
// the storage has failed is told before this, see fault.
func mistake(err error) error {
	found, ok := errors.AsType[distribution.ErrManifestVerification](err)
	if !ok {
		return err
	}
	for _, e := range found {
		switch e.(type) {
		case distribution.ErrManifestBlobUnknown, distribution.ErrManifestNameInvalid, distribution.ErrManifestUnverified:
			continue
		}
		if !errors.Is(e, digest.ErrDigestInvalidFormat) {
			return errcode.ErrorCodeManifestInvalid.WithDetail(e.Error())
		}
	}
	return err
}

// check names the damaged blobs that a manifest refers to. A size that is wrong in
// the manifest is not checked here.
func check(c checker, m distribution.Manifest) error {
	var errs distribution.ErrManifestVerification
	for _, desc := range m.References() {
		if desc.Digest.Validate() != nil {
			continue // upstream says so
		}
		damaged, err := c.Damaged(desc)
		if err != nil {
			return err
		}
		if damaged {
			errs = append(errs, distribution.ErrManifestBlobUnknown{Digest: desc.Digest})
		}
	}
	if len(errs) > 0 {
		return errs
	}
	return nil
}
