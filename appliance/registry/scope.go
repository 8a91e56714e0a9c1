package registry

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/distribution/distribution/v3/registry/auth"

	"github.com/redoubt-registry/redoubt/appliance/access/acl"
	"github.com/redoubt-registry/redoubt/appliance/access/token"
	"github.com/redoubt-registry/redoubt/appliance/access/users"
	"github.com/redoubt-registry/redoubt/appliance/registry/forwarded"
	"github.com/redoubt-registry/redoubt/appliance/registry/page"
	"github.com/redoubt-registry/redoubt/appliance/registry/route"
)

// The types of scopes (docker's "Token Scope Documentation").
const (
	repositoryScope = "repository"
	registryScope   = "registry"
	catalogScope    = "catalog"
)

// cut leaves of what a client asks for what its login may do now.
func (a *rights) cut(p users.Proven, asked []token.Grant) []token.Grant {
	var grants []token.Grant
	for _, g := range asked {
		if g.Type == registryScope && g.Name == catalogScope {
			grants = append(grants, token.Grant{Type: g.Type, Name: g.Name, Actions: []string{token.All}})
		}
		if g.Type != repositoryScope {
			continue
		}
		var actions []string
		for _, action := range []acl.Action{acl.Pull, acl.Push, acl.Delete} {
			if asks(g, action) && a.allows(p, action, g.Name) {
				actions = append(actions, string(action))
			}
		}
		if actions != nil {
			grants = append(grants, token.Grant{Type: g.Type, Name: g.Name, Actions: actions})
		}
	}
	return grants
}

func asks(g token.Grant, action acl.Action) bool {
	return slices.Contains(g.Actions, string(action)) || slices.Contains(g.Actions, token.All)
}

// granted says whether a token is for an action. Push includes pull, as in rules.
func granted(grants []token.Grant, kind, name string, action acl.Action) bool {
	return slices.ContainsFunc(grants, func(g token.Grant) bool {
		return g.Allows(kind, name, string(action)) || action == acl.Pull && g.Allows(kind, name, string(acl.Push))
	})
}

// grantedTo says whether a token is for a request.
func grantedTo(grants []token.Grant, q route.Request, action acl.Action) bool {
	if q.Kind == route.Catalog {
		return granted(grants, registryScope, catalogScope, token.All)
	}
	return granted(grants, repositoryScope, q.Name, action)
}

// errScope says that a token is valid, and for something else.
var errScope = errors.New("the token is not for this: ask for one with this scope")

// askForLogin tells a client how to log in: with a token (RFC 6750, 3), and with a password
// where nothing is allowed without a login. Docker obeys all challenges that it gets: it
// gives up for the password that it does not have, although it has a token.
func (g *generation) askForLogin(w http.ResponseWriter, r *http.Request, q route.Request, action acl.Action, err error) {
	if g.keys.ready(r.Context()) {
		w.Header().Add("WWW-Authenticate", g.bearer(r, q, action, err))
	}
	if !g.rights.policy.Anonymous() || w.Header().Get("WWW-Authenticate") == "" {
		w.Header().Add("WWW-Authenticate", g.basic())
	}
	page.Errors(w, http.StatusUnauthorized, page.OCIError{Code: "UNAUTHORIZED", Message: needsLogin(q, action, err)})
}

// bearer is the challenge that asks for a token.
func (g *generation) bearer(r *http.Request, q route.Request, action acl.Action, err error) string {
	challenge := fmt.Sprintf("Bearer realm=%q,service=%q", g.origin(r)+g.base+tokenPath, g.issuer().Audience())
	if scope := scopeOf(q, action); scope != "" {
		challenge += fmt.Sprintf(",scope=%q", scope)
	}
	switch {
	case errors.Is(err, token.ErrInvalid):
		challenge += `,error="invalid_token"`
	case errors.Is(err, errScope):
		challenge += `,error="insufficient_scope"`
	}
	return challenge
}

// scopeOf is what a token must be for.
func scopeOf(q route.Request, action acl.Action) string {
	switch {
	case q.Kind == route.Catalog:
		return registryScope + ":" + catalogScope + ":" + token.All
	case q.Name == "":
		return ""
	case action == acl.Push:
		return repositoryScope + ":" + q.Name + ":pull,push"
	}
	return repositoryScope + ":" + q.Name + ":" + string(action)
}

// needsLogin is why a login is asked for. It must not be the usual "authentication
// required": docker's library takes that for an answer without a reason, and docker then
// tries a push again for a minute.
func needsLogin(q route.Request, action acl.Action, err error) string {
	switch {
	case !errors.Is(err, auth.ErrInvalidCredential):
		return loginProblem(err)
	case q.Name == "":
		return "nothing but pull goes without a login"
	}
	return fmt.Sprintf("cannot %s here without a login", action)
}

// loginProblem is what is wrong with a login, for the client who sent it.
func loginProblem(err error) string {
	switch {
	case errors.Is(err, auth.ErrInvalidCredential):
		return "a login is needed"
	case errors.Is(err, endedError{}):
		return endedError{}.Error()
	case errors.Is(err, users.ErrRefused):
		return users.ErrRefused.Error()
	case errors.Is(err, token.ErrInvalid), errors.Is(err, errScope):
		return err.Error()
	}
	return "the login is wrong, or has ended"
}

// origin is what stands before the path in the URL that the client used.
func (g *generation) origin(r *http.Request) string {
	switch base := forwarded.Base(r); {
	case base != "":
		return base
	case r.TLS != nil:
		return "https://" + r.Host
	case len(g.proxies) > 0 && g.config.HTTP.Host != "": // the proxy does not say
		return strings.TrimSuffix(g.config.HTTP.Host, "/")
	}
	return "http://" + r.Host
}
