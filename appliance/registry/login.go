package registry

import (
	"errors"
	"net/http"

	"github.com/redoubt-registry/redoubt/appliance/access/limit"
	"github.com/redoubt-registry/redoubt/appliance/registry/page"
)

// login finds out who a request is from. It returns nil where it has answered
// itself: upstream could only say 401 to a client who may not try a password now.
// A wrong one is upstream's to refuse.
func (g *generation) login(w http.ResponseWriter, r *http.Request) *http.Request {
	if g.table == nil {
		return r
	}
	r, err := g.table.Login(r)
	var limited *limit.Refused
	if errors.As(err, &limited) {
		page.TooMany(w, limited.RetryAfter, limited.Error())
		return nil
	}
	return r
}
