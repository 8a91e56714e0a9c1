package registry

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/distribution/distribution/v3/registry/auth"

	"github.com/redoubt-registry/redoubt/appliance/access/acl"
	"github.com/redoubt-registry/redoubt/appliance/access/identity"
	"github.com/redoubt-registry/redoubt/appliance/access/users"
	"github.com/redoubt-registry/redoubt/appliance/registry/forwarded"
	"github.com/redoubt-registry/redoubt/appliance/registry/page"
	"github.com/redoubt-registry/redoubt/appliance/registry/route"
)

const (
	// tokenPath is where tokens are had, behind the base of the API. No repository can
	// be called like this.
	tokenPath = "/_token"
	// tokenLifetime is how long a client may go on without its password. What it may do,
	// and whether the password is still right, is looked up at each request.
	tokenLifetime = 15 * time.Minute
)

// takeTokens turns tokens on where something is allowed without a login: a client that is
// asked for a password at /v2/ and has none gives up, but it goes on with a token.
func (g *generation) takeTokens() {
	if g.rights.policy.Anonymous() {
		g.tokens = users.NewTokens(g.config.HTTP.Secret, tokenLifetime, time.Now)
	}
}

// serveToken gives a token for a password, or for none (docker's "Token Authentication
// Specification").
func (g *generation) serveToken(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	if r.Method != http.MethodGet {
		w.Header().Set("Allow", http.MethodGet)
		page.Errors(w, http.StatusMethodNotAllowed, page.OCIError{Code: "UNSUPPORTED", Message: "cannot do that here: this path takes GET"})
		return
	}
	if !g.table.Ready() {
		page.Unavailable(w, "the registry's table of users cannot be read")
		return
	}
	if r = g.login(w, r); r == nil {
		return
	}
	token, lifetime := users.Anonymous, tokenLifetime
	switch proof, err := users.Proof(r.Context()); {
	case err == nil && proof.By == identity.OIDC: // it is a token itself
		_, token, _ = r.BasicAuth()
		lifetime = min(lifetime, time.Until(proof.Until))
	case err == nil:
		token = g.table.Token(g.tokens, proof.User)
	case !errors.Is(err, auth.ErrInvalidCredential):
		w.Header().Set("WWW-Authenticate", fmt.Sprintf("Basic realm=%q", g.config.Auth.Parameters()["realm"]))
		page.Errors(w, http.StatusUnauthorized, page.OCIError{Code: "UNAUTHORIZED", Message: "wrong user or password"})
		return
	}
	data, err := json.Marshal(map[string]any{
		"token": token, "access_token": token, "expires_in": int(lifetime.Seconds()), "issued_at": time.Now().UTC().Format(time.RFC3339),
	})
	if err != nil {
		page.Unavailable(w, "the token cannot be made")
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(data) // the client has gone
}

// askForToken tells a client where it gets a token (RFC 6750, 3).
func (g *generation) askForToken(w http.ResponseWriter, r *http.Request, q route.Request, action acl.Action, err error) {
	challenge := fmt.Sprintf("Bearer realm=%q,service=%q", g.origin(r)+g.base+tokenPath, r.Host)
	if q.Name != "" {
		actions := string(action)
		if action == acl.Push {
			actions = "pull,push"
		}
		challenge += fmt.Sprintf(",scope=%q", "repository:"+q.Name+":"+actions)
	}
	if errors.Is(err, users.ErrToken) {
		challenge += `,error="invalid_token"`
	}
	w.Header().Set("WWW-Authenticate", challenge)
	page.Errors(w, http.StatusUnauthorized, page.OCIError{Code: "UNAUTHORIZED", Message: needsLogin(q, action, err)})
}

// needsLogin is why a login is asked for. It must not be the usual "authentication
// required": docker's library takes that for an answer without a reason, and docker then
// tries a push again for a minute.
func needsLogin(q route.Request, action acl.Action, err error) string {
	switch {
	case !errors.Is(err, auth.ErrInvalidCredential):
		return "the login is wrong, or has ended"
	case q.Name == "":
		return "nothing but pull goes without a login"
	}
	return fmt.Sprintf("cannot %s here without a login", action)
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
