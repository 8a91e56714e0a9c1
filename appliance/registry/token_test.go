package registry

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/random"

	"github.com/redoubt-registry/redoubt/appliance/access/token"
	"github.com/redoubt-registry/redoubt/appliance/storage/sharedstate"
)

// tokens asks a machine for tokens, and shows them.
type tokens struct {
	*machine
	transport http.RoundTripper
}

func tokensOf(t *testing.T, m *machine) tokens {
	transport := m.transport()
	t.Cleanup(transport.CloseIdleConnections)
	return tokens{m, transport}
}

// get asks by GET, with a user's password or with none.
func (m tokens) get(t *testing.T, user string, scopes ...string) answer {
	t.Helper()
	query := url.Values{"service": {"x"}, "scope": scopes}
	return m.by(t, m.transport, user, http.MethodGet, "/v2/_token?"+query.Encode(), "")
}

// post asks by a form.
func (m tokens) post(t *testing.T, pairs ...string) answer {
	t.Helper()
	form := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		form.Add(pairs[i], pairs[i+1])
	}
	a, err := send(m.transport, http.MethodPost, "https://"+m.host()+"/v2/_token", strings.NewReader(form.Encode()),
		"Content-Type", "application/x-www-form-urlencoded")
	check(t, err)
	return a
}

// read reads a token out of an answer.
func (m tokens) read(t *testing.T, a answer) (body tokenAnswer) {
	t.Helper()
	if err := json.Unmarshal([]byte(a.body), &body); err != nil || a.StatusCode != http.StatusOK {
		t.Fatalf("%s %s", a.Status, a.body)
	}
	if body.Token == "" || body.Access != body.Token || body.Expires < 60 || a.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("%+v %v", body, a.Header)
	}
	return body
}

// show sends a request with a token.
func (m tokens) show(t *testing.T, token, method, path string) answer {
	t.Helper()
	a, err := send(m.transport, method, "https://"+m.host()+path, nil, "Authorization", "Bearer "+token)
	check(t, err)
	return a
}

const tagsOfApp = "/v2/team/app/tags/list"

func challenged(a answer, words ...string) bool {
	challenge := a.Header.Get("WWW-Authenticate")
	for _, w := range words {
		if !strings.Contains(challenge, w) {
			return false
		}
	}
	return a.StatusCode == http.StatusUnauthorized && strings.HasPrefix(challenge, "Bearer realm=") && code(a) == "UNAUTHORIZED"
}

// A token is for what was asked for and is allowed, and for nothing else.
func TestTokenScope(t *testing.T) {
	t.Parallel()
	home, _ := house(t, houseRules, "team/app", "release/v1", "secret")
	m := tokensOf(t, home)
	for _, c := range []struct{ user, asked, given string }{
		{"bob", "repository:team/app:pull", "repository:team/app:pull"},
		{"bob", "repository:team/app:pull,push", "repository:team/app:pull,push"},
		{"bob", "repository:team/app:pull,push,delete", "repository:team/app:pull,push"},
		{"bob", "repository:team/app:*", "repository:team/app:pull,push"},
		{"carol", "repository:team/app:*", "repository:team/app:pull,push,delete"},
		{"bob", "repository:secret:pull", ""},
		{"bob", "repository:secret:pull repository:team/app:pull", "repository:team/app:pull"},
		{"bob", "registry:catalog:*", "registry:catalog:*"},
		{"bob", "other:x:pull", ""},
		{"bob", "repository:team/app:fly", ""},
		{"", "repository:public/x:pull,push", "repository:public/x:pull"},
		{"", "repository:team/app:pull", ""},
	} {
		if got := m.read(t, m.get(t, c.user, c.asked)); got.Scope != c.given {
			t.Errorf("%q asks for %s and gets %q", c.user, c.asked, got.Scope)
		}
	}
	pull := m.read(t, m.get(t, "bob", "repository:team/app:pull")).Token
	for _, c := range []struct {
		method, path string
		status       int
		words        []string
	}{
		{http.MethodGet, "/v2/", http.StatusOK, nil},
		{http.MethodGet, tagsOfApp, http.StatusOK, nil},
		{http.MethodPost, "/v2/team/app/blobs/uploads/", 401, []string{`error="insufficient_scope"`, `scope="repository:team/app:pull,push"`}},
		{http.MethodGet, "/v2/team/other/tags/list", 401, []string{`error="insufficient_scope"`, `scope="repository:team/other:pull"`}},
		{http.MethodGet, "/v2/_catalog", 401, []string{`error="insufficient_scope"`, `scope="registry:catalog:*"`}},
		{http.MethodDelete, "/v2/team/app/manifests/latest", http.StatusForbidden, nil},
		{http.MethodGet, "/v2/secret/tags/list", http.StatusForbidden, nil},
	} {
		a := m.show(t, pull, c.method, c.path)
		if a.StatusCode != c.status || c.words != nil && !challenged(a, c.words...) {
			t.Errorf("%s %s: %s %v %s", c.method, c.path, a.Status, a.Header, a.body)
		}
	}
	catalog := m.read(t, m.get(t, "bob", "registry:catalog:*")).Token
	if a := m.show(t, catalog, http.MethodGet, "/v2/_catalog"); a.StatusCode != http.StatusOK || strings.Contains(a.body, "secret") || !strings.Contains(a.body, "team/app") {
		t.Errorf("the catalogue: %s %s", a.Status, a.body)
	}
	// The rules of the moment count as well.
	push := m.read(t, m.get(t, "bob", "repository:team/app:pull,push")).Token
	m.authMore = strings.Replace(houseRules, "{groups: [dev]", "{groups: [nobody]", 1)
	m.config(t, "warn")
	m.reload(t)
	if a := m.show(t, push, http.MethodPost, "/v2/team/app/blobs/uploads/"); a.StatusCode != http.StatusForbidden {
		t.Errorf("a token of the rules before: %s %s", a.Status, a.body)
	}
}

// Each way to ask, and each mistake.
func TestTokenEndpoint(t *testing.T) {
	t.Parallel()
	home, _ := house(t, houseRules, "team/app")
	m := tokensOf(t, home)
	const scope = "repository:team/app:pull"
	asked := m.read(t, m.post(t, "grant_type", "password", "username", "bob", "password", password, "scope", scope, "client_id", "x", "service", "x", "access_type", "offline"))
	if a := m.show(t, asked.Token, http.MethodGet, tagsOfApp); a.StatusCode != http.StatusOK {
		t.Errorf("by a form: %s %s", a.Status, a.body)
	}
	again := m.read(t, m.post(t, "grant_type", "refresh_token", "refresh_token", asked.Refresh, "scope", scope))
	if a := m.show(t, again.Token, http.MethodGet, tagsOfApp); a.StatusCode != http.StatusOK || again.Refresh != "" {
		t.Errorf("by a refresh token: %s %s", a.Status, a.body)
	}
	if got := m.read(t, m.get(t, "bob", scope)); got.Refresh != "" {
		t.Error("docker would keep the refresh token in the place of the password")
	}
	for name, c := range map[string]struct {
		a      answer
		status int
		error  string
	}{
		"a wrong password":           {m.post(t, "grant_type", "password", "username", "bob", "password", "wrong"), 401, "invalid_client"},
		"a token to ask for tokens":  {m.post(t, "grant_type", "refresh_token", "refresh_token", asked.Token), 400, "invalid_grant"},
		"no refresh token":           {m.post(t, "grant_type", "refresh_token"), 400, "invalid_request"},
		"another grant":              {m.post(t, "grant_type", "client_credentials"), 400, "unsupported_grant_type"},
		"a scope that is none":       {m.post(t, "grant_type", "password", "username", "bob", "password", password, "scope", "everything"), 400, "invalid_scope"},
		"a very long form":           {m.post(t, "grant_type", "password", "password", strings.Repeat("x", maxForm+1)), 400, "invalid_request"},
		"a body that is no form":     {m.by(t, m.transport, "bob", http.MethodPost, "/v2/_token", "{}"), 400, "invalid_request"},
		"another method":             {m.by(t, m.transport, "bob", http.MethodPut, "/v2/_token", ""), 405, "invalid_request"},
		"a password that is a token": {m.get(t, "bob", "everything"), 400, "invalid_scope"},
	} {
		var body struct{ Error string }
		if err := json.Unmarshal([]byte(c.a.body), &body); err != nil || c.a.StatusCode != c.status || body.Error != c.error || !strings.Contains(c.a.body, `"errors":[{`) {
			t.Errorf("%s: %s %s", name, c.a.Status, c.a.body)
		}
	}
	a, err := send(m.transport, http.MethodGet, "https://"+m.host()+tagsOfApp, nil, "Authorization", "Basic "+basic("bob", asked.Refresh))
	check(t, err)
	if a.StatusCode != http.StatusOK {
		t.Errorf("a refresh token as the password: %s %s", a.Status, a.body)
	}
	for name, credentials := range map[string]string{
		"an access token as the password":    "Basic " + basic("bob", asked.Token),
		"another's refresh token":            "Basic " + basic("carol", asked.Refresh),
		"a refresh token as an access token": "Bearer " + asked.Refresh,
	} {
		a, err := send(m.transport, http.MethodGet, "https://"+m.host()+tagsOfApp, nil, "Authorization", credentials)
		check(t, err)
		if a.StatusCode != http.StatusUnauthorized {
			t.Errorf("%s: %s", name, a.Status)
		}
	}
}

// What is no token of this machine, or of a login that is no more, is refused.
func TestTokenRefused(t *testing.T) {
	t.Parallel()
	home, _ := house(t, houseRules, "team/app")
	m := tokensOf(t, home)
	const scope = "repository:team/app:pull"
	elsewhere, _ := house(t, houseRules)
	theirs := tokensOf(t, elsewhere)
	bob := m.read(t, m.get(t, "bob", scope)).Token
	if a := m.show(t, m.read(t, m.get(t, "", scope)).Token, http.MethodGet, tagsOfApp); !challenged(a, `scope="`+scope+`"`) {
		t.Errorf("the token of nobody: %s %v", a.Status, a.Header)
	}
	parts := strings.Split(bob, ".")
	none := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none"}`))
	for name, forged := range map[string]string{
		"nothing": "", "text": "x", "more of it": bob + "xxxx", "less of it": bob[:len(bob)-4],
		"no signature": none + "." + parts[1] + ".", "of another machine": theirs.read(t, theirs.get(t, "bob", scope)).Token,
		"as it was before": "anonymous",
	} {
		if a := m.show(t, forged, http.MethodGet, tagsOfApp); !challenged(a, `error="invalid_token"`, `scope="`+scope+`"`) {
			t.Errorf("%s: %s %v", name, a.Status, a.Header)
		}
	}
	m.users(t, "alice", "bob", "carol", "guest") // with other hashes
	if a := m.show(t, bob, http.MethodGet, tagsOfApp); !challenged(a, `error="invalid_token"`) {
		t.Errorf("a token of the hash before: %s %v", a.Status, a.Header)
	}
	again := m.read(t, m.post(t, "grant_type", "password", "username", "bob", "password", password, "scope", scope, "access_type", "offline"))
	m.users(t, "alice")
	if a := m.show(t, again.Token, http.MethodGet, tagsOfApp); !challenged(a, `error="invalid_token"`) {
		t.Errorf("a token of a user who is gone: %s", a.Status)
	}
	if a := m.post(t, "grant_type", "refresh_token", "refresh_token", again.Refresh, "scope", scope); a.StatusCode != http.StatusBadRequest || !strings.Contains(a.body, "invalid_grant") {
		t.Errorf("a refresh token of a user who is gone: %s %s", a.Status, a.body)
	}
}

// Forged tokens are failed logins, and tokens that were right once are not.
func TestForgedTokensAreLimited(t *testing.T) {
	t.Parallel()
	home, _ := house(t, "", "team/app")
	m := tokensOf(t, home)
	bob := m.read(t, m.get(t, "bob", "repository:team/app:pull")).Token
	m.users(t, "alice", "bob")
	limited := false
	for range 100 {
		if a := m.show(t, bob, http.MethodGet, tagsOfApp); a.StatusCode != http.StatusUnauthorized {
			t.Fatalf("a token that was right once: %s", a.Status)
		}
	}
	good := m.read(t, m.get(t, "bob", "repository:team/app:pull")).Token
	for range 100 {
		if a := m.show(t, "forged", http.MethodGet, tagsOfApp); a.StatusCode == http.StatusTooManyRequests {
			limited = a.Header.Get("Retry-After") != ""
			break
		}
	}
	if !limited {
		t.Error("a hundred forged tokens are all looked at")
	}
	if a := m.show(t, good, http.MethodGet, tagsOfApp); a.StatusCode != http.StatusOK {
		t.Errorf("a good token meanwhile: %s", a.Status)
	}
}

// A blob is mounted by a token for both repositories, and uploaded by a token for one. An
// image needs both.
func TestMountByToken(t *testing.T) {
	t.Parallel()
	home, _ := house(t, houseRules)
	m := tokensOf(t, home)
	image, err := random.Image(100, 1)
	check(t, err)
	check(t, m.push(image, "team/app"))
	layers, err := image.Layers()
	check(t, err)
	digest, err := layers[0].Digest()
	check(t, err)
	mount := "/v2/team/other/blobs/uploads/?mount=" + digest.String() + "&from=team/app"
	one := m.read(t, m.get(t, "bob", "repository:team/other:pull,push")).Token
	if a := m.show(t, one, http.MethodPost, mount); a.StatusCode != http.StatusAccepted {
		t.Errorf("by a token for one repository: %s %s", a.Status, a.body)
	}
	both := m.read(t, m.get(t, "bob", "repository:team/other:pull,push", "repository:team/app:pull")).Token
	if a := m.show(t, both, http.MethodPost, mount); a.StatusCode != http.StatusCreated {
		t.Errorf("by a token for both: %s %s", a.Status, a.body)
	}
	manifest, err := image.Digest()
	check(t, err)
	mount = "/v2/team/other/manifests/v1?mount=" + manifest.String() + "&from=team/app"
	if a := m.show(t, one, http.MethodPut, mount); a.StatusCode != http.StatusForbidden || !strings.Contains(a.body, "repository:team/app:pull") {
		t.Errorf("an image by a token for one repository: %s %s", a.Status, a.body)
	}
	if a := m.show(t, both, http.MethodPut, mount); a.StatusCode != http.StatusCreated {
		t.Errorf("an image by a token for both: %s %s", a.Status, a.body)
	}
}

// Machines with the same keys take each other's tokens, also by a key that came later.
func TestSharedKeys(t *testing.T) {
	t.Parallel()
	state := sharedstate.Dir{Path: t.TempDir(), Mode: 0o600, GID: -1, Now: time.Now}
	var both []tokens
	for range 2 {
		m := newMachine(t)
		m.authMore = ", state: " + state.Path
		m.config(t, "info")
		data, err := os.ReadFile(m.path("registry.yml"))
		check(t, err)
		m.write(t, "registry.yml", strings.Replace(string(data), "host: https://"+m.host(), "host: https://registry.example.com", 1))
		m.start(t)
		both = append(both, tokensOf(t, m))
	}
	one, two := both[0], both[1]
	two.users(t, "alice")
	hashes, err := os.ReadFile(two.path("htpasswd"))
	check(t, err)
	one.write(t, "htpasswd", string(hashes))
	if a := one.show(t, "x", http.MethodGet, tagsOfApp); !slices.Equal(a.Header.Values("WWW-Authenticate"), []string{`Basic realm="Redoubt"`}) {
		t.Errorf("without keys it offers %v", a.Header)
	}
	put := func(keys token.Keys, version string) string {
		data, err := keys.Encode()
		check(t, err)
		version, err = state.Put(t.Context(), token.KeysObject, data, version)
		check(t, err)
		return version
	}
	long := time.Now().Add(-31 * 24 * time.Hour)
	keys, _, err := token.Keys{}.Rotate(long)
	check(t, err)
	version := put(keys, "")
	until(t, "the keys to be read", func() bool { return one.get(t, "alice").StatusCode == http.StatusOK })
	given := one.read(t, one.get(t, "alice", "registry:catalog:*")).Token
	until(t, "the other machine to read them", func() bool {
		return two.show(t, given, http.MethodGet, "/v2/_catalog").StatusCode == http.StatusOK
	})
	keys, _, err = keys.Rotate(time.Now().Add(-2 * time.Hour))
	check(t, err)
	put(keys, version)
	issuer := token.NewIssuer("registry.example.com", time.Now)
	issuer.SetKeys(keys)
	sum := sha256.Sum256(hashes[len("alice:"):])
	fresh, _, err := issuer.Mint(token.Claims{Use: token.Access, User: "alice", Proof: "password", Stamp: base64.RawURLEncoding.EncodeToString(sum[:16])}, time.Minute)
	check(t, err)
	until(t, "a key that came later to be read", func() bool { return two.show(t, fresh, http.MethodGet, "/v2/").StatusCode == http.StatusOK })
	if a := two.show(t, given, http.MethodGet, "/v2/_catalog"); a.StatusCode != http.StatusOK {
		t.Errorf("a token of the key before: %s", a.Status)
	}
}
