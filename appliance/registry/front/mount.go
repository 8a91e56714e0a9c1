package front

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/url"

	"github.com/opencontainers/go-digest"

	"github.com/redoubt-registry/redoubt/appliance/registry/page"
	"github.com/redoubt-registry/redoubt/appliance/registry/referrers"
	"github.com/redoubt-registry/redoubt/appliance/registry/route"
	"github.com/redoubt-registry/redoubt/appliance/storage/mount"
)

// mount puts a manifest of another repository with all that it needs. The application gets
// what a client would send it: the parts by their digests, and the manifest itself last.
func (f Front) mount(a *answer, r *http.Request, q route.Request) {
	switch {
	case f.Mount == nil:
		a.refusal = route.NoMount
		f.App.ServeHTTP(a, f.login(r))
		return
	case r.ContentLength != 0:
		a.refusal = route.MountHasBody
		return
	case !f.mayPull(r, q.From):
		page.Refused(a, http.StatusForbidden, "cannot take a manifest from "+q.From+": that needs the right to pull there too, and of a token the scope repository:"+q.From+":pull")
		return
	}
	list, err := f.Mount(r.Context(), q)
	if err != nil {
		if a.refusal = unmountable(err); a.refusal == nil {
			page.Unavailable(a, reason(err))
		}
		return
	}
	for _, m := range list[:len(list)-1] {
		k := &kept{header: http.Header{}}
		part := route.Request{Kind: route.Manifest, Name: q.Name, Digest: m.Digest}
		if m.Tag != "" {
			part.Tags = []string{m.Tag}
		}
		f.App.ServeHTTP(k, f.with(r, part, m))
		if k.status != http.StatusCreated {
			k.pass(a)
			return
		}
	}
	if q.Digest == "" && q.Mount.Algorithm() != digest.Canonical { // else it gets that of sha256
		q.Digest, q.Tags, q.Tag = q.Mount, []string{q.Tag}, ""
	}
	f.put(a, f.with(r, q, list[len(list)-1]), q)
}

// with is a request by the client of r that puts a manifest.
func (f Front) with(r *http.Request, q route.Request, m mount.Manifest) *http.Request {
	out := ask(r, http.MethodPut, f.Base+"/"+q.Stand(), url.Values{})
	out.Header.Set("Content-Type", m.Type)
	out.Body, out.ContentLength = io.NopCloser(bytes.NewReader(m.Data)), int64(len(m.Data))
	return out.WithContext(route.With(out.Context(), q))
}

// reason is why a manifest cannot be mounted now.
func reason(err error) string {
	if errors.Is(err, referrers.ErrMaking) {
		return err.Error()
	}
	return "the registry's storage has failed"
}

// unmountable is the refusal for an error of Mount; nil: the storage has failed.
func unmountable(err error) *route.Refusal {
	missing, ok := errors.AsType[*mount.Missing](err)
	switch {
	case errors.Is(err, mount.ErrLarge):
		return route.MountTooLarge
	case ok && missing.Blob:
		return route.MountNotWhole
	case ok:
		return route.NoSuchMount
	}
	return nil
}
