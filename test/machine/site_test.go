//go:build machine

package machine_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"golang.org/x/crypto/bcrypt"

	"github.com/redoubt-registry/redoubt/test/machine"
	"github.com/redoubt-registry/redoubt/units"
)

// What a machine is told in secret. None of it may appear where others look.
const (
	hostname      = "registry.example.com"
	alicePassword = "alice-S3cr3t-pass"
	bobPassword   = "bob-S3cr3t-pass"
	httpSecret    = "S3cr3t-that-signs-uploads-0123456789"
)

// site is a machine that serves, and a client of it.
type site struct {
	*machine.Machine
	t         *testing.T
	transport *http.Transport
	aliceHash string
}

// userData is a whole configuration: alice has a hash, bob a plain password.
func userData(hash string) string {
	return fmt.Sprintf(`#cloud-config
redoubt:
  hostname: %s
  aliases: [%s]
  httpSecret: %s
  auth:
    users:
      - name: alice
        passwordHash: "%s"
      - name: bob
        password: %s
`, hostname, machine.Address, httpSecret, hash, bobPassword)
}

// hash is alice's, and cheap: what bcrypt costs is not what this tier measures.
func hash(t *testing.T) string {
	t.Helper()
	h, err := bcrypt.GenerateFromPassword([]byte(alicePassword), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	return string(h)
}

// boot starts a machine that cloud-init gives its configuration, and waits until
// it serves.
func boot(t *testing.T) *site {
	t.Helper()
	s := &site{t: t, aliceHash: hash(t)}
	s.Machine = machine.Boot(t, append(machine.Network(), machine.Seed(userData(s.aliceHash))...)...)
	s.awaitApply()
	s.transport = s.Transport()
	s.mustServe("after boot")
	return s
}

// awaitApply waits until the boot's apply has ended. The unit is ready, and the
// system up, before that: it starts the registry and looks at its health.
func (s *site) awaitApply() {
	s.t.Helper()
	s.Eventually(units.Apply+" has ended", func() bool {
		sub := s.Property(units.Apply, "SubState")
		return sub == "exited" || sub == "failed"
	})
}

// run runs a subtest with the same site.
func (s *site) run(name string, test func(t *testing.T, s *site)) {
	s.t.Run(name, func(t *testing.T) {
		sub := *s
		sub.t, sub.Machine = t, s.For(t)
		test(t, &sub)
	})
}

// at is a URL of the registry on its usual port.
func at(path string) string { return "https://" + hostname + path }

// request is a GET as alice.
func request(path string) *http.Request {
	req, err := http.NewRequest(http.MethodGet, at(path), nil)
	if err != nil {
		panic(err) // the paths are constants
	}
	req.SetBasicAuth("alice", alicePassword)
	return req
}

// mustServe checks that alice is let in.
func (s *site) mustServe(when string) {
	s.t.Helper()
	answer, err := machine.Do(s.transport, request("/v2/"))
	if err != nil || answer.Status != http.StatusOK {
		s.t.Fatalf("%s: GET /v2/: %v %+v", when, err, answer)
	}
}

// options are those of go-containerregistry for alice.
func (s *site) options() []remote.Option {
	return []remote.Option{
		remote.WithTransport(s.transport),
		remote.WithAuth(&authn.Basic{Username: "alice", Password: alicePassword}),
	}
}

// push pushes a new image of some layers and returns it.
func (s *site) push(ref string, layers int64) (name.Reference, v1.Image) {
	s.t.Helper()
	r, err := name.ParseReference(hostname + "/" + ref)
	if err != nil {
		s.t.Fatal(err)
	}
	image, err := random.Image(1<<20, layers)
	if err != nil {
		s.t.Fatal(err)
	}
	if err := remote.Write(r, image, s.options()...); err != nil {
		s.t.Fatalf("push %s: %v", r, err)
	}
	return r, image
}

// mustPull pulls an image with every layer and compares it with the one pushed.
func (s *site) mustPull(r name.Reference, want v1.Image) {
	s.t.Helper()
	got, err := remote.Image(r, s.options()...)
	if err != nil {
		s.t.Fatalf("pull %s: %v", r, err)
	}
	wantDigest, err := want.Digest()
	if err != nil {
		s.t.Fatal(err)
	}
	if gotDigest, err := got.Digest(); err != nil || gotDigest != wantDigest {
		s.t.Fatalf("pull %s: %v: got %v, want %v", r, err, gotDigest, wantDigest)
	}
	layers, err := got.Layers()
	if err != nil {
		s.t.Fatal(err)
	}
	for _, l := range layers {
		// The reader checks the digest of what it reads.
		rc, err := l.Compressed()
		if err != nil {
			s.t.Fatalf("pull %s: %v", r, err)
		}
		if err := drain(rc); err != nil {
			s.t.Fatalf("pull %s: %v", r, err)
		}
	}
}

// apply runs redoubt apply by hand, as an operator does.
func (s *site) apply(args ...string) (string, error) {
	return s.TryRun(append([]string{"redoubt", "apply"}, args...)...)
}

// mustApply is apply where it must succeed.
func (s *site) mustApply() {
	s.t.Helper()
	if out, err := s.apply(); err != nil {
		s.t.Fatalf("apply: %v\n%s", err, out)
	}
}

// configure writes one of the operator's files.
func (s *site) configure(file, text string) {
	s.t.Helper()
	s.Write("/etc/redoubt/config.d/"+file, text, 0o600)
}

// invocations names the present run of each of our units: a new one is a restart.
func (s *site) invocations() string {
	s.t.Helper()
	var b strings.Builder
	for _, u := range []string{units.RegistrySocket, units.Registry, units.Redis} {
		fmt.Fprintf(&b, "%s %s %s\n", u, s.Property(u, "ActiveState"), s.Property(u, "InvocationID"))
	}
	return b.String()
}
