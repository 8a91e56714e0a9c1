package registry

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// houseRules are those of a team, its leads, guests and the public.
const houseRules = `, anonymous: pull, groups: [{user: bob, groups: [dev]}, {user: carol, groups: [dev, leads]}], acl: [
  {users: [alice], repositories: ["**"], actions: [admin]},
  {groups: [dev], repositories: ["team/**"], actions: [push]},
  {groups: [leads], repositories: ["team/**", "release/*"], actions: [pull, delete]},
  {users: ["*"], repositories: ["shared/*"], actions: [pull]},
  {anonymous: true, repositories: ["public/**"], actions: [pull]}]`

// house is a machine with rules and an image in each of some repositories.
func house(t *testing.T, rules string, repositories ...string) (*machine, map[string]digest.Digest) {
	t.Helper()
	m := newMachine(t)
	m.users(t, "alice", "bob", "carol", "guest")
	m.authMore = rules
	m.config(t, "info")
	m.start(t)
	manifests := map[string]digest.Digest{}
	for _, repo := range repositories {
		m.pushBlob(t, repo, v1.DescriptorEmptyJSON.Data)
		manifest := artifact("text/plain", nil, repo)
		a, d := m.putManifest(t, repo, "latest", v1.MediaTypeImageManifest, manifest)
		if a.StatusCode != http.StatusCreated {
			t.Fatalf("%s: %s %s", repo, a.Status, a.body)
		}
		manifests[repo] = d
	}
	return m, manifests
}

// by is a request of one user, or of somebody without a login.
func (m *machine) by(t *testing.T, transport http.RoundTripper, user, method, target, body string) answer {
	t.Helper()
	login := ""
	if user != "" {
		login = "Basic " + basic(user, password)
	}
	if strings.HasPrefix(target, "/") {
		target = "https://" + m.host() + target
	}
	a, err := send(transport, method, target, strings.NewReader(body), "Authorization", login, "Content-Type", v1.MediaTypeImageManifest)
	check(t, err)
	return a
}

// catalog lists the repositories that a user is shown, by pages of n.
func (m *machine) catalog(t *testing.T, transport http.RoundTripper, user string, n int) []string {
	t.Helper()
	var all []string
	target := fmt.Sprintf("/v2/_catalog?n=%d", n)
	for pages := 0; target != ""; pages++ {
		a := m.by(t, transport, user, http.MethodGet, target, "")
		var page struct{ Repositories []string }
		if err := json.Unmarshal([]byte(a.body), &page); err != nil || a.StatusCode != http.StatusOK {
			t.Fatalf("%s: %s %s", target, a.Status, a.body)
		}
		if len(page.Repositories) > n || len(page.Repositories) < n && a.Header.Get("Link") != "" {
			t.Errorf("a page of %d has %v, Link %q", n, page.Repositories, a.Header.Get("Link"))
		}
		if a.Header.Get("Link") == "" != (len(page.Repositories) < n) && len(page.Repositories) == 0 {
			t.Errorf("%s: an empty page with a Link", target)
		}
		all = append(all, page.Repositories...)
		target, _, _ = strings.Cut(strings.TrimPrefix(a.Header.Get("Link"), "<"), ">")
		if pages > 50 {
			t.Fatal("the catalogue does not end")
		}
	}
	return all
}

// code is the one error code of an answer.
func code(a answer) string {
	var body struct{ Errors []struct{ Code string } }
	if json.Unmarshal([]byte(a.body), &body) != nil || len(body.Errors) != 1 || !strings.HasPrefix(a.Header.Get("Content-Type"), "application/json") {
		return "no JSON: " + a.body
	}
	return body.Errors[0].Code
}

var households = map[string][]string{
	"":      {"public/a", "public/a/b"},
	"alice": {"drop", "public/a", "public/a/b", "release/v1", "secret", "shared/base", "team", "team/app", "team/lib/x"},
	"bob":   {"public/a", "public/a/b", "shared/base", "team/app", "team/lib/x"},
	"carol": {"public/a", "public/a/b", "release/v1", "shared/base", "team/app", "team/lib/x"},
	"guest": {"public/a", "public/a/b", "shared/base"},
}

// What the catalogue shows is what a pull gives, for every user, whatever is pulled.
func TestTheCatalogueShowsWhatCanBePulled(t *testing.T) {
	t.Parallel()
	m, manifests := house(t, houseRules, households["alice"]...)
	transport := m.transport()
	defer transport.CloseIdleConnections()
	for user, want := range households {
		for _, n := range []int{1, 2, 100} {
			if got := m.catalog(t, transport, user, n); !slices.Equal(got, want) {
				t.Errorf("%q is shown %v by %d, not %v", user, got, n, want)
			}
		}
		for repo, d := range manifests {
			may := slices.Contains(want, repo)
			for _, path := range []string{"/tags/list", "/manifests/latest", "/manifests/" + d.String(), "/referrers/" + d.String(), "/blobs/" + v1.DescriptorEmptyJSON.Digest.String()} {
				for _, method := range []string{http.MethodGet, http.MethodHead} {
					if method == http.MethodHead && path == "/tags/list" {
						continue
					}
					a := m.by(t, transport, user, method, "/v2/"+repo+path, "")
					if got := a.StatusCode == http.StatusOK; got != may {
						t.Errorf("%q: %s %s%s: %s", user, method, repo, path, a.Status)
					}
					if !may {
						refused(t, a, user, method)
					}
				}
			}
		}
	}
}

// refused holds an answer to be one of somebody who may not.
func refused(t *testing.T, a answer, user, method string) {
	t.Helper()
	status, want := http.StatusForbidden, "DENIED"
	if user == "" {
		status, want = http.StatusUnauthorized, "UNAUTHORIZED"
		if !strings.HasPrefix(a.Header.Get("WWW-Authenticate"), "Bearer ") {
			t.Errorf("%s: WWW-Authenticate is %q", a.Request.URL, a.Header.Get("WWW-Authenticate"))
		}
	}
	if a.StatusCode != status || method != http.MethodHead && code(a) != want {
		t.Errorf("%q: %s %s: %s %s", user, method, a.Request.URL, a.Status, a.body)
	}
}

// What one may not see is refused alike whether it is there or not.
func TestRefusalsTellNothing(t *testing.T) {
	t.Parallel()
	m, _ := house(t, houseRules, "secret")
	transport := m.transport()
	defer transport.CloseIdleConnections()
	for _, user := range []string{"", "bob"} {
		for _, path := range []string{"/tags/list", "/manifests/latest", "/manifests/nothing"} {
			there, not := m.by(t, transport, user, http.MethodGet, "/v2/secret"+path, ""), m.by(t, transport, user, http.MethodGet, "/v2/nothing"+path, "")
			if there.StatusCode != not.StatusCode || there.body != not.body {
				t.Errorf("%q %s: %s %s, but %s %s", user, path, there.Status, there.body, not.Status, not.body)
			}
		}
	}
}

func TestRulesDecideWhoWrites(t *testing.T) {
	t.Parallel()
	m, manifests := house(t, houseRules, "team/app", "release/v1", "public/a")
	transport := m.transport()
	defer transport.CloseIdleConnections()
	data, err := json.Marshal(artifact("text/plain", nil, "new"))
	check(t, err)
	type row struct {
		repo, method, path string
		may                string // who, between spaces
	}
	rows := []row{
		{"team/app", http.MethodPost, "/blobs/uploads/", " alice bob carol "},
		{"team/app", http.MethodPut, "/manifests/new", " alice bob carol "},
		{"release/v1", http.MethodPost, "/blobs/uploads/", " alice "},
		{"release/v1", http.MethodPut, "/manifests/new", " alice "},
		{"public/a", http.MethodPost, "/blobs/uploads/", " alice "},
		{"public/a", http.MethodPut, "/manifests/new", " alice "},
		{"public/a", http.MethodDelete, "/manifests/" + manifests["public/a"].String(), ""},
		{"team/app", http.MethodDelete, "/manifests/" + digest.FromString("nothing").String(), " alice carol "},
		{"team/app", http.MethodDelete, "/blobs/" + digest.FromString("nothing").String(), " alice carol "},
		{"release/v1", http.MethodDelete, "/manifests/" + digest.FromString("nothing").String(), " alice carol "},
	}
	for _, r := range rows {
		for _, user := range []string{"", "alice", "bob", "carol", "guest"} {
			if r.may == "" && user == "alice" {
				continue // she could, and it would be gone
			}
			body := ""
			if r.method == http.MethodPut {
				body = string(data)
			}
			a := m.by(t, transport, user, r.method, "/v2/"+r.repo+r.path, body)
			if !strings.Contains(r.may, " "+user+" ") || user == "" {
				refused(t, a, user, r.method)
			} else if a.StatusCode == http.StatusForbidden || a.StatusCode == http.StatusUnauthorized {
				t.Errorf("%s: %s %s%s: %s %s", user, r.method, r.repo, r.path, a.Status, a.body)
			}
		}
	}
	// Who may push, and not delete, may end the upload that he began.
	begun := m.by(t, transport, "bob", http.MethodPost, "/v2/team/app/blobs/uploads/", "")
	if a := m.by(t, transport, "guest", http.MethodDelete, begun.Header.Get("Location"), ""); a.StatusCode != http.StatusForbidden {
		t.Errorf("a guest ends an upload: %s", a.Status)
	}
	if a := m.by(t, transport, "bob", http.MethodDelete, begun.Header.Get("Location"), ""); a.StatusCode != http.StatusNoContent {
		t.Errorf("an upload cannot be ended: %s %s", a.Status, a.body)
	}
}

// A mount gives nobody what he may not pull, and says nothing of it: the upload begins.
func TestMountsObeyTheRules(t *testing.T) {
	t.Parallel()
	m, _ := house(t, houseRules, "shared/base")
	transport := m.transport()
	defer transport.CloseIdleConnections()
	hidden, known := m.pushBlob(t, "secret", []byte("hidden")), m.pushBlob(t, "shared/base", []byte("known"))
	query := func(values ...string) string {
		v := url.Values{}
		for i := 0; i < len(values); i += 2 {
			v.Add(values[i], values[i+1])
		}
		return "?" + v.Encode()
	}
	other := digest.FromString("other").String()
	for _, c := range []struct {
		user, query string
		status      int
	}{
		{"bob", query("mount", hidden.String(), "from", "secret"), http.StatusAccepted},
		{"bob", query("mount", hidden.String()), http.StatusAccepted}, // from where it was last seen
		{"bob", query("mount", hidden.String(), "from", "nothing"), http.StatusAccepted},
		{"bob", query("mount", hidden.String(), "from", "secret", "from", "shared/base"), http.StatusAccepted},
		{"bob", query("mount", hidden.String(), "from", "secret", "digest", other), http.StatusAccepted},
		{"bob", query("mount", known.String(), "from", "shared/base"), http.StatusCreated},
		{"bob", query("mount", known.String()), http.StatusCreated},
		{"alice", query("mount", hidden.String(), "from", "secret"), http.StatusCreated},
		{"guest", query("mount", known.String(), "from", "shared/base"), http.StatusForbidden},
	} {
		repo := "team/" + c.user
		a := m.by(t, transport, c.user, http.MethodPost, "/v2/"+repo+"/blobs/uploads/"+c.query, "")
		if a.StatusCode != c.status {
			t.Errorf("%s %s: %s %s", c.user, c.query, a.Status, a.body)
		}
	}
	if a := m.by(t, transport, "bob", http.MethodHead, "/v2/team/bob/blobs/"+hidden.String(), ""); a.StatusCode != http.StatusNotFound {
		t.Errorf("the hidden blob has come: %s", a.Status)
	}
}

// Rules of a new configuration count from the reload on, and those that cannot be read
// leave the ones before them in force.
func TestRulesChange(t *testing.T) {
	t.Parallel()
	m, _ := house(t, "", "team/app")
	transport := m.transport()
	defer transport.CloseIdleConnections()
	see := func(want int, when string) {
		t.Helper()
		if a := m.by(t, transport, "bob", http.MethodGet, "/v2/team/app/tags/list", ""); a.StatusCode != want {
			t.Errorf("%s: %s", when, a.Status)
		}
	}
	see(http.StatusOK, "without rules")
	if a := m.by(t, transport, "", http.MethodGet, "/v2/", ""); a.Header.Get("WWW-Authenticate") == `Basic realm="Redoubt"` || !slices.Contains(a.Header.Values("WWW-Authenticate"), `Basic realm="Redoubt"`) {
		t.Errorf("without anonymous: %v", a.Header)
	}
	m.authMore = `, acl: [{users: [alice], repositories: ["**"], actions: [admin]}]`
	m.config(t, "info")
	m.reload(t)
	see(http.StatusForbidden, "with rules for others")
	for _, bad := range []string{
		`, acl: []`, `, acl: {}`, `, acl: [{users: [bob], repositories: ["**"], actions: [pul]}]`, `, acl: [{user: [bob]}]`,
		`, acl: [{users: [bob], repositories: [Team], actions: [pull]}]`, `, anonymous: push`, `, acl: none`,
	} {
		m.authMore = bad
		m.config(t, "info")
		m.reload(t)
		see(http.StatusForbidden, bad)
		if log := m.log.String(); !strings.Contains(log, "cannot use") {
			t.Errorf("%s: the log says nothing", bad)
		}
	}
	m.authMore = `, acl: [{users: [bob], repositories: ["**"], actions: [pull]}]`
	m.config(t, "info")
	m.reload(t)
	see(http.StatusOK, "with a rule")
}

// A certificate brings the groups of its own entry, and those of its user.
func TestRulesForCertificates(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.mutual(t, ifGiven)
	m.authMore = strings.Replace(m.authMore, "user: ci}", "user: ci, groups: [builders]}", 1) +
		`, groups: [{user: ci, groups: [robots]}], acl: [{groups: [builders], repositories: ["a/*"], actions: [push]}, {groups: [robots], repositories: ["b/*"], actions: [push]}]`
	m.config(t, "info")
	m.start(t)
	transport := m.as(m.client(t, "ci-1"))
	defer transport.CloseIdleConnections()
	for repo, want := range map[string]int{"a/x": http.StatusAccepted, "b/x": http.StatusAccepted, "c/x": http.StatusForbidden} {
		if a := m.by(t, transport, "", http.MethodPost, "/v2/"+repo+"/blobs/uploads/", ""); a.StatusCode != want {
			t.Errorf("%s: %s %s", repo, a.Status, a.body)
		}
	}
}

// Docker sends its password only to a registry that asks for one at /v2/, and gives up
// there without one unless it is sent for a token.
func TestAnonymousPullBesidePasswordPush(t *testing.T) {
	t.Parallel()
	m, _ := house(t, houseRules)
	write := func(repo string, login authn.Authenticator) error {
		image, err := random.Image(1000, 2) // another each time: one that is there is not pushed
		check(t, err)
		ref, err := name.ParseReference(m.host() + "/" + repo)
		check(t, err)
		return remote.Write(ref, image, append(m.options("", ""), remote.WithAuth(login))...)
	}
	alice := &authn.Basic{Username: "alice", Password: password}
	check(t, write("public/app", alice))
	if err := write("public/app", authn.Anonymous); err == nil || !strings.Contains(err.Error(), "UNAUTHORIZED") {
		t.Errorf("a push without a login: %v", err)
	}
	if err := write("public/app", &authn.Basic{Username: "alice", Password: "wrong"}); err == nil {
		t.Error("a push with a wrong password")
	}
	for repo, want := range map[string]bool{"public/app": true, "secret": false} {
		check(t, write(repo, alice))
		ref, err := name.ParseReference(m.host() + "/" + repo)
		check(t, err)
		if _, err := remote.Image(ref, append(m.options("", ""), remote.WithAuth(authn.Anonymous))...); err == nil != want {
			t.Errorf("%s without a login: %v", repo, err)
		}
	}
}
