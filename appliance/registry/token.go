package registry

import (
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"strings"
	"time"

	"github.com/distribution/distribution/v3/registry/auth"

	"github.com/redoubt-registry/redoubt/appliance/access/token"
	"github.com/redoubt-registry/redoubt/appliance/access/users"
	"github.com/redoubt-registry/redoubt/appliance/registry/page"
)

const (
	// tokenPath is where tokens are had, behind the base of the API. No repository can
	// be called like this.
	tokenPath = "/_token"
	// tokenLifetime is how long a client may go on without its password. What it may do,
	// and whether the password is still right, is looked up at each request.
	tokenLifetime = 15 * time.Minute
	// refreshLifetime is how long a client may ask for tokens without its password.
	refreshLifetime = 8 * time.Hour
	maxForm         = 64 << 10 // bytes of a request for a token
)

// issuer makes and checks tokens; nil where there are none.
func (g *generation) issuer() *token.Issuer {
	if g.keys == nil {
		return nil
	}
	return g.keys.issuer
}

// request is what a client asks of the token endpoint.
type tokenRequest struct {
	scopes  []token.Grant
	refresh string // a refresh token, in the place of a password
	offline bool   // a refresh token is asked for
}

// badRequest is an error of RFC 6749, 5.2.
type badRequest struct{ code, why string }

func (e *badRequest) Error() string { return e.why }

// serveToken gives a token for a password, a refresh token, or nothing: docker's "Token
// Authentication Specification" by GET, and its OAuth2 form by POST.
func (g *generation) serveToken(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Pragma", "no-cache") // RFC 6749, 5.1
	if !g.table.Ready() {
		page.Unavailable(w, "the registry's table of users cannot be read")
		return
	}
	if !g.keys.ready(r.Context()) {
		page.Unavailable(w, "the registry has no key for tokens yet: log in with a password at each request")
		return
	}
	asked, r, err := readTokenRequest(w, r)
	if bad, ok := errors.AsType[*badRequest](err); ok {
		refuseToken(w, http.StatusBadRequest, bad.code, "UNSUPPORTED", bad.why)
		return
	}
	if err != nil {
		w.Header().Set("Allow", "GET, POST")
		refuseToken(w, http.StatusMethodNotAllowed, "invalid_request", "UNSUPPORTED", err.Error())
		return
	}
	p, r := g.whoAsks(w, r, asked)
	if r == nil {
		return
	}
	g.giveToken(w, p, asked)
}

var errMethod = errors.New("cannot do that here: this path takes GET and POST")

// readTokenRequest reads what is asked for. The request that it returns has the password
// of a form where a request otherwise has it.
func readTokenRequest(w http.ResponseWriter, r *http.Request) (asked tokenRequest, _ *http.Request, err error) {
	var scopes []string
	switch r.Method {
	case http.MethodGet:
		query := r.URL.Query()
		scopes = query["scope"]
		r = withoutBearer(r)
	case http.MethodPost:
		if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/x-www-form-urlencoded" {
			return asked, r, &badRequest{"invalid_request", "cannot read the request: it must be a form (application/x-www-form-urlencoded)"}
		}
		r.Body = http.MaxBytesReader(w, r.Body, maxForm)
		if err := r.ParseForm(); err != nil {
			return asked, r, &badRequest{"invalid_request", "cannot read the request: it is no form, or too long"}
		}
		form := r.PostForm
		scopes, asked.offline = form["scope"], form.Get("access_type") == "offline"
		r = withoutBearer(r)
		switch form.Get("grant_type") {
		case "password":
			r.Header.Del("Authorization")
			if form.Get("username") != "" || form.Get("password") != "" {
				r.SetBasicAuth(form.Get("username"), form.Get("password"))
			}
		case "refresh_token":
			asked.refresh = form.Get("refresh_token")
			if asked.refresh == "" {
				return asked, r, &badRequest{"invalid_request", "cannot give a token: refresh_token is missing"}
			}
		default:
			return asked, r, &badRequest{"unsupported_grant_type", "cannot give a token: grant_type must be password or refresh_token"}
		}
	default:
		return asked, r, errMethod
	}
	if asked.scopes, err = token.ParseScopes(scopes); err != nil {
		return asked, r, &badRequest{"invalid_scope", err.Error()}
	}
	return asked, r, nil
}

// withoutBearer is a request for a token, which no token is shown for.
func withoutBearer(r *http.Request) *http.Request {
	r = r.Clone(r.Context())
	if scheme, _, _ := strings.Cut(r.Header.Get("Authorization"), " "); strings.EqualFold(scheme, "Bearer") {
		r.Header.Del("Authorization")
	}
	return r
}

// whoAsks says who a token is for. It returns no request where it has answered.
func (g *generation) whoAsks(w http.ResponseWriter, r *http.Request, asked tokenRequest) (users.Proven, *http.Request) {
	if asked.refresh != "" {
		c, err := g.issuer().Verify(asked.refresh, token.Login)
		if err != nil {
			g.keys.refresh(r.Context(), keysPause)
			c, err = g.issuer().Verify(asked.refresh, token.Login)
		}
		if err != nil {
			refuseToken(w, http.StatusBadRequest, "invalid_grant", "UNAUTHORIZED", "the refresh token is not valid, or not any more: log in again")
			return users.Proven{}, nil
		}
		r.SetBasicAuth(users.LoginName(c), asked.refresh)
	}
	if r = g.login(w, r); r == nil {
		return users.Proven{}, nil
	}
	p, err := g.rights.who(r)
	switch {
	case err == nil:
	case asked.refresh != "":
		refuseToken(w, http.StatusBadRequest, "invalid_grant", "UNAUTHORIZED", "the refresh token is not valid any more: log in again")
		return p, nil
	case errors.Is(err, auth.ErrInvalidCredential) && g.rights.policy.Anonymous():
	default:
		w.Header().Set("WWW-Authenticate", g.basic())
		refuseToken(w, http.StatusUnauthorized, "invalid_client", "UNAUTHORIZED", loginProblem(err))
		return p, nil
	}
	return p, r
}

// basic is the challenge that asks for a password with the request (RFC 7617).
func (g *generation) basic() string {
	return fmt.Sprintf("Basic realm=%q", g.config.Auth.Parameters()["realm"])
}

// tokenAnswer is what a client gets. Docker reads token or access_token.
type tokenAnswer struct {
	Token   string `json:"token"`
	Access  string `json:"access_token"`
	Type    string `json:"token_type"`
	Expires int    `json:"expires_in"` // seconds
	Issued  string `json:"issued_at"`
	Scope   string `json:"scope,omitempty"`
	Refresh string `json:"refresh_token,omitempty"`
}

// giveToken answers with a token for what is asked for and allowed now.
func (g *generation) giveToken(w http.ResponseWriter, p users.Proven, asked tokenRequest) {
	grants := g.rights.cut(p, asked.scopes)
	text, until, err := g.issuer().Mint(p.Claims(token.Access, grants), tokenLifetime)
	now := time.Now()
	a := tokenAnswer{Token: text, Access: text, Type: "Bearer", Expires: int(until.Sub(now).Round(time.Second).Seconds()), Issued: now.UTC().Format(time.RFC3339)}
	if asked.offline && asked.refresh == "" && p.Stamp != "" && err == nil {
		a.Refresh, _, err = g.issuer().Mint(p.Claims(token.Login, nil), refreshLifetime)
	}
	var scopes []string
	for _, g := range grants {
		scopes = append(scopes, g.String())
	}
	a.Scope = strings.Join(scopes, " ")
	data, encodeErr := json.Marshal(a)
	if err != nil || encodeErr != nil {
		page.Unavailable(w, "the token cannot be made")
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(data) // the client has gone
}

// refuseToken answers with an error as RFC 6749, 5.2, has it, and as registries have it.
func refuseToken(w http.ResponseWriter, status int, oauth, code, message string) {
	data, err := json.Marshal(map[string]any{
		"error": oauth, "error_description": message, "errors": []page.OCIError{{Code: code, Message: message}},
	})
	if err != nil {
		page.Unavailable(w, message)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(data) // the client has gone
}
