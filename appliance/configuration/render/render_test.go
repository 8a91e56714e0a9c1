package render_test

import (
	"bytes"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/distribution/distribution/v3/configuration"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/redoubt-registry/redoubt/appliance/configuration/config"
	"github.com/redoubt-registry/redoubt/appliance/configuration/plan"
	"github.com/redoubt-registry/redoubt/appliance/configuration/render"
	"github.com/redoubt-registry/redoubt/appliance/configuration/tree"
	"github.com/redoubt-registry/redoubt/appliance/paths"
	"github.com/redoubt-registry/redoubt/appliance/registry/redis"
	"github.com/redoubt-registry/redoubt/appliance/storage/bucket"
	"github.com/redoubt-registry/redoubt/units"
)

var update = flag.Bool("update", false, "write what is rendered into testdata")

// facts are those of a machine whose users all have one hash.
func facts(cfg config.Config) render.Facts {
	f := render.Facts{HTTPSecret: "the-secret-of-this-machine", PasswordHashes: map[string]string{}}
	for _, u := range cfg.Auth.Users {
		f.PasswordHashes[u.Name] = "$2y$10$the.hash.of." + u.Name
	}
	for range cfg.TLS.ClientAuth.CAs {
		f.ClientCAs = append(f.ClientCAs, "a CA\n"...)
	}
	for range cfg.TLS.ClientAuth.CRLs {
		f.ClientCRLs = append(f.ClientCRLs, "a list\n"...)
	}
	if s3 := cfg.Storage.S3; s3 != nil {
		f.S3 = render.Keys{Access: "the-access-key", Secret: "the-secret-key"}
		f.S3CAs = []byte("a CA\n")
	}
	f.RedisPassword, f.RedisCAs = "the-password", []byte("a CA\n")
	f.SyslogCAs, f.MetricsCAs = []byte("the CA of syslog\n"), []byte("the CA of monitors\n")
	for _, n := range cfg.Notifications {
		f.Endpoints = append(f.Endpoints, render.Endpoint{URL: "the URL of " + n.Name, Secret: "the secret", Authorization: "the authorization", CAs: []byte("a CA\n")})
	}
	f.LDAPPassword, f.LDAPCAs = "the-password", []byte("a CA\n")
	f.ProxyPassword, f.ProxyCAs = "the-password", []byte("the CA of the proxy\n")
	return f
}

// TestGolden renders the user-data of each testdata/*.txtar. The archive holds
// what must come out: the warnings and errors as "report"; without errors also
// the plan of a first boot as "plan", and every file under its path.
func TestGolden(t *testing.T) {
	cases, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(cases) < 10 {
		t.Fatalf("%d cases, %v", len(cases), err)
	}
	for _, path := range cases {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(path)
			if err != nil {
				t.Fatal(err)
			}
			got := &txtar.Archive{Comment: archive.Comment, Files: archive.Files[:1]}
			cfg, _, report := config.Parse([]config.Layer{{Name: archive.Files[0].Name, Data: archive.Files[0].Data}})
			add := func(name, data string) {
				if data != "" {
					got.Files = append(got.Files, txtar.File{Name: name, Data: []byte(data)})
				}
			}
			add("report", report.String())
			if report.Err() == nil {
				files, err := render.Tree(cfg, facts(cfg))
				if err != nil {
					t.Fatal(err)
				}
				add("plan", plan.New(nil, files, nil).String())
				for _, f := range files {
					add(f.Path, string(f.Data))
				}
				check(t, files)
			}
			compare(t, path, txtar.Format(got))
		})
	}
}

func compare(t *testing.T, path string, got []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs (go test ./appliance/render -update writes it):\n%s", path, got)
	}
}

// check holds what is true of every tree: distribution itself reads the
// configuration, each secret is closed to others, and the paths are known.
func check(t *testing.T, files tree.Tree) {
	t.Helper()
	for _, f := range files {
		if f.Path == paths.RegistryYML {
			c, err := configuration.Parse(bytes.NewReader(f.Data))
			if err != nil {
				t.Errorf("distribution cannot read it: %v", err)
				continue
			}
			checkElsewhere(t, c, files)
		}
		mode := fs.FileMode(0o640)
		switch {
		case f.Path == paths.Credentials:
			mode = fs.ModeDir | 0o700
		case path.Dir(f.Path) == paths.Credentials:
			mode = 0o600
		case f.Path == paths.FirewallOpen || f.Path == paths.RedisConf: // nothing secret
			mode = 0o644
		case !strings.HasPrefix(f.Path, paths.Run):
			mode = f.Mode
		}
		if f.Mode != mode {
			t.Errorf("%s has mode %v", f.Path, f.Mode)
		}
		if mode == 0o640 && f.Group != "redoubt-registry" { // the cache is not in it
			t.Errorf("%s is of the group %q", f.Path, f.Group)
		}
		for _, secret := range []string{"the-access-key", "the-secret-key", "the-password"} {
			if mode != 0o600 && bytes.Contains(f.Data, []byte(secret)) {
				t.Errorf("%s has a secret that is a credential", f.Path)
			}
		}
		if !f.Mode.IsDir() && !slices.Contains(render.Paths(), f.Path) {
			t.Errorf("%s is not among Paths", f.Path)
		}
	}
}

// checkElsewhere gives what is said of a bucket and of Redis to those who read it.
func checkElsewhere(t *testing.T, c *configuration.Configuration, files tree.Tree) {
	t.Helper()
	if c.Storage.Type() == "s3" {
		if _, err := bucket.FromParameters(c.Storage.Parameters()); err != nil {
			t.Errorf("the bucket cannot be used: %v", err)
		}
		f, ok := files.Lookup(paths.Credentials + "/" + paths.S3Credential)
		file := filepath.Join(t.TempDir(), "credential")
		if err := os.WriteFile(file, f.Data, 0o600); err != nil || !ok {
			t.Fatalf("no credentials: %v", err)
		}
		if _, err := bucket.Credentials(c.Storage.Parameters(), file, "/nowhere"); err != nil {
			t.Errorf("the credentials cannot be used: %v", err)
		}
	}
	if c.Storage["cache"]["blobdescriptor"] == "redis" {
		server, err := redis.New(c.Redis)
		if err != nil || server.Shared() != !strings.HasPrefix(c.Redis.Options.Addrs[0], "/") {
			t.Errorf("Redis cannot be used: %v", err)
		}
	}
}

// TestEveryKeyHasACase holds that each key of the schema is in some case.
func TestEveryKeyHasACase(t *testing.T) {
	cases, err := filepath.Glob("testdata/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	index := regexp.MustCompile(`\[\d+\]`)
	covered := map[string]bool{}
	for _, path := range cases {
		archive, err := txtar.ParseFile(path)
		if err != nil {
			t.Fatal(err)
		}
		_, origins, _ := config.Parse([]config.Layer{{Name: archive.Files[0].Name, Data: archive.Files[0].Data}})
		for p, at := range origins {
			covered[index.ReplaceAllString(p, "[]")] = true
			covered[at.Path] = true // auth.htpasswd becomes users
		}
	}
	for _, key := range config.Keys() {
		if !covered[key] {
			t.Errorf("no case in testdata has %s", key)
		}
	}
}

func TestAUserWithoutAHashIsAnError(t *testing.T) {
	cfg, _, report := config.Parse([]config.Layer{{Name: "user-data", Data: []byte(
		"hostname: a.example.com\nauth: {users: [{name: alice, password: hunter2}]}\n")}})
	if err := report.Err(); err != nil {
		t.Fatal(err)
	}
	_, err := render.Tree(cfg, render.Facts{})
	if err == nil || err.Error() != "cannot render the user alice: there is no hash of the password" {
		t.Errorf("got %v", err)
	}
}

// What config lets through and distribution cannot read is an error here, not a
// panic in the registry, and shows no value.
func TestAnOverlayThatDoesNotFit(t *testing.T) {
	for _, overlay := range []map[string]any{
		{"version": "0.9"},
		{"storage": nil},
		{"storage": map[string]any{"s3": map[string]any{"chunksize": 1}}},
		{"http": map[string]any{"draintimeout": "hunter2"}},
		{"htpp": map[string]any{}},
		{"tags": map[string]any{"maxtags": -1}},
		{"log": map[string]any{"level": map[string]any{"hunter2": "hunter2"}}},
	} {
		cfg, _, report := config.Parse([]config.Layer{{Name: "user-data", Data: []byte("hostname: a.example.com\n")}})
		if err := report.Err(); err != nil {
			t.Fatal(err)
		}
		cfg.Registry = overlay
		_, err := render.Tree(cfg, facts(cfg))
		if err == nil || !strings.HasPrefix(err.Error(), "cannot use the registry: or environment: overlay: ") {
			t.Errorf("%v: got %v", overlay, err)
		}
		if err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%v: a value in %v", overlay, err)
		}
	}
}

func TestMaintenance(t *testing.T) {
	report := config.Report{
		{File: "user-data", Line: 3, Column: 5, Path: "tls.mode", Message: "unknown key \\4\x1b[31m"},
		{File: "user-data", Line: 4, Column: 1, Message: "only a warning", Warning: true},
	}
	files, err := render.Maintenance("registry.example.com", report)
	if err != nil {
		t.Fatal(err)
	}
	got := &txtar.Archive{Comment: []byte("What a machine without a usable configuration says.\n")}
	for _, f := range files {
		got.Files = append(got.Files, txtar.File{Name: f.Path, Data: f.Data})
		if f.Mode != 0o644 || !slices.Contains(render.Paths(), f.Path) {
			t.Errorf("%s: mode %v", f.Path, f.Mode)
		}
	}
	got.Files = append(got.Files, txtar.File{Name: "plan", Data: []byte(plan.New(nil, files, nil).String())})
	compare(t, "testdata/maintenance/notice.txtar", txtar.Format(got))
}

// What is only rendered where it differs from the unit's own is what the unit has.
func TestTheUnitsInterval(t *testing.T) {
	timer, err := units.Files.ReadFile(units.HealthTimer)
	if err != nil {
		t.Fatal(err)
	}
	cfg, _, _ := config.Parse([]config.Layer{{Name: "user-data", Data: []byte("hostname: a.example.com\n")}})
	if want := fmt.Sprintf("\nOnUnitInactiveSec=%gs\n", cfg.Health.Storage.Interval.Seconds()); !strings.Contains(string(timer), want) {
		t.Errorf("%s has another interval than the default %q", units.HealthTimer, want)
	}
}
