//go:build machine

package machine_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/redoubt-registry/redoubt/test/machine"
	"github.com/redoubt-registry/redoubt/test/pebble"
	"github.com/redoubt-registry/redoubt/units"
)

// public makes the site ask a CA that runs beside it, on its own network, and
// asks back on its port 80.
func (s *site) public() *pebble.CA {
	s.t.Helper()
	ca := pebble.Start(s.t, pebble.Options{HTTPPort: 80, Network: s.Leader(), Dial: s.Dial, Address: machine.Address})
	var roots strings.Builder
	for line := range strings.Lines(ca.Roots) {
		roots.WriteString("        " + line)
	}
	s.configure("60-acme.yaml", fmt.Sprintf("redoubt:\n  tls:\n    mode: acme\n    acme:\n      directory: %s\n      caBundle: |\n%s", ca.Directory, roots.String()))
	s.mustApply()
	return ca
}

// shows is the certificate that clients see.
func (s *site) shows() *x509.Certificate { return s.showsTo("") }

// showsTo is the certificate for a client that asks for name; empty: for hostname.
func (s *site) showsTo(name string) *x509.Certificate {
	s.t.Helper()
	transport := s.transport.Clone()
	transport.TLSClientConfig = &tls.Config{InsecureSkipVerify: true, ServerName: name} // it is looked at
	defer transport.CloseIdleConnections()
	resp, err := transport.RoundTrip(request("/v2/"))
	if err != nil {
		s.t.Fatal(err)
	}
	resp.Body.Close()
	return resp.TLS.PeerCertificates[0]
}

func issuer(c *x509.Certificate) string { return c.Issuer.CommonName }

// TestRenewal takes a machine from the own CA's certificate to a public one with
// no restart, by the unit in its sandbox, and through what goes wrong there.
func TestRenewal(t *testing.T) {
	s := boot(t)
	runs := s.invocations()
	if got := issuer(s.shows()); !strings.HasPrefix(got, "Redoubt CA") {
		t.Fatalf("before there is a public one, the certificate is of %q", got)
	}
	began := time.Now()
	ca := s.public() // nobody starts the renewal by hand
	s.Eventually("the public certificate serves", func() bool { return strings.Contains(issuer(s.shows()), "Pebble") })
	t.Logf("a public certificate %v after the apply began", time.Since(began).Round(100*time.Millisecond))
	s.Eventually("the renewal has ended", func() bool { return s.Property(units.Renew, "ActiveState") == "inactive" })
	first := s.shows()
	if first.VerifyHostname(hostname) != nil || first.VerifyHostname(machine.Address) != nil {
		t.Errorf("it is for %v %v", first.DNSNames, first.IPAddresses)
	}
	if got := s.invocations(); got != runs {
		t.Errorf("units were restarted:\nbefore:\n%s\nafter:\n%s", runs, got)
	}
	if got := s.Run("cat", "/var/lib/redoubt/acme/state.json"); !strings.Contains(got, `"profile": "shortlived"`) {
		t.Error("the profile is not the one for addresses")
	}
	if got := s.Run("stat", "-c", "%a %U:%G", "/var/lib/redoubt/acme", "/var/lib/redoubt/acme/state.json", "/var/lib/redoubt/challenges", "/run/redoubt/renew.json"); got !=
		"700 root:root\n600 root:root\n750 root:redoubt-registry\n644 root:root" {
		t.Errorf("modes and owners:\n%s", got)
	}
	s.run("nothing to do", func(t *testing.T, s *site) {
		before := s.Run("sha256sum", "/var/lib/redoubt/acme/state.json")
		s.Run("systemctl", "start", units.Renew)
		if !s.shows().Equal(first) || s.Run("sha256sum", "/var/lib/redoubt/acme/state.json") != before {
			t.Error("a tick with nothing to do changed something")
		}
		s.mustApply()
		if !s.shows().Equal(first) {
			t.Error("an apply replaced the certificate")
		}
	})
	s.run("status and metrics", func(t *testing.T, s *site) {
		out, err := s.TryRun("redoubt", "status", "--json")
		var report struct {
			Certificate struct {
				DaysLeft int
				Renewal  struct {
					Mode                   string
					Tried, Succeeded, Next time.Time
				}
			}
		}
		if e := json.Unmarshal([]byte(out), &report); e != nil || err != nil {
			t.Fatalf("redoubt status: %v %v\n%s", err, e, out)
		}
		if r := report.Certificate.Renewal; r.Mode != "acme" || r.Succeeded.IsZero() || r.Tried.IsZero() || !r.Next.After(time.Now()) {
			t.Errorf("%+v", report)
		}
		conn, err := s.Dial(t.Context(), "tcp", "127.0.0.1:5001")
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		fmt.Fprintf(conn, "GET /metrics HTTP/1.0\r\n\r\n")
		text, _ := io.ReadAll(conn) // what is missing is seen below
		for _, want := range []string{"redoubt_renewal_failures 0", "redoubt_renewal_error 0", "redoubt_renewal_alert 0", "redoubt_renewal_last_success_seconds 1."} {
			if !strings.Contains(string(text), want) {
				t.Errorf("the metrics lack %s", want)
			}
		}
	})
	s.run("the CA goes down", func(t *testing.T, s *site) {
		ca.Stop()
		out, err := s.TryRun("redoubt", "renew", "--force")
		if err == nil || !strings.Contains(out, "the CA cannot be reached") {
			t.Errorf("%v\n%s", err, out)
		}
		if !s.shows().Equal(first) {
			t.Error("the old certificate does not serve")
		}
		if out, _ := s.TryRun("redoubt", "status"); !strings.Contains(out, "the CA cannot be reached") {
			t.Errorf("the status is silent:\n%s", out)
		}
		ca.Restart()
		s.Run("redoubt", "renew", "--force")
		if s.shows().Equal(first) {
			t.Error("the CA is back, and the certificate is the old one")
		}
	})
	s.run("damaged state", func(t *testing.T, s *site) {
		now := s.shows()
		s.Run("cp", "/var/lib/redoubt/acme/state.json", "/var/lib/redoubt/acme/whole")
		s.Run("truncate", "-s", "100", "/var/lib/redoubt/acme/state.json")
		out, err := s.TryRun("redoubt", "renew")
		if err == nil || !strings.Contains(out, "/var/lib/redoubt/acme/state.json") || !strings.Contains(out, "mv ") {
			t.Errorf("%v\n%s", err, out)
		}
		if !s.shows().Equal(now) {
			t.Error("the certificate changed")
		}
		s.Run("mv", "/var/lib/redoubt/acme/whole", "/var/lib/redoubt/acme/state.json")
		s.Run("redoubt", "renew")
	})
	s.run("the disk is full", func(t *testing.T, s *site) {
		now := s.shows()
		s.Run("mount", "-t", "tmpfs", "-o", "size=64k,mode=755", "tmpfs", "/mnt")
		s.Run("cp", "-a", "/var/lib/redoubt/certificates/.", "/mnt/")
		s.Run("mount", "--bind", "/mnt", "/var/lib/redoubt/certificates")
		if out, err := s.TryRun("dd", "if=/dev/zero", "of=/mnt/ballast"); err == nil {
			t.Fatalf("the disk is not full: %s", out)
		}
		out, err := s.TryRun("redoubt", "renew", "--force")
		if err == nil || !strings.Contains(out, "no space left on device") {
			t.Errorf("%v\n%s", err, out)
		}
		if !s.shows().Equal(now) {
			t.Error("the old certificate does not serve")
		}
		s.Run("rm", "/mnt/ballast")
		s.Run("redoubt", "renew") // without another order
		if got := s.shows(); got.Equal(now) || !strings.Contains(s.Run("cat", "/var/lib/redoubt/acme/state.json"), `"number": 3`) {
			t.Error("the certificate that was obtained does not serve")
		}
		s.Run("umount", "/var/lib/redoubt/certificates")
		s.Run("umount", "/mnt")
		s.Run("redoubt", "renew")
	})
	s.run("another name", func(t *testing.T, s *site) {
		s.configure("61-alias.yaml", "redoubt: {aliases: ["+machine.Address+", alias.example.com]}\n")
		s.mustApply()
		if c := s.shows(); !strings.Contains(issuer(c), "Pebble") {
			t.Errorf("the name that has one lost it until there is one for the new name: %q %v", issuer(c), c.DNSNames)
		}
		if c := s.showsTo("alias.example.com"); c.VerifyHostname("alias.example.com") != nil {
			t.Errorf("until there is one for the new name: %q %v", issuer(c), c.DNSNames)
		}
		s.Run("systemctl", "start", units.Renew)
		if c := s.shows(); !strings.Contains(issuer(c), "Pebble") || c.VerifyHostname("alias.example.com") != nil {
			t.Errorf("for the new name: %q %v", issuer(c), c.DNSNames)
		}
	})
	s.run("back to the own CA", func(t *testing.T, s *site) {
		s.Run("rm", "/etc/redoubt/config.d/60-acme.yaml")
		s.mustApply()
		if got := issuer(s.shows()); !strings.HasPrefix(got, "Redoubt CA") {
			t.Errorf("the certificate is of %q", got)
		}
		s.Run("systemctl", "start", units.Renew)
	})
	s.run("no secret shows", noSecretShows)
}

// TestTheTimerRenews holds that the timer is there and that nobody has to start
// the unit.
func TestTheTimerRenews(t *testing.T) {
	s := boot(t)
	if got := s.Property(units.RenewTimer, "ActiveState"); got != "active" {
		t.Errorf("%s is %s", units.RenewTimer, got)
	}
	for _, want := range []string{"OnBootUSec=1min", "OnUnitInactiveUSec=10min"} {
		if got := s.Property(units.RenewTimer, "TimersMonotonic"); !strings.Contains(got, want) {
			t.Errorf("the timer has %s, and not %s", got, want)
		}
	}
	if got := s.Property(units.RenewTimer, "TimersCalendar"); got != "" {
		t.Errorf("the timer goes by the clock: %s", got)
	}
}

// TestFiftyRenewalsOfAMachine renews fifty times while images are pushed and
// pulled and with an upload in flight that began before: no request fails.
func TestFiftyRenewalsOfAMachine(t *testing.T) {
	s := boot(t)
	ca := s.public()
	s.Eventually("the public certificate serves", func() bool { return strings.Contains(issuer(s.shows()), "Pebble") })
	pool := s.CA()
	pool.AppendCertsFromPEM(ca.Issuer())
	s.transport.TLSClientConfig.RootCAs = pool
	runs := s.invocations()
	ref, image := s.push("team/app:v1", 1)
	var failed, all atomic.Int64
	var wg sync.WaitGroup
	done := make(chan struct{})
	options := append(s.options(), remote.WithRetryPredicate(func(error) bool { return false }), remote.WithRetryStatusCodes())
	for client := range 2 {
		wg.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-done:
					return
				default:
				}
				err := func() error {
					if client == 0 {
						got, err := remote.Image(ref, options...)
						if err != nil {
							return err
						}
						want, _ := image.Digest() // it is in memory
						if d, err := got.Digest(); err != nil || d != want {
							return errors.Join(err, fmt.Errorf("pulled %v", d))
						}
						return nil
					}
					pushed, err := random.Image(10_000, 1)
					if err != nil {
						return err
					}
					return remote.Write(ref.Context().Tag(fmt.Sprintf("n%d", n)), pushed, options...)
				}()
				all.Add(1)
				if err != nil {
					failed.Add(1)
					t.Logf("client %d: %v", client, err)
				}
			}
		})
	}
	read, write := io.Pipe()
	upload := make(chan error, 1)
	go func() { upload <- s.stream(read) }()
	half := bytes.Repeat([]byte("layer"), 50_000)
	write.Write(half) // the upload says so
	const renewals = 50
	for i := range renewals {
		write.Write([]byte("moves")) //nolint:errcheck // the upload says so; one that stands still is ended
		before := s.shows()
		if out, err := s.TryRun("redoubt", "renew", "--force"); err != nil {
			t.Fatalf("renewal %d: %v\n%s", i, err, out)
		}
		if s.shows().Equal(before) {
			t.Fatalf("renewal %d changed nothing", i)
		}
	}
	write.Write(half) // the upload says so
	write.Close()
	if err := <-upload; err != nil {
		t.Errorf("the upload that was in flight: %v", err)
	}
	close(done)
	wg.Wait()
	if failed.Load() > 0 || all.Load() < 10 {
		t.Errorf("%d of %d operations failed", failed.Load(), all.Load())
	}
	if got := s.invocations(); got != runs {
		t.Errorf("units were restarted:\nbefore:\n%s\nafter:\n%s", runs, got)
	}
	t.Logf("%d renewals, %d operations", renewals, all.Load())
}

// stream uploads what comes in one request that takes as long as that does.
func (s *site) stream(body io.Reader) error {
	begin := request("/v2/team/slow/blobs/uploads/")
	begin.Method = http.MethodPost
	answer, err := machine.Do(s.transport, begin)
	if err != nil || answer.Status != http.StatusAccepted {
		return fmt.Errorf("POST: %d %w", answer.Status, err)
	}
	patch, err := http.NewRequest(http.MethodPatch, absolute(answer.Header.Get("Location")), body)
	if err != nil {
		return err
	}
	patch.SetBasicAuth("alice", alicePassword)
	patch.Header.Set("Content-Type", "application/octet-stream")
	resp, err := s.transport.RoundTrip(patch)
	if err != nil {
		return err
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusAccepted {
		return fmt.Errorf("PATCH: %s", resp.Status)
	}
	return nil
}
