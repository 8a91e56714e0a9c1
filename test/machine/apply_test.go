//go:build machine

package machine_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"filippo.io/age"

	"github.com/redoubt-registry/redoubt/test/machine"
	"github.com/redoubt-registry/redoubt/units"
)

// rendered lists every rendered file with what shows a write: inode, time, mode, owner. The
// registry empties the inbox of the audit log by itself.
const rendered = `find /run/redoubt /run/systemd/system /run/issue.d /run/motd.d /var/lib/redoubt -xdev \( -path /run/redoubt/renew.json -o -path /var/lib/redoubt/registry -o -path /var/lib/redoubt/health -o -path /var/lib/redoubt/audit -o -path /var/lib/redoubt/etc \) -prune -o -type f -printf '%p %i %T@ %m %u:%g\n' | sort`

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
	s.run("a header needs no restart", func(t *testing.T, s *site) {
		runs := s.invocations()
		s.configure("10-header.yaml", "redoubt: {listen: {headers: [{name: X-Site, values: [north]}]}}\n")
		s.mustApply()
		answer, err := machine.Do(s.transport, request("/v2/"))
		if err != nil || answer.Header.Get("X-Site") != "north" {
			t.Errorf("%v %+v", err, answer)
		}
		if got := s.invocations(); got != runs {
			t.Errorf("units were restarted:\nbefore:\n%s\nafter:\n%s", runs, got)
		}
	})
	s.run("a user more, and less", func(t *testing.T, s *site) {
		runs := s.invocations()
		logsIn := func(password string) bool {
			req := request("/v2/")
			req.SetBasicAuth("david", password)
			answer, err := machine.Do(s.transport, req)
			return err == nil && answer.Status == http.StatusOK
		}
		s.Run("sh", "-c", "printf 'david-S3cr3t\\n' | redoubt user add david | head -n 0")
		if !logsIn("david-S3cr3t") {
			t.Error("david cannot log in")
		}
		s.mustServe("with a user more") // as alice
		if list := s.Run("redoubt", "user", "list"); !strings.Contains(list, "david  /etc/redoubt/config.d/users.yaml:") || !strings.Contains(list, "user-data:") {
			t.Errorf("the list:\n%s", list)
		}
		s.Run("redoubt", "user", "remove", "david")
		if logsIn("david-S3cr3t") {
			t.Error("david can still log in")
		}
		if got := s.invocations(); got != runs {
			t.Errorf("units were restarted:\nbefore:\n%s\nafter:\n%s", runs, got)
		}
	})
	s.run("a collection by its unit", func(t *testing.T, s *site) {
		if state := s.Property(units.GCTimer, "ActiveState"); state != "active" {
			t.Errorf("the timer is %s", state)
		}
		s.Run("systemctl", "start", units.GC)
		if result := s.Property(units.GC, "Result"); result != "success" {
			t.Errorf("it ended with %s", result)
		}
		if out := s.Run("redoubt", "status"); !strings.Contains(out, "last gc") {
			t.Errorf("status does not say that it ran:\n%s", out)
		}
		s.mustPull(ref, image)
	})
	s.run("a timer that was stopped", func(t *testing.T, s *site) {
		s.Run("systemctl", "stop", units.HealthTimer)
		s.mustApply()
		if state := s.Property(units.HealthTimer, "ActiveState"); state != "active" {
			t.Errorf("the timer is %s", state)
		}
	})
	s.run("another port", func(t *testing.T, s *site) {
		s.configure("20-ports.yaml", "redoubt: {listen: {httpsPort: 8443, httpPort: 8080}}\n")
		s.mustApply()
		req := request("/v2/")
		req.URL.Host += ":8443"
		if answer, err := machine.Do(s.transport, req); err != nil || answer.Status != http.StatusOK {
			t.Errorf("%v %+v", err, answer)
		}
		if got := s.Run("ss", "-Hltn"); strings.Contains(got, ":443 ") || strings.Contains(got, ":80 ") {
			t.Errorf("the old ports still listen:\n%s", got)
		}
		s.Run("rm", "/etc/redoubt/config.d/20-ports.yaml")
		s.mustApply()
		s.mustServe("back on the usual port")
	})
	s.run("another storage root", func(t *testing.T, s *site) {
		s.configure("30-storage.yaml", "redoubt: {storage: {filesystem: {root: /srv/images}}}\n")
		for _, args := range [][]string{{"apply", "--dry-run"}, {"apply"}} {
			out, err := s.TryRun(append([]string{"redoubt"}, args...)...)
			if err == nil || !strings.Contains(out, "→ a directory, empty") || !strings.Contains(out, "would be hidden") || !strings.Contains(out, "30-storage.yaml:1:") {
				t.Errorf("%v: images would be hidden: %v\n%s", args, err, out)
			}
			s.mustPull(ref, image)
		}
		s.Run("redoubt", "apply", "--accept-empty-storage")
		if answer, err := machine.Do(s.transport, manifests()); err != nil || answer.Status != http.StatusNotFound {
			t.Errorf("the image of the old root: %v %d", err, answer.Status)
		}
		there, other := s.push("team/other:v1", 1)
		s.mustPull(there, other)
		s.Run("test", "-d", "/srv/images/docker/registry")
		s.Run("rm", "/etc/redoubt/config.d/30-storage.yaml")
		s.Run("redoubt", "apply", "--accept-empty-storage")
		s.mustPull(ref, image)
	})
	s.run("no Redis", func(t *testing.T, s *site) {
		s.configure("40-cache.yaml", "redoubt: {cache: {type: memory}}\n")
		s.mustApply()
		if state := s.Property(units.Redis, "ActiveState"); state != "inactive" {
			t.Errorf("Redis is %s", state)
		}
		s.mustPull(ref, image)
		s.Run("rm", "/etc/redoubt/config.d/40-cache.yaml")
		s.mustApply()
		if state := s.Property(units.Redis, "ActiveState"); state != "active" {
			t.Errorf("Redis is %s", state)
		}
		s.mustPull(ref, image)
	})
	s.run("valid but unhealthy", func(t *testing.T, s *site) {
		files := s.Run("sh", "-c", rendered)
		// Somebody else has this port.
		s.Run("systemd-run", "--quiet", "--unit=squatter", "systemd-socket-activate", "--listen=9443", "cat")
		s.Eventually("the port is taken", func() bool { return strings.Contains(s.Run("ss", "-Hltn"), ":9443 ") })
		s.configure("90-taken.yaml", "redoubt: {listen: {httpsPort: 9443}}\n")
		if out, err := s.apply(); err == nil || !strings.Contains(out, units.RegistrySocket) {
			t.Errorf("apply with a taken port: %v\n%s", err, out)
		}
		s.mustServe("after the rollback")
		s.mustPull(ref, image)
		s.Run("rm", "/etc/redoubt/config.d/90-taken.yaml")
		s.mustApply()
		if got := content(files); content(s.Run("sh", "-c", rendered)) != got {
			t.Errorf("the rollback left something:\nbefore:\n%s\nafter:\n%s", files, s.Run("sh", "-c", rendered))
		}
	})
	s.run("invalid later", func(t *testing.T, s *site) {
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
		s.mustServe("with the file fixed")
	})
	s.run("nobody confirms", func(t *testing.T, s *site) {
		realm := func() string {
			req := request("/v2/")
			req.Header.Del("Authorization")
			answer, err := machine.Do(s.transport, req)
			if err != nil {
				t.Fatal(err)
			}
			return strings.Join(answer.Header.Values("WWW-Authenticate"), ", ")
		}
		usual := realm()
		s.configure("60-realm.yaml", "redoubt: {auth: {realm: On trial}}\n")
		if out, err := s.apply("--confirm", "10s"); err != nil || !strings.Contains(out, "redoubt confirm") {
			t.Errorf("apply --confirm: %v\n%s", err, out)
		}
		if got := realm(); got == usual {
			t.Errorf("nothing is on trial: %s", got)
		}
		s.Eventually("the realm before comes back", func() bool { return realm() == usual })
		s.Eventually("the service has ended", func() bool { return s.Property(units.Confirm, "ActiveState") == "inactive" })
		if history := s.Run("redoubt", "history"); !strings.Contains(history, "auth.realm: Redoubt → On trial") || !strings.Contains(history, "again (in force)") {
			t.Errorf("the history:\n%s", history)
		}
		s.Run("systemctl", "restart", units.Apply) // as a boot does
		if got := realm(); got != usual {
			t.Errorf("after a boot: %s", got)
		}
		s.mustApply()
		if got := realm(); got == usual {
			t.Errorf("an apply by hand takes up the documents: %s", got)
		}
		s.Run("redoubt", "rollback")
		if got := realm(); got != usual {
			t.Errorf("after a rollback: %s", got)
		}
		s.Run("rm", "/etc/redoubt/config.d/60-realm.yaml")
		s.mustApply()
		s.mustPull(ref, image)
	})
	s.run("no secret shows", noSecretShows)
	s.run("a backup by its unit, as docs/backup.md has it", func(t *testing.T, s *site) {
		key, err := age.GenerateX25519Identity()
		if err != nil {
			t.Fatal(err)
		}
		s.Run("install", "-d", "-m", "0700", "/mnt/backup/redoubt")
		s.Run("sh", "-c", "umask 077; echo "+key.String()+" >/run/backup.key")
		s.configure("60-backup.yaml", "redoubt: {backup: {to: {directory: /mnt/backup/redoubt}, recipients: ["+key.Recipient().String()+"]}}\n")
		s.mustApply()
		if state := s.Property(units.BackupTimer, "ActiveState"); state != "active" {
			t.Errorf("the timer is %s", state)
		}
		s.Run("systemctl", "start", units.Backup)
		if result := s.Property(units.Backup, "Result"); result != "success" {
			t.Errorf("it ended with %s", result)
		}
		s.Run("redoubt", "backup", "now")
		if out := s.Run("redoubt", "backup", "list"); strings.Count(out, "registry.example.com") != 2 {
			t.Errorf("the list:\n%s", out)
		}
		s.Run("redoubt", "backup", "verify")
		if out := s.Run("redoubt", "backup", "verify", "--from", "/mnt/backup/redoubt", "--identity", "/run/backup.key"); !strings.Contains(out, "tags need") {
			t.Errorf("verify:\n%s", out)
		}
		if out := s.Run("redoubt", "status"); !strings.Contains(out, "snapshots") {
			t.Errorf("status does not say that there is a backup:\n%s", out)
		}
		ca := s.Run("sha256sum", "/var/lib/redoubt/ca/ca.key")
		s.Run("redoubt", "restore", "--from", "/mnt/backup/redoubt", "--identity", "/run/backup.key", "--force")
		if now := s.Run("sha256sum", "/var/lib/redoubt/ca/ca.key"); now != ca {
			t.Error("the authority is another one")
		}
		s.mustPull(ref, image)
	})
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
// everywhere and serves nothing, and a fixed file recovers it without a reboot.
// A machine whose data partition is not there says so, and keeps its hands off
// what lies below the mount point.
func TestNoData(t *testing.T) {
	missing := machine.Plant{Path: "/etc/systemd/system/var-lib-redoubt.mount", Mode: 0o644,
		Data: []byte("[Mount]\nWhat=/nonexistent\nWhere=/var/lib/redoubt\nType=ext4\n")}
	m := machine.Boot(t, append(append(machine.Network(), missing), machine.Seed(userData(hash(t)))...)...)
	s := &site{t: t, Machine: m}
	s.awaitApply()
	s.transport = s.Stranger() // there is no CA to trust
	const reason = "the data partition: it is not mounted on /var/lib/redoubt"
	answer, err := s.Get(s.transport, at("/v2/"))
	if err != nil || answer.Status != http.StatusServiceUnavailable || !strings.Contains(answer.Body, reason) {
		t.Errorf("%v %+v", err, answer)
	}
	if !strings.Contains(s.Console(), reason) {
		t.Errorf("the console does not say so:\n%s", s.Console())
	}
	if out, err := s.TryRun("ls", "/var/lib/redoubt/ca"); err == nil {
		t.Errorf("there is a CA beside the partition: %s", out)
	}
}

func TestMaintenance(t *testing.T) {
	const wrong = `#cloud-config
redoubt:
  hostname: ` + hostname + `
  listen:
    drainTimout: 10s
  auth:
    users:
      - name: alice
        password: ` + alicePassword + `
        passwordHash: not-a-hash-` + bobPassword + `
`
	m := machine.Boot(t, append(machine.Network(), machine.Seed(wrong)...)...)
	s := &site{t: t, Machine: m, aliceHash: hash(t)}
	s.awaitApply()
	s.transport = s.Transport()
	says := func(t *testing.T, where, text string) {
		t.Helper()
		if !strings.Contains(text, "user-data:5:5") && !strings.Contains(text, "user-data, line 5, column 5") {
			t.Errorf("%s does not name the line:\n%s", where, text)
		}
		if !strings.Contains(text, "listen.drainTimout") {
			t.Errorf("%s does not name the key:\n%s", where, text)
		}
		for _, secret := range []string{alicePassword, bobPassword} {
			if strings.Contains(text, secret) {
				t.Errorf("%s shows a value:\n%s", where, text)
			}
		}
	}
	s.run("unit", func(t *testing.T, s *site) {
		if state := s.Property(units.Apply, "ActiveState"); state != "failed" {
			t.Errorf("%s is %s", units.Apply, state)
		}
	})
	s.run("journal", func(t *testing.T, s *site) {
		says(t, "the journal", s.Run("journalctl", "--no-pager", "--all", "-u", units.Apply))
	})
	s.run("console", func(t *testing.T, s *site) { says(t, "the console", s.Console()) })
	s.run("issue", func(t *testing.T, s *site) { says(t, "the issue file", s.Run("cat", "/run/issue.d/50-redoubt.issue")) })
	s.run("login prompt", func(t *testing.T, s *site) {
		says(t, "agetty", s.Run("script", "-qec", "agetty --show-issue", "/dev/null"))
	})
	s.run("motd", func(t *testing.T, s *site) { says(t, "the message of the day", s.Run("cat", "/run/motd.d/50-redoubt")) })
	s.run("API", func(t *testing.T, s *site) {
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
	s.run("page", func(t *testing.T, s *site) {
		answer, err := s.Get(s.transport, at("/"))
		if err != nil || answer.Status != http.StatusServiceUnavailable {
			t.Fatalf("%v %+v", err, answer)
		}
		says(t, "the page", answer.Body)
	})
	s.run("status", func(t *testing.T, s *site) {
		out, _ := s.TryRun("redoubt", "status")
		says(t, "redoubt status", out)
	})
	s.run("fixed", func(t *testing.T, s *site) {
		right := strings.Replace(userData(s.aliceHash), "#cloud-config\n", "", 1)
		s.Write("/etc/redoubt/config.yaml", right, 0o600)
		// The user-data is still wrong: it is the file of this machine's owner that
		// was fixed, and no value of it may be needed from elsewhere.
		s.Write("/var/lib/cloud/instance/user-data.txt", userData(s.aliceHash), 0o600)
		if out, err := s.apply(); err != nil {
			t.Fatalf("apply: %v\n%s", err, out)
		}
		s.mustServe("after the fix")
		ref, image := s.push("team/app:v1", 1)
		s.mustPull(ref, image)
		for _, gone := range []string{"/run/redoubt/maintenance.json", "/run/issue.d/50-redoubt.issue", "/run/motd.d/50-redoubt"} {
			if _, err := s.TryRun("test", "!", "-e", gone); err != nil {
				t.Errorf("%s is still there", gone)
			}
		}
	})
}
