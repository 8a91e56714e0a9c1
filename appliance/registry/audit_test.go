package registry

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/distribution/distribution/v3/configuration"
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/redoubt-registry/redoubt/appliance/access/audit"
	"github.com/redoubt-registry/redoubt/appliance/access/identity"
	"github.com/redoubt-registry/redoubt/appliance/access/webhook"
)

// events are the audit lines of a machine's log, without what differs each time.
func (m *machine) events(t *testing.T) []string {
	t.Helper()
	var found []string
	for line := range strings.Lines(m.log.String()) {
		var e audit.Event
		if !strings.HasPrefix(line, `{"time":`) || !strings.Contains(line, `"action":`) {
			continue
		}
		check(t, json.Unmarshal([]byte(line), &e))
		_, rest, _ := strings.Cut(line, `"action":`)
		if e.Time.IsZero() || len(e.ID) < 20 {
			t.Errorf("no time or name: %s", line)
		}
		found = append(found, `{"action":`+strings.TrimSpace(rest))
	}
	return found
}

// Each kind of event is one line, which stays as it is: programs read them.
func TestAuditLines(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.users(t, "alice", "bob")
	m.authMore = `, anonymous: pull, acl: [{users: [alice], repositories: ["**"], actions: [admin]}, {users: [bob], repositories: [open], actions: [pull]}, {anonymous: true, repositories: [open], actions: [pull]}]`
	m.config(t, "error")
	m.start(t)
	transport := m.transport()
	ask := func(user, pass, method, path, body string, header ...string) answer {
		t.Helper()
		header = append([]string{"User-Agent", "client/1 \u202e\"", "Authorization", ""}, header...)
		if user != "" {
			header = append(header, "Authorization", "Basic "+basic(user, pass))
		}
		a, err := send(transport, method, "https://"+m.host()+path, strings.NewReader(body), header...)
		check(t, err)
		return a
	}
	text := `{"schemaVersion":2,"mediaType":"` + v1.MediaTypeImageIndex + `","manifests":[]}`
	dgst, layer := digest.FromString(text).String(), digest.FromString("layer").String()
	ask("alice", password, "GET", "/v2/", "")
	ask("", "", "GET", "/v2/", "") // how every client begins
	ask("alice", password, "POST", "/v2/app/blobs/uploads/?digest="+layer, "layer")
	ask("alice", password, "POST", "/v2/open/blobs/uploads/?from=app&mount="+layer, "")
	ask("alice", password, "PUT", "/v2/open/manifests/1", text, "Content-Type", v1.MediaTypeImageIndex)
	ask("bob", password, "HEAD", "/v2/open/manifests/1", "")
	ask("", "", "GET", "/v2/open/manifests/"+dgst, "")
	ask("bob", password, "GET", "/v2/app/manifests/1", "")
	ask("bob", password, "PUT", "/v2/open/manifests/2", text, "Content-Type", v1.MediaTypeImageIndex)
	ask("bob", password, "POST", "/v2/open/blobs/uploads/", "")
	ask("bob", password, "DELETE", "/v2/open/manifests/1", "")
	ask("alice", password, "GET", "/v2/open/manifests/none", "")
	ask("alice", password, "DELETE", "/v2/open/manifests/1", "")
	ask("alice", password, "DELETE", "/v2/open/manifests/"+dgst, "")
	ask("alice", password, "DELETE", "/v2/app/blobs/"+layer, "")
	ask("alice", "wrong", "GET", "/v2/", "")
	for range 4 {
		ask("a password typed here", "wrong", "GET", "/v2/", "")
	}
	var token struct{ Token string }
	check(t, json.Unmarshal([]byte(ask("alice", password, "GET", "/v2/_token?scope=repository:open:pull", "").body), &token))
	ask("", "", "GET", "/v2/open/tags/list", "", "Authorization", "Bearer "+token.Token)
	ask("", "", "HEAD", "/v2/open/manifests/1", "", "Authorization", "Bearer "+token.Token)
	ask("", "", "HEAD", "/v2/app/manifests/1", "", "Authorization", "Bearer "+token.Token) // which is not for that
	m.signal(t, syscall.SIGTERM)
	<-m.exited
	got := strings.Join(m.events(t), "\n") + "\n"
	golden := filepath.Join("testdata", "audit.jsonl")
	if os.Getenv("UPDATE") != "" {
		check(t, os.WriteFile(golden, []byte(got), 0o644))
	}
	want, err := os.ReadFile(golden)
	check(t, err)
	if got != string(want) {
		t.Errorf("the audit log is (UPDATE=1 writes it)\n%s\nwant\n%s", got, want)
	}
	if strings.Contains(got, "typed here") || strings.Contains(m.log.String(), token.Token) {
		t.Error("the audit log has what must stay secret")
	}
}

// Every push that a client was told of is in the audit log, also when the registry is
// killed right after the answer.
func TestAuditSurvivesAKill(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.config(t, "error")
	m.start(t)
	transport := m.transport()
	text := `{"schemaVersion":2,"mediaType":"` + v1.MediaTypeImageIndex + `","manifests":[]}`
	var pushed []string
	for _, tag := range []string{"a", "b", "c", "d", "e"} {
		a, err := send(transport, http.MethodPut, "https://"+m.host()+"/v2/app/manifests/"+tag, strings.NewReader(text),
			"Authorization", "Basic "+basic("alice", password), "Content-Type", v1.MediaTypeImageIndex)
		check(t, err)
		if a.StatusCode != http.StatusCreated {
			t.Fatal(a.Status)
		}
		pushed = append(pushed, tag)
	}
	check(t, m.process.Process.Kill())
	<-m.exited
	events := m.events(t)
	for _, tag := range pushed {
		if !slices.ContainsFunc(events, func(line string) bool { return strings.Contains(line, `"tag":"`+tag+`"`) }) {
			t.Errorf("the push of %s is missing in %q", tag, events)
		}
	}
}

// What the audit log costs a pull of a manifest.
func BenchmarkAudit(b *testing.B) {
	desk := webhook.NewDesk()
	defer desk.Close()
	benchmarkNote(b, desk)
}

func benchmarkNote(b *testing.B, desk *webhook.Desk) {
	s := &server{audit: audit.New(time.Now, audit.Lines(io.Discard)), desk: desk}
	defer s.audit.Close()
	g := &generation{base: "/v2", config: &configuration.Configuration{}}
	r := httptest.NewRequest(http.MethodGet, "/v2/team/app/manifests/1", nil)
	r.RemoteAddr = "192.0.2.1:1234"
	ctx, _ := identity.With(r.Context())
	identity.Prove(ctx, "alice", identity.Password)
	r = r.WithContext(ctx)
	answer := http.Header{"Docker-Content-Digest": {"sha256:" + strings.Repeat("ab", 32)}}
	b.ReportAllocs()
	for b.Loop() {
		s.note(g, r, answer, http.StatusOK)
	}
}
