//go:build machine

package machine_test

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/redoubt-registry/redoubt/test/machine"
	"github.com/redoubt-registry/redoubt/units"
)

// cloudInits are cloud-init's own copies of the user-data, which it keeps on the
// disk: docs/secrets.md says so, and how to have no secret there.
var cloudInits = regexp.MustCompile(`^/var/lib/cloud/`)

// memory is where secrets may be: in files of root's, or of the registry's group,
// that are gone with the machine's memory.
var memory = regexp.MustCompile(`^/run/(redoubt/|cloud-init/|credentials/)`)

// noSecret looks for secrets where everybody looks, and on the disk.
func noSecret(t *testing.T, s *site, secrets []string) {
	t.Helper()
	s.Write("/run/test-secrets", strings.Join(secrets, "\n")+"\n", 0o600)
	defer s.Run("rm", "/run/test-secrets")
	for where, script := range map[string]string{
		"an argument":      `for f in /proc/[0-9]*/cmdline; do tr '\0' '\n' <$f 2>/dev/null; done`,
		"an environment":   `for f in /proc/[0-9]*/environ; do tr '\0' '\n' <$f 2>/dev/null; done`,
		"the journal":      `journalctl --sync; journalctl --namespace=access --sync; journalctl --namespace="*" --all --output=export --no-pager`,
		"a unit":           `systemctl show '*' --all --no-pager`,
		"status":           `redoubt status --json; redoubt show --origin`,
		"the kernel's log": `dmesg 2>/dev/null`,
	} {
		out, err := s.TryRun("bash", "-c", `set -o pipefail; { `+script+`; } | tee /run/test-looked | grep --text --fixed-strings --file=/run/test-secrets`)
		if err == nil {
			t.Errorf("a secret is in %s, in %d bytes", where, len(out))
		}
		if size := s.Run("stat", "--format=%s", "/run/test-looked"); size == "0" && where != "the kernel's log" {
			t.Errorf("nothing was looked at for %s", where)
		}
		s.Run("rm", "/run/test-looked")
	}
	s.Run("sync")
	for _, path := range holders(s, "/") {
		if cloudInits.MatchString(path) {
			t.Logf("cloud-init's: %s", path)
			continue
		}
		t.Errorf("a secret is on the disk: %s", path)
	}
	for _, path := range holders(s, "/run") {
		mode := s.Run("stat", "--format=%A %U %G", path)
		if !memory.MatchString(path) || !strings.HasSuffix(strings.Fields(mode)[0], "---") {
			t.Errorf("a secret is in %s, %s", path, mode)
			continue
		}
		t.Logf("in memory: %s %s", path, mode)
	}
}

// holders are the files of one file system that hold a secret.
func holders(s *site, dir string) []string {
	s.t.Helper()
	out, err := s.TryRun("bash", "-c", `find "$1" -xdev -type f ! -path /run/test-secrets -print0 | xargs -0 grep --text --files-with-matches --fixed-strings --file=/run/test-secrets`, "bash", dir)
	if err == nil || strings.TrimSpace(out) != "" || strings.Contains(err.Error(), "exit status 123") { // 123: some of grep's calls found nothing
		paths := strings.Fields(out)
		slices.Sort(paths)
		return paths
	}
	s.t.Fatalf("cannot look through %s: %v\n%s", dir, err, out)
	return nil
}

// TestNoSecret holds that the keys of a bucket, of the user-data, are where the
// registry needs them and nowhere else.
func TestNoSecret(t *testing.T) {
	lan, _, files := cloud(t)
	store, _, text := bucketOn(t, lan)
	u := store.NewUser(t)
	s := &site{t: t, aliceHash: hash(t)}
	files = append(files, machine.Seed(userData(s.aliceHash)+"  storage: {s3: {"+text+", accessKey: "+u.AccessKey+", secretKey: "+u.SecretKey+"}}\n")...)
	s.Machine = lan.Boot(1, files...)
	s.awaitApply()
	s.transport = s.Transport()
	s.mustServe("after boot")
	secrets := []string{u.SecretKey, bobPassword, httpSecret}
	// The search finds what is there to be found.
	s.Write("/run/test-secrets", u.SecretKey+"\n", 0o600)
	s.Write("/var/tmp/planted", "x"+u.SecretKey+"y", 0o600)
	if found := holders(s, "/"); !slices.Contains(found, "/var/tmp/planted") {
		t.Errorf("the search does not find what was planted: %q", found)
	}
	s.Run("rm", "/var/tmp/planted")
	r, image := s.push("team/keys:1", 2)
	s.mustPull(r, image)
	s.configure("log.yaml", "redoubt: {log: {level: debug}}\n")
	s.mustApply()
	r, image = s.push("team/keys:2", 2)
	s.mustPull(r, image)
	s.Run("systemctl", "restart", "redoubt-registry.service")
	s.TryRun("redoubt", "apply", "--dry-run") // what it prints is looked at
	noSecret(t, s, secrets)
}

// asUnit is a command with the user and the groups of a unit's process.
func asUnit(s *site, unit string) []string {
	s.t.Helper()
	ids := map[string][]string{}
	for line := range strings.Lines(s.Run("cat", "/proc/"+s.Property(unit, "MainPID")+"/status")) {
		if key, value, ok := strings.Cut(line, ":"); ok {
			ids[key] = strings.Fields(value)
		}
	}
	if len(ids["Uid"]) != 4 || len(ids["Gid"]) != 4 {
		s.t.Fatalf("%s has no process to look at", unit)
	}
	as := []string{"setpriv", "--reuid=" + ids["Uid"][1], "--regid=" + ids["Gid"][1]} // the effective ones
	if groups := ids["Groups"]; len(groups) > 0 {
		return append(as, "--groups="+strings.Join(groups, ","))
	}
	return append(as, "--clear-groups")
}

// cacheReadsNoSecret holds that a fault in Redis gives away nothing of the
// registry's, and that the two still reach each other.
func cacheReadsNoSecret(t *testing.T, s *site) {
	const socket = "/run/redoubt-redis/redis.sock"
	redis, registry := asUnit(s, units.Redis), asUnit(s, units.Registry)
	stranger := []string{"setpriv", "--reuid=1000", "--regid=1000", "--clear-groups"}
	for _, may := range []struct {
		who  string
		as   []string
		does []string
		want bool
	}{
		{"Redis", redis, []string{"cat", "/run/redoubt/registry.yml"}, false},
		{"Redis", redis, []string{"cat", "/run/redoubt/htpasswd"}, false},
		{"Redis", redis, []string{"ls", "/var/lib/redoubt/registry"}, false},
		{"Redis", redis, []string{"cat", "/run/redoubt/redis.conf"}, true},
		{"the registry", registry, []string{"cat", "/run/redoubt/registry.yml"}, true},
		{"the registry", registry, []string{"cat", "/run/redoubt/htpasswd"}, true},
		{"the registry", registry, []string{"test", "-w", socket}, true},
		{"a stranger", stranger, []string{"test", "-w", socket}, false},
	} {
		if out, err := s.TryRun(append(may.as, may.does...)...); (err == nil) != may.want {
			t.Errorf("%s (%q) does %q: %v, want it to work: %t\n%.200s", may.who, may.as, may.does, err, may.want, out)
		}
	}
	ref, image := s.push("team/cached:v1", 2)
	// A busy machine may be too slow for the cache once, and leave it out for a while.
	s.Eventually("the registry finds something in the cache", func() bool {
		s.mustPull(ref, image)
		out := metrics(s)
		return strings.Contains(out, "\nredoubt_cache_breaker_open 0\n") && !strings.Contains(out, "\nredoubt_cache_hits_total 0\n")
	})
}
