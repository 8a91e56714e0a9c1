package route

import (
	"net/url"
	"regexp"
	"strconv"

	"github.com/opencontainers/go-digest"
)

// Page is the part of a list that is asked for.
type Page struct {
	N    int    // how many at most; All where the client does not say
	Last string // what the part begins behind; empty: at the beginning
}

// All asks for as many entries as the registry gives by itself.
const All = -1

var number = regexp.MustCompile(`^[0-9]+$`)

// parsePage reads the cursors of a list: n, a number, and last, a tag or a name.
func (q *Request) parsePage(query url.Values) *Refusal {
	q.Page = Page{N: All, Last: query.Get("last")}
	if text := query.Get("n"); text != "" {
		if !number.MatchString(text) {
			return badNumber
		}
		n, err := strconv.ParseInt(text, 10, 32)
		if err != nil {
			n = 1<<31 - 1 // more than any list has
		}
		q.Page.N = int(n)
	}
	switch {
	case q.Page.Last == "":
	case q.Kind == Tags && !validTag(q.Page.Last):
		return badLastTag
	case q.Kind == Catalog && !validName(q.Page.Last):
		return badLastName
	case q.Kind == Referrers && digest.Digest(q.Page.Last).Validate() != nil:
		return badLastDigest
	}
	return nil
}

// Query is the query of a list's page, with at most most entries where most is
// more than zero.
func (p Page) Query(most int) string {
	v := url.Values{}
	if p.N != All {
		n := p.N
		if most > 0 {
			n = min(n, most)
		}
		v.Set("n", strconv.Itoa(n))
	}
	if p.Last != "" {
		v.Set("last", p.Last)
	}
	return v.Encode()
}
