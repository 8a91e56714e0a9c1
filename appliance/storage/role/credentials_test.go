package role_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/credentials/ec2rolecreds"
	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"

	"github.com/redoubt-registry/redoubt/appliance/storage/role"
	"github.com/redoubt-registry/redoubt/test/metadata"
)

const (
	accessKey = "ASIAEXAMPLE"
	secretKey = "a-S3cr3t-of-the-role"
	token     = "a-S3cr3t-token"
)

// start runs a metadata service, with a role of one hour.
func start(t *testing.T) (*metadata.Service, *httptest.Server) {
	t.Helper()
	s := &metadata.Service{}
	s.Attach("registry", func() metadata.Role { return metadata.Keys(accessKey, secretKey, token, time.Hour) })
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	t.Cleanup(func() { s.Set(metadata.Good) }) // lets go of what hangs
	return s, server
}

// nowhere is an address at which nobody listens.
func nowhere(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	return "http://" + l.Addr().String()
}

// TestTheServiceIsTheSDKs holds that the service of the tests is one that the SDK
// takes for EC2's.
func TestTheServiceIsTheSDKs(t *testing.T) {
	s, server := start(t)
	provider := ec2rolecreds.New(func(o *ec2rolecreds.Options) { o.Client = imds.New(imds.Options{Endpoint: server.URL}) })
	got, err := provider.Retrieve(t.Context())
	if err != nil || got.AccessKeyID != accessKey || got.SecretAccessKey != secretKey || got.SessionToken != token {
		t.Errorf("got %+v, %v", got, err)
	}
	if s.Refused() != 0 {
		t.Errorf("%d requests without a token", s.Refused())
	}
}

func TestFetch(t *testing.T) {
	s, server := start(t)
	for name, endpoints := range map[string][]string{
		"first":  {server.URL, nowhere(t)},
		"second": {nowhere(t), server.URL},
	} {
		c, err := role.Metadata{Endpoints: endpoints}.Fetch(t.Context())
		if err != nil || c.AccessKeyID != accessKey || c.SecretAccessKey != secretKey || c.Token != token {
			t.Errorf("%s: got %+v, %v", name, c, err)
		}
		if left := time.Until(c.Expiration); left < 50*time.Minute || left > time.Hour {
			t.Errorf("%s: valid for %v", name, left)
		}
	}
	if s.Refused() != 0 || s.Asked("PUT /latest/api/token") != 2 {
		t.Errorf("%d requests without a token, %d tokens", s.Refused(), s.Asked("PUT /latest/api/token"))
	}
}

// TestNoCredentials holds that each mistake is reported with its fix, and that
// nothing older than IMDSv2 is ever tried.
func TestNoCredentials(t *testing.T) {
	t.Parallel()
	attach := func(text func() metadata.Role) func(s *metadata.Service) {
		return func(s *metadata.Service) { s.Attach("registry", text) }
	}
	set := func(m metadata.Mode) func(s *metadata.Service) {
		return func(s *metadata.Service) { s.Set(m) }
	}
	for _, c := range []struct {
		name  string
		wrong func(s *metadata.Service)
		code  string
		want  []string
	}{
		{"no role", attach(nil), role.NoRole, []string{"has no role", "attach one", "storage.s3.accessKey"}},
		{"role that cannot be assumed", attach(func() metadata.Role {
			return metadata.Role{Code: "AssumeRoleUnauthorizedAccess", Message: "EC2 cannot assume the role registry"}
		}), role.RoleFailed, []string{`"registry"`, "AssumeRoleUnauthorizedAccess", "EC2 cannot assume", "trust policy"}},
		{"no keys", attach(func() metadata.Role { return metadata.Role{Code: "Success", AccessKeyID: accessKey} }),
			role.Unavailable, []string{"no AccessKeyId, SecretAccessKey or Expiration"}},
		{"disabled", set(metadata.Disabled), role.MetadataOff, []string{"HttpEndpoint=enabled"}},
		{"no tokens", set(metadata.Older), role.TokenRefused, []string{"IMDSv2", "404", "storage.s3.accessKey"}},
		{"hop limit", set(metadata.Far), role.TokenRefused, []string{"IMDSv2", "hop limit"}},
		{"frozen", set(metadata.Frozen), role.TokenRefused, []string{"IMDSv2"}},
		{"broken", set(metadata.Broken), role.Unavailable, []string{"500"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s, server := start(t)
			c.wrong(s)
			mustFail(t, server.URL, c.code, c.want)
			if n := s.Asked("GET /latest/meta-data/iam/security-credentials/"); c.code == role.TokenRefused && n != 0 {
				t.Errorf("%d requests without a token", n)
			}
		})
	}
	t.Run("nobody", func(t *testing.T) {
		mustFail(t, nowhere(t), role.NoMetadata, []string{"cannot reach", "refused", "storage.s3.accessKey"})
	})
	t.Run("no role's name", func(t *testing.T) {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "<html>"+secretKey) }))
		defer server.Close()
		mustFail(t, server.URL, role.Unavailable, []string{"no name of a role"})
	})
	for name, text := range map[string]string{
		"no JSON":   "<html>" + secretKey,
		"no time":   `{"Code": "Success", "AccessKeyId": "A", "SecretAccessKey": "` + secretKey + `", "Expiration": "soon"}`,
		"truncated": `{"Code": "Success", "AccessKeyId": "A", "SecretAccessKey": "` + secretKey,
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if strings.HasSuffix(r.URL.Path, "/registry") {
					fmt.Fprint(w, text)
				} else {
					fmt.Fprint(w, "registry")
				}
			}))
			defer server.Close()
			mustFail(t, server.URL, role.Unavailable, []string{"no JSON"})
		})
	}
}

func mustFail(t *testing.T, endpoint, code string, want []string) {
	t.Helper()
	c, err := role.Metadata{Endpoints: []string{endpoint}}.Fetch(t.Context())
	p, ok := errors.AsType[*role.Problem](err)
	if !ok || p.Code != code {
		t.Fatalf("got %v, %#v, want %s", c, err, code)
	}
	for _, w := range want {
		if !strings.Contains(p.Message, w) {
			t.Errorf("%q is not in: %s", w, p.Message)
		}
	}
	if strings.Contains(p.Message, "S3cr3t") {
		t.Errorf("a secret is in: %s", p.Message)
	}
}

// clock is one that the test sets.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// source is a Fetcher whose answers the test chooses. Each answer has another key.
type source struct {
	mu    sync.Mutex
	clock *clock
	life  time.Duration
	err   error
	asked int
}

func (s *source) Fetch(context.Context) (role.Credentials, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked++
	return role.Credentials{AccessKeyID: fmt.Sprint(s.asked), SecretAccessKey: secretKey, Expiration: s.clock.Now().Add(s.life)}, s.err
}

func (s *source) set(life time.Duration, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.life, s.err = life, err
}

func (s *source) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked
}

func newCache(t *testing.T, life time.Duration) (*clock, *source, *role.Cache) {
	c := &clock{now: time.Date(2026, 11, 21, 4, 0, 0, 0, time.UTC)}
	s := &source{clock: c, life: life}
	return c, s, &role.Cache{Fetcher: s, Now: c.Now, Log: t.Logf}
}

// settled is what Get gives once the request that it may have started is done.
func settled(t *testing.T, c *role.Cache, s *source, asked int) (role.Credentials, error) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		got, err := c.Get(t.Context())
		if s.count() == asked && (err != nil || got.AccessKeyID <= fmt.Sprint(asked)) {
			time.Sleep(10 * time.Millisecond) // the answer is on its way
			got, err = c.Get(t.Context())
			if s.count() != asked {
				t.Fatalf("asked %d times, want %d", s.count(), asked)
			}
			return got, err
		}
		if s.count() > asked || time.Now().After(deadline) {
			t.Fatalf("asked %d times, want %d", s.count(), asked)
		}
	}
}

// TestAhead holds that new credentials come before the old ones end, and that
// nobody is asked all the time.
func TestAhead(t *testing.T) {
	clock, source, cache := newCache(t, 6*time.Hour)
	got, err := settled(t, cache, source, 1)
	if err != nil || got.AccessKeyID != "1" || got.Expiration != clock.Now().Add(15*time.Minute) {
		t.Fatalf("got %+v, %v", got, err)
	}
	clock.pass(15*time.Minute - time.Second)
	if got, err := settled(t, cache, source, 1); err != nil || got.AccessKeyID != "1" {
		t.Errorf("before it is due: got %+v, %v", got, err)
	}
	clock.pass(time.Second)
	source.set(12*time.Minute, nil)
	if got, err := settled(t, cache, source, 2); err != nil || got.AccessKeyID != "2" || got.Expiration != clock.Now().Add(12*time.Minute) {
		t.Errorf("due: got %+v, %v", got, err)
	}
	clock.pass(3 * time.Minute)
	if got, err := settled(t, cache, source, 3); err != nil || got.AccessKeyID != "3" {
		t.Errorf("with 9 minutes left: got %+v, %v", got, err)
	}
}

// TestAway holds that credentials are good until they end, and not longer, when
// the metadata service is away, and that they come back with it.
func TestAway(t *testing.T) {
	clock, source, cache := newCache(t, 2*time.Hour)
	if _, err := settled(t, cache, source, 1); err != nil {
		t.Fatal(err)
	}
	away := &role.Problem{Code: role.Unavailable, Message: "away"}
	source.set(2*time.Hour, away)
	for asked := 2; asked < 9; asked++ {
		clock.pass(15 * time.Minute)
		if got, err := settled(t, cache, source, asked); err != nil || got.AccessKeyID != "1" {
			t.Errorf("%v: got %+v, %v", clock.Now(), got, err)
		}
	}
	clock.pass(15 * time.Minute)
	if got, err := settled(t, cache, source, 9); !errors.Is(err, away) {
		t.Errorf("ended: got %+v, %v", got, err)
	}
	source.set(2*time.Hour, nil)
	clock.pass(time.Second)
	if got, err := settled(t, cache, source, 10); err != nil || got.AccessKeyID != "10" {
		t.Errorf("back: got %+v, %v", got, err)
	}
}

// TestClock holds that a clock that is set, as one is at boot, does no harm.
func TestClock(t *testing.T) {
	clock, source, cache := newCache(t, time.Hour)
	if _, err := settled(t, cache, source, 1); err != nil {
		t.Fatal(err)
	}
	clock.pass(24 * time.Hour)
	if got, err := cache.Get(t.Context()); err != nil || got.AccessKeyID != "2" {
		t.Errorf("a day later: got %+v, %v", got, err)
	}
	source.set(-time.Hour, nil)
	clock.pass(24 * time.Hour)
	got, err := cache.Get(t.Context())
	if p, ok := errors.AsType[*role.Problem](err); !ok || p.Code != role.Expired || !strings.Contains(p.Message, "timedatectl") {
		t.Errorf("the service's clock is behind: got %+v, %v", got, err)
	}
}

// TestOneAtATime holds that many clients are one request, and that a service that
// hangs holds up nobody who can be served without it.
func TestOneAtATime(t *testing.T) {
	t.Parallel()
	s, server := start(t)
	s.Attach("registry", func() metadata.Role { return metadata.Keys(accessKey, secretKey, token, 8*time.Second) })
	cache := &role.Cache{Fetcher: role.Metadata{Endpoints: []string{server.URL}}, Now: time.Now, Log: t.Logf}
	all := func() {
		var clients sync.WaitGroup
		for range 64 {
			clients.Go(func() {
				if got, err := cache.Get(t.Context()); err != nil || got.AccessKeyID != accessKey {
					t.Errorf("got %+v, %v", got, err)
				}
			})
		}
		clients.Wait()
	}
	all()
	if n := s.Asked("PUT /latest/api/token"); n != 1 || s.Most() != 1 {
		t.Errorf("%d sessions, %d requests at one time", n, s.Most())
	}
	s.Set(metadata.Frozen)
	time.Sleep(2500 * time.Millisecond) // they are due
	all()
	for deadline := time.Now().Add(time.Minute); s.Asked("PUT /latest/api/token") < 2; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("what is due is not asked for")
		}
	}
	all()
	if n := s.Asked("PUT /latest/api/token"); n != 2 || s.Most() != 1 {
		t.Errorf("%d sessions, %d requests at one time", n, s.Most())
	}
}
