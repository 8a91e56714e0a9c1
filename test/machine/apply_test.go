package machine_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/redoubt-registry/redoubt/test/machine"
	"github.com/redoubt-registry/redoubt/units"
)

// rendered lists every file of ours with what tells a write: inode, time, digest.
const rendered = `find /run/redoubt /run/systemd/system /run/issue.d /run/motd.d /var/lib/redoubt -xdev \( -path /var/lib/redoubt/registry -prune \) -o -type f -printf '%p %i %T@ %m %u:%g\n' | sort`

// TestApplyAgain holds that a second apply changes nothing: no file, no unit, also
// with a password in plain text, which is hashed once and for all.
func TestApplyAgain(t *testing.T) {
	s := boot(t)
	files, runs := s.Run("sh", "-c", rendered), s.invocations()
	for range 2 {
		if out, err := s.apply(); err != nil {
			t.Fatalf("apply: %v\n%s", err, out)
		}
	}
	if got := s.Run("sh", "-c", rendered); got != files {
		t.Errorf("a second apply wrote files:\nbefore:\n%s\nafter:\n%s", files, got)
	}
	if got := s.invocations(); got != runs {
		t.Errorf("a second apply restarted units:\nbefore:\n%s\nafter:\n%s", runs, got)
	}
	if !strings.Contains(runs, units.Redis+" active") {
		t.Errorf("Redis does not run:\n%s", runs)
	}
}

// TestDryRun holds that a dry run says what it would do and does none of it.
func TestDryRun(t *testing.T) {
	s := boot(t)
	files, runs := s.Run("sh", "-c", rendered), s.invocations()
	s.configure("50-realm.yaml", "redoubt: {auth: {realm: Elsewhere}}\n")
	out, err := s.apply("--dry-run")
	if err != nil || !strings.Contains(out, "/run/redoubt/registry.yml") || !strings.Contains(out, units.Registry) {
		t.Errorf("apply --dry-run: %v\n%s", err, out)
	}
	if got := s.Run("sh", "-c", rendered); got != files {
		t.Errorf("a dry run wrote files:\nbefore:\n%s\nafter:\n%s", files, got)
	}
	if got := s.invocations(); got != runs {
		t.Errorf("a dry run restarted units:\nbefore:\n%s\nafter:\n%s", runs, got)
	}
}

// TestChanges carries a running machine through changes of its configuration.
func TestChanges(t *testing.T) {
	s := boot(t)
	ref, image := s.push("team/app:v1", 1)
	mustApply := func(t *testing.T) {
		t.Helper()
		if out, err := s.apply(); err != nil {
			t.Fatalf("apply: %v\n%s", err, out)
		}
	}
	t.Run("a header needs no restart", func(t *testing.T) {
		runs := s.invocations()
		s.configure("10-header.yaml", "redoubt: {listen: {headers: [{name: X-Site, values: [north]}]}}\n")
		mustApply(t)
		answer, err := machine.Do(s.transport, request("/v2/"))
		if err != nil || answer.Header.Get("X-Site") != "north" {
			t.Errorf("%v %+v", err, answer)
		}
		if got := s.invocations(); got != runs {
			t.Errorf("units were restarted:\nbefore:\n%s\nafter:\n%s", runs, got)
		}
	})
	t.Run("another port", func(t *testing.T) {
		s.configure("20-ports.yaml", "redoubt: {listen: {httpsPort: 8443, httpPort: 8080}}\n")
		mustApply(t)
		req := request("/v2/")
		req.URL.Host += ":8443"
		if answer, err := machine.Do(s.transport, req); err != nil || answer.Status != http.StatusOK {
			t.Errorf("%v %+v", err, answer)
		}
		if got := s.Run("ss", "-Hltn"); strings.Contains(got, ":443 ") || strings.Contains(got, ":80 ") {
			t.Errorf("the old ports still listen:\n%s", got)
		}
		s.Run("rm", "/etc/redoubt/config.d/20-ports.yaml")
		mustApply(t)
		s.mustServe("back on the usual port")
	})
	t.Run("another storage root", func(t *testing.T) {
		s.configure("30-storage.yaml", "redoubt: {storage: {filesystem: {root: /srv/images}}}\n")
		mustApply(t)
		if answer, err := machine.Do(s.transport, manifests()); err != nil || answer.Status != http.StatusNotFound {
			t.Errorf("the image of the old root: %v %d", err, answer.Status)
		}
		there, other := s.push("team/other:v1", 1)
		s.mustPull(there, other)
		s.Run("test", "-d", "/srv/images/docker/registry")
		s.Run("rm", "/etc/redoubt/config.d/30-storage.yaml")
		mustApply(t)
		s.mustPull(ref, image)
	})
	t.Run("no Redis", func(t *testing.T) {
		s.configure("40-cache.yaml", "redoubt: {cache: {type: memory}}\n")
		mustApply(t)
		if state := s.Property(units.Redis, "ActiveState"); state != "inactive" {
			t.Errorf("Redis is %s", state)
		}
		s.mustPull(ref, image)
		s.Run("rm", "/etc/redoubt/config.d/40-cache.yaml")
		mustApply(t)
		if state := s.Property(units.Redis, "ActiveState"); state != "active" {
			t.Errorf("Redis is %s", state)
		}
		s.mustPull(ref, image)
	})
	t.Run("valid but unhealthy", func(t *testing.T) {
		files := s.Run("sh", "-c", rendered)
		// The SSH server has this port.
		s.configure("90-taken.yaml", "redoubt: {listen: {httpsPort: 22}}\n")
		if out, err := s.apply(); err == nil || !strings.Contains(out, units.RegistrySocket) {
			t.Errorf("apply with a taken port: %v\n%s", err, out)
		}
		s.mustServe("after the rollback")
		s.mustPull(ref, image)
		s.Run("rm", "/etc/redoubt/config.d/90-taken.yaml")
		mustApply(t)
		if got := content(files); content(s.Run("sh", "-c", rendered)) != got {
			t.Errorf("the rollback left something:\nbefore:\n%s\nafter:\n%s", files, s.Run("sh", "-c", rendered))
		}
	})
	t.Run("invalid later", func(t *testing.T) {
		runs := s.invocations()
		s.configure("99-wrong.yaml", "redoubt:\n  tls:\n    mod: off\n")
		out, err := s.apply()
		if err == nil || !strings.Contains(out, "99-wrong.yaml:3:5: tls.mod") {
			t.Errorf("apply of a wrong file: %v\n%s", err, out)
		}
		s.mustServe("with a wrong file")
		// At a boot the unit says it, and the last good configuration serves.
		if out, err := s.TryRun("systemctl", "restart", units.Apply); err == nil {
			t.Errorf("%s did not fail:\n%s", units.Apply, out)
		}
		if state := s.Property(units.Apply, "ActiveState"); state != "failed" {
			t.Errorf("%s is %s", units.Apply, state)
		}
		s.mustServe("with a wrong file at boot")
		if got := s.invocations(); got != runs {
			t.Errorf("units were restarted:\nbefore:\n%s\nafter:\n%s", runs, got)
		}
		s.Run("rm", "/etc/redoubt/config.d/99-wrong.yaml")
		s.Run("systemctl", "restart", units.Apply)
		s.mustServe("with the file mended")
	})
	t.Run("no secret shows", func(t *testing.T) { noSecretShows(t, s) })
}

// content keeps of a listing what a rollback must bring back: paths, modes and
// owners, not the times of writing.
func content(listing string) string {
	var b strings.Builder
	for line := range strings.Lines(listing) {
		f := strings.Fields(line)
		if strings.HasPrefix(f[0], "/run/") {
			b.WriteString(f[0] + " " + f[3] + " " + f[4] + "\n")
		}
	}
	return b.String()
}

// TestMaintenance boots a machine with mistakes in its user-data: it says so
// everywhere and serves nothing, and a mended file recovers it without a reboot.
func TestMaintenance(t *testing.T) {
	const wrong = `#cloud-config
redoubt:
  hostname: ` + hostname + `
  tls:
    mod: internal-ca
  auth:
    users:
      - name: alice
        password: ` + alicePassword + `
        passwordHash: not-a-hash-` + bobPassword + `
`
	m := machine.Boot(t, append(machine.Network(), machine.Seed(wrong)...)...)
	s := &site{t: t, Machine: m, aliceHash: hash(t)}
	s.transport = s.Transport()
	says := func(t *testing.T, where, text string) {
		t.Helper()
		if !strings.Contains(text, "user-data:5:5: tls.mod") {
			t.Errorf("%s does not name line and key:\n%s", where, text)
		}
		for _, secret := range []string{alicePassword, bobPassword} {
			if strings.Contains(text, secret) {
				t.Errorf("%s shows a value:\n%s", where, text)
			}
		}
	}
	t.Run("unit", func(t *testing.T) {
		if state := s.Property(units.Apply, "ActiveState"); state != "failed" {
			t.Errorf("%s is %s", units.Apply, state)
		}
	})
	t.Run("journal", func(t *testing.T) {
		says(t, "the journal", s.Run("journalctl", "--no-pager", "--all", "-u", units.Apply))
	})
	t.Run("console", func(t *testing.T) { says(t, "the console", s.Console()) })
	t.Run("issue", func(t *testing.T) { says(t, "the issue file", s.Run("cat", "/run/issue.d/50-redoubt.issue")) })
	t.Run("motd", func(t *testing.T) { says(t, "the message of the day", s.Run("cat", "/run/motd.d/50-redoubt")) })
	t.Run("API", func(t *testing.T) {
		answer, err := s.Get(s.transport, at("/v2/"))
		if err != nil || answer.Status != http.StatusServiceUnavailable {
			t.Fatalf("%v %+v", err, answer)
		}
		var body struct {
			Errors []struct{ Code, Message string }
		}
		if err := json.Unmarshal([]byte(answer.Body), &body); err != nil || len(body.Errors) == 0 || body.Errors[0].Code == "" {
			t.Errorf("no OCI error body: %v: %s", err, answer.Body)
		}
		says(t, "/v2/", answer.Body)
	})
	t.Run("page", func(t *testing.T) {
		answer, err := s.Get(s.transport, at("/"))
		if err != nil || answer.Status != http.StatusServiceUnavailable {
			t.Fatalf("%v %+v", err, answer)
		}
		says(t, "the page", answer.Body)
	})
	t.Run("status", func(t *testing.T) {
		out, _ := s.TryRun("redoubt", "status")
		says(t, "redoubt status", out)
	})
	t.Run("mended", func(t *testing.T) {
		right := strings.Replace(userData(s.aliceHash), "#cloud-config\n", "", 1)
		s.Write("/etc/redoubt/config.yaml", right, 0o600)
		// The user-data is still wrong: it is the file of this machine's owner that
		// was mended, and no value of it may be needed from elsewhere.
		s.Write("/var/lib/cloud/instance/user-data.txt", userData(s.aliceHash), 0o600)
		if out, err := s.apply(); err != nil {
			t.Fatalf("apply: %v\n%s", err, out)
		}
		s.mustServe("after the mend")
		ref, image := s.push("team/app:v1", 1)
		s.mustPull(ref, image)
		for _, gone := range []string{"/run/redoubt/maintenance.json", "/run/issue.d/50-redoubt.issue", "/run/motd.d/50-redoubt"} {
			if _, err := s.TryRun("test", "!", "-e", gone); err != nil {
				t.Errorf("%s is still there", gone)
			}
		}
	})
}
