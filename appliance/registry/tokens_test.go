package registry

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/redoubt-registry/redoubt/test/issuer"
)

// jobs are the rules of a registry whose CI jobs push below ci/, and what lets them in.
const jobs = `, acl: [{users: [alice], repositories: ["**"], actions: [admin]}, {groups: [builders], repositories: ["ci/**"], actions: [push]}, {users: [github-example/app], repositories: [special], actions: [pull, push]}], oidc: [{issuer: %q, audience: registry.test, match: {repository: example/*}, user: "github-{repository}", groups: [builders]}]`

// jobToken is a token of a job of a repository.
func jobToken(t testing.TB, i *issuer.Issuer, repository string) string {
	return i.Token(t, "registry.test", map[string]any{"repository": repository, "actor": "mallory"})
}

// pushAs pushes an image with a login.
func (m *machine) pushAs(t testing.TB, user, pass, repo string) error {
	t.Helper()
	image, err := random.Image(1000, 1)
	check(t, err)
	ref, err := name.NewTag(m.host() + "/" + repo + ":latest")
	check(t, err)
	transport := m.transport()
	defer transport.CloseIdleConnections()
	return remote.Write(ref, image, remote.WithTransport(transport), remote.WithAuth(&authn.Basic{Username: user, Password: pass}), remote.WithContext(t.Context()))
}

// A job's token is a password, with which the job may do what the rules say of its user and
// its groups, whether the registry asks for passwords or for tokens.
func TestIDTokens(t *testing.T) {
	t.Parallel()
	for _, anonymous := range []string{"none", "pull"} {
		t.Run("anonymous "+anonymous, func(t *testing.T) {
			t.Parallel()
			i := issuer.New(t, false)
			m, _ := house(t, ", anonymous: "+anonymous+fmt.Sprintf(jobs, i.URL))
			token := jobToken(t, i, "example/app")
			check(t, m.pushAs(t, "oidc", token, "ci/app"))
			check(t, m.pushAs(t, "oidc", token, "special"))
			check(t, m.pushAs(t, "oidc", jobToken(t, i, "example/other"), "ci/other"))
			for what, err := range map[string]error{
				"a repository that is not for CI":   m.pushAs(t, "oidc", token, "team/app"),
				"that of another job":               m.pushAs(t, "oidc", jobToken(t, i, "example/other"), "special"),
				"a job of a stranger":               m.pushAs(t, "oidc", jobToken(t, i, "evil/app"), "ci/app"),
				"a token for another service":       m.pushAs(t, "oidc", i.Token(t, "aws", map[string]any{"repository": "example/app"}), "ci/app"),
				"a token as the password of a user": m.pushAs(t, "alice", token, "ci/app"),
				"no token":                          m.pushAs(t, "oidc", password, "ci/app"),
			} {
				if err == nil {
					t.Errorf("%s: it was pushed", what)
				}
			}
			a := m.by(t, m.transport(), "alice", http.MethodGet, "/v2/_catalog", "")
			if a.StatusCode != http.StatusOK || !strings.Contains(a.body, `["ci/app","ci/other","special"]`) {
				t.Errorf("%s %s", a.Status, a.body)
			}
		})
	}
}

// A registry starts while an issuer is down. Its own users log in; who has a token hears
// that it cannot be checked now, and no client takes that for a wrong password.
func TestIssuerIsDown(t *testing.T) {
	t.Parallel()
	i := issuer.New(t, false)
	i.Answer(http.NotFoundHandler())
	m, _ := house(t, fmt.Sprintf(jobs, i.URL))
	token := jobToken(t, i, "example/app")
	check(t, m.pushAs(t, "alice", password, "ci/app"))
	a := m.get(t, "/v2/", "Authorization", "Basic "+basic("oidc", token))
	if a.StatusCode != http.StatusServiceUnavailable || !strings.Contains(a.body, "cannot get the keys of the issuer") || a.Header.Get("Retry-After") == "" {
		t.Errorf("%s %s %v", a.Status, a.body, a.Header)
	}
	if n := m.metric(t, "redoubt_login_sources_down"); n != 1 {
		t.Errorf("%v issuers are down", n)
	}
}

// What the token endpoint gives for an ID token ends with it.
func TestTokenOfAnIDToken(t *testing.T) {
	t.Parallel()
	i := issuer.New(t, false)
	m, _ := house(t, ", anonymous: pull"+fmt.Sprintf(jobs, i.URL))
	a := m.get(t, "/v2/_token", "Authorization", "Basic "+basic("oidc", jobToken(t, i, "example/app")))
	var answer struct {
		Token     string `json:"token"`
		ExpiresIn int    `json:"expires_in"`
	}
	if err := json.Unmarshal([]byte(a.body), &answer); err != nil || answer.ExpiresIn <= 0 || answer.ExpiresIn > 900 {
		t.Fatalf("%s %s", a.Status, a.body)
	}
	if a := m.get(t, "/v2/", "Authorization", "Bearer "+answer.Token); a.StatusCode != http.StatusOK {
		t.Errorf("%s %s", a.Status, a.body)
	}
	a = m.get(t, "/v2/_token", "Authorization", "Basic "+basic("oidc", jobToken(t, i, "evil/app")))
	if a.StatusCode != http.StatusUnauthorized || a.Header.Get("WWW-Authenticate") == "" {
		t.Errorf("%s %s", a.Status, a.body)
	}
}
