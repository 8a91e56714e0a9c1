// Package front stands before distribution's application: it refuses what cannot
// be done whoever asks, brings requests into the form that the application takes
// without an error of its own, and answers every error in the specification's
// form, without what only concerns the machine.
package front

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/redoubt-registry/redoubt/appliance/registry/route"
	"github.com/redoubt-registry/redoubt/appliance/storage/mount"
)

// Front is the handler of the paths of an API.
type Front struct {
	App     http.Handler // distribution's application
	Base    string       // of the paths, such as /v2
	Catalog int          // entries of a page of the catalogue at most
	Tags    int          // entries of a page of tags at most
	Seen    *Seen        // where blobs are; nil: it is not remembered
	// Referrers answers a request for referrers, after it has asked for a login. It is
	// nil where there are none.
	Referrers func(w http.ResponseWriter, r *http.Request, q route.Request)
	// Mount finds the manifests that an image of another repository consists of, and links
	// the repository to their blobs. It is nil where manifests are not put by reference.
	Mount func(ctx context.Context, q route.Request) ([]mount.Manifest, error)
	// Pulled is told of each manifest that a client got, or heard of, with its digest. It is
	// nil where nobody wants to know.
	Pulled func(q route.Request, digest string)
	// Manifest answers a request for a manifest, or returns false and has done nothing.
	// It is nil where the application sees them all.
	Manifest func(w http.ResponseWriter, r *http.Request, q route.Request) bool
	// Known tells whether there is a repository. It is nil where that is not known.
	Known func(ctx context.Context, repository string) bool
	// Chunk is the least size in bytes of the chunks that clients are to send; 0: any.
	Chunk int64
	// MayPull says which repositories the client of a request may pull from. It is nil
	// where every client may from all, and gives nil where this one may.
	MayPull func(r *http.Request) func(repository string) bool
}

// visible says which repositories the client of a request may pull from; nil is all.
func (f Front) visible(r *http.Request) func(repository string) bool {
	if f.MayPull == nil {
		return nil
	}
	return f.MayPull(r)
}

func (f Front) mayPull(r *http.Request, repository string) bool {
	visible := f.visible(r)
	return visible == nil || visible(repository)
}

// Read reads a request, and gives the one that stands for it: its path is in the
// canonical form, and its page within bounds. A refusal is only told to who is
// logged in: use Serve.
func (f Front) Read(r *http.Request) (*http.Request, route.Request, *route.Refusal) {
	rest := strings.TrimPrefix(strings.TrimPrefix(r.URL.Path, f.Base), "/")
	query := r.URL.Query()
	q, refusal := route.Parse(r.Method, rest, query, r.Header)
	if q.Kind == route.Referrers && f.Referrers == nil {
		refusal = route.Unknown
	}
	if refusal != nil {
		return r, q, refusal
	}
	target := *r.URL
	target.Path, target.RawPath = f.Base+"/"+q.Path(), ""
	switch q.Kind {
	case route.Catalog:
		target.RawQuery = q.Page.Query(f.Catalog)
	case route.Tags:
		target.RawQuery = q.Page.Query(f.Tags)
	}
	out := *r
	out.URL = &target
	// Nothing is sent as a form. Upstream would read the body of a request that says
	// so for one, even before it asks for a login.
	out.Form, out.PostForm = query, url.Values{}
	switch {
	case r.Method == http.MethodPatch: // what it is called says nothing
		out.Header = r.Header.Clone()
		out.Header.Set("Content-Type", "application/octet-stream")
	case q.Kind == route.Blob && r.Header.Get("Range") != "":
		out.Header = r.Header.Clone()
		limitRanges(out.Header)
	}
	return &out, q, nil
}

// Serve answers what Read gave. A refusal is told when the application has found the
// login right; else its own answer is.
func (f Front) Serve(w http.ResponseWriter, r *http.Request, q route.Request, refusal *route.Refusal) {
	a := &answer{ResponseWriter: w, refusal: refusal}
	r = r.WithContext(route.With(r.Context(), q))
	if f.Known != nil && r.Method != http.MethodHead && (q.Kind == route.Manifest || q.Kind == route.Blob) {
		a.unknown = func() bool { return !f.Known(r.Context(), q.Name) }
	}
	if q.Kind == route.Upload && (r.Method == http.MethodPatch || r.Method == http.MethodPut) {
		a.stands = func(h http.Header) { f.stands(h, r) }
	}
	switch {
	case refusal != nil:
		f.App.ServeHTTP(a, f.login(r))
	case q.Kind == route.Referrers && r.Method != http.MethodOptions:
		f.Referrers(a, r, q)
	case q.Kind == route.Manifest && r.Method == http.MethodPut && q.Mount != "":
		f.mount(a, r, q)
	case q.Kind == route.Manifest && r.Method == http.MethodPut:
		f.put(a, r, q)
	case q.Kind == route.Manifest && (r.Method == http.MethodGet || r.Method == http.MethodHead):
		f.get(a, r, q)
	case q.Kind == route.Upload && r.Method == http.MethodPost:
		r, q = f.withoutMount(r, q)
		f.begin(a, r, q)
	case q.Kind == route.Catalog && r.Method == http.MethodGet && q.Page.N != 0 && f.visible(r) != nil:
		f.catalog(a, r, q)
	default:
		f.App.ServeHTTP(a, r)
	}
	a.finish()
	f.note(q, a.status)
	if f.Pulled != nil && q.Kind == route.Manifest && a.status == http.StatusOK && (r.Method == http.MethodGet || r.Method == http.MethodHead) {
		f.Pulled(q, a.Header().Get("Docker-Content-Digest"))
	}
}

// put puts a manifest.
func (f Front) put(a *answer, r *http.Request, q route.Request) {
	out := *r
	target := *r.URL
	target.Path = f.Base + "/" + q.Stand()
	body := &manifest{ReadCloser: r.Body, length: r.ContentLength, refuse: func(why *route.Refusal) { a.refusal = why }}
	out.Body, out.URL = body, &target
	a.created = func(h http.Header) {
		if q.Digest != "" {
			location := h.Get("Location")
			h.Set("Location", location[:strings.LastIndexByte(location, '/')+1]+q.Digest.String())
			h.Set("Docker-Content-Digest", q.Digest.String())
		}
		h.Set("ETag", strconv.Quote(h.Get("Docker-Content-Digest")))
		if body.subject != "" && f.Referrers != nil {
			h.Set("OCI-Subject", body.subject.String())
		}
		for _, tag := range q.Tags {
			h.Add("OCI-Tag", tag)
		}
	}
	f.App.ServeHTTP(a, &out)
}

// login is a request that asks for nothing but whether the login of r is right.
func (f Front) login(r *http.Request) *http.Request {
	out := *r
	out.Method, out.URL = http.MethodGet, &url.URL{Path: f.Base + "/"}
	out.Body, out.ContentLength, out.TransferEncoding = http.NoBody, 0, nil
	out.Form, out.PostForm = url.Values{}, url.Values{}
	return &out
}
