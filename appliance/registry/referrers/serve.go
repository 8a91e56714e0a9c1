package referrers

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strconv"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/redoubt-registry/redoubt/appliance/registry/page"
	"github.com/redoubt-registry/redoubt/appliance/registry/route"
)

// maxPage is the most referrers of one answer.
const maxPage = 1000

// Serve answers a request for referrers by a client that may pull from the repository.
// The next page is named in Link (RFC 8288). A failure of the storage is answered with
// 503, and so is a list that is not complete yet: one that lacks signatures would be
// believed.
func (i *Index) Serve(w http.ResponseWriter, r *http.Request, q route.Request) {
	most := maxPage
	if q.Page.N > 0 {
		most = min(q.Page.N, maxPage)
	}
	list, more, err := i.List(r.Context(), q.Name, q.Digest, q.Type, digest.Digest(q.Page.Last), most)
	switch {
	case errors.Is(err, ErrMaking):
		page.Unavailable(w, ErrMaking.Error())
		return
	case err != nil:
		i.log("cannot list the referrers of "+q.Name, err)
		page.Unavailable(w, "the registry's storage has failed")
		return
	case list == nil:
		list = []v1.Descriptor{}
	}
	index := v1.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageIndex, Manifests: list}
	data, err := json.Marshal(index)
	if err != nil {
		i.log("cannot write the referrers of "+q.Name, err)
		page.Unavailable(w, "the referrers cannot be listed")
		return
	}
	h := w.Header()
	h.Set("Content-Type", v1.MediaTypeImageIndex)
	h.Set("Content-Length", strconv.Itoa(len(data)))
	if q.Type != "" {
		h.Set("OCI-Filters-Applied", "artifactType")
	}
	if more {
		h.Set("Link", "<"+next(r.URL, q, most, list[len(list)-1].Digest)+`>; rel="next"`)
	}
	w.WriteHeader(http.StatusOK)
	if r.Method != http.MethodHead {
		_, _ = w.Write(data) // the client has gone
	}
}

// next is the address of the page behind last.
func next(u *url.URL, q route.Request, most int, last digest.Digest) string {
	v := url.Values{"last": {last.String()}, "n": {strconv.Itoa(most)}}
	if q.Type != "" {
		v.Set("artifactType", q.Type)
	}
	return (&url.URL{Path: u.Path, RawQuery: v.Encode()}).String()
}
