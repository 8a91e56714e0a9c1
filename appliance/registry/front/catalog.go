package front

import (
	"cmp"
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"

	"github.com/redoubt-registry/redoubt/appliance/registry/page"
	"github.com/redoubt-registry/redoubt/appliance/registry/route"
)

const (
	usualPage = 100     // repositories, where a client does not say how many
	mostPage  = 1000    // that are asked of the application at a time
	mostBody  = 4 << 20 // of the application's answer
)

// catalog answers with the repositories that the client may pull from: it asks the
// application for pages until it has as many as its own page takes, and knows whether
// there are more.
func (f Front) catalog(a *answer, r *http.Request, q route.Request) {
	visible, names := f.visible(r), []string{}
	most := cmp.Or(f.Catalog, mostPage)
	n := usualPage
	if q.Page.N != route.All {
		n = q.Page.N
	}
	n = min(n, most)
	for last, more := q.Page.Last, true; more; {
		var found []string
		var ok bool
		if found, more, ok = f.repositories(a, r, min(most, mostPage), last); !ok {
			return
		}
		for _, name := range found {
			last = name
			if !visible(name) {
				continue
			}
			if len(names) == n {
				next := url.URL{Path: r.URL.Path, RawQuery: url.Values{"last": {names[n-1]}, "n": {strconv.Itoa(n)}}.Encode()}
				a.Header().Set("Link", "<"+next.String()+`>; rel="next"`)
				found, more = nil, false
				break
			}
			names = append(names, name)
		}
		more = more && len(found) > 0
	}
	data, err := json.Marshal(map[string][]string{"repositories": names})
	if err != nil {
		page.Unavailable(a, "the repositories cannot be listed")
		return
	}
	a.Header().Set("Content-Type", "application/json")
	_, _ = a.Write(append(data, '\n')) // the client has gone
}

// repositories is one page of the application's list, and whether there are more. ok is
// false where its error has been answered.
func (f Front) repositories(a *answer, r *http.Request, n int, last string) (found []string, more, ok bool) {
	k := &kept{header: http.Header{}, most: mostBody}
	f.App.ServeHTTP(k, ask(r, http.MethodGet, r.URL.Path, url.Values{"n": {strconv.Itoa(n)}, "last": {last}}))
	if k.status != http.StatusOK {
		k.pass(a)
		return nil, false, false
	}
	var list struct {
		Repositories []string `json:"repositories"`
	}
	if err := json.Unmarshal(k.body.Bytes(), &list); err != nil {
		page.Unavailable(a, "the repositories cannot be listed")
		return nil, false, false
	}
	return list.Repositories, k.header.Get("Link") != "", true
}
