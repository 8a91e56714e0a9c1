package registry

import (
	"errors"
	"net/http"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/redoubt-registry/redoubt/appliance/access/limit"
	"github.com/redoubt-registry/redoubt/appliance/access/token"
	"github.com/redoubt-registry/redoubt/appliance/access/users"
	"github.com/redoubt-registry/redoubt/appliance/registry/page"
)

// refusalPause is held back from a client that is refused: one that tries on as
// fast as it can has all its streams waiting, and the processor is for others.
const refusalPause = time.Second

// login finds out who a request is from. It returns nil where it has answered
// itself: upstream could only say 401 to a client who may not try a password now, or whose
// issuer does not answer.
// A wrong one is upstream's to refuse.
func (g *generation) login(w http.ResponseWriter, r *http.Request) *http.Request {
	if g.table == nil {
		return r
	}
	given := r
	r, err := g.table.Login(given, g.issuer(), g.sources()...)
	if errors.Is(err, token.ErrUnknownKey) { // of another machine, perhaps, which made it just now
		g.keys.refresh(given.Context(), keysPause)
		r, err = g.table.Login(given, g.issuer(), g.sources()...)
	}
	if errors.Is(err, users.ErrAway) {
		page.Unavailable(w, err.Error())
		return nil
	}
	if errors.Is(err, users.ErrRefused) || errors.Is(err, token.ErrForged) {
		g.log.WithFields(logrus.Fields{"remote": r.RemoteAddr, "uri": r.URL.Path}).Warn("a login is refused: " + loginProblem(err))
	}
	var limited *limit.Refused
	if errors.As(err, &limited) {
		select {
		case <-time.After(refusalPause):
		case <-r.Context().Done():
		}
		page.TooMany(w, limited.RetryAfter, limited.Error())
		return nil
	}
	return r
}
