package config

import (
	"bytes"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/distribution/distribution/v3/configuration"
	"github.com/rogpeppe/go-internal/txtar"
	yamlv2 "go.yaml.in/yaml/v2"
	"go.yaml.in/yaml/v3"
)

// everyCase calls f for each case of testdata.
func everyCase(t testing.TB, f func(name string, c testCase)) {
	t.Helper()
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatal("no cases", err)
	}
	for _, file := range files {
		archive, err := txtar.ParseFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range casesOf(file, archive) {
			f(filepath.Base(file)+" "+c.want, c)
		}
	}
}

// TestEveryKeyHasCases wants an archive for each key of the types.
func TestEveryKeyHasCases(t *testing.T) {
	for _, key := range Keys() {
		file := "testdata/" + strings.ReplaceAll(key, "[]", "-item") + ".txtar"
		archive, err := txtar.ParseFile(file)
		if err != nil {
			t.Errorf("%s has no cases: %v", key, err)
			continue
		}
		leaf := key[strings.LastIndexAny(key, ".]")+1:]
		used := false
		for _, f := range archive.Files {
			used = used || bytes.Contains(f.Data, []byte(leaf))
		}
		if !used {
			t.Errorf("%s does not use its key", file)
		}
	}
}

// TestTenMistakes finds ten different mistakes in one file at their lines.
func TestTenMistakes(t *testing.T) {
	data, err := os.ReadFile("testdata/documents.txtar")
	if err != nil {
		t.Fatal(err)
	}
	document := []byte(section(txtar.Parse(data), "ten.yaml"))
	_, _, report := Parse([]Layer{{Name: "user-data", Data: document}})
	want := map[string]int{"hostname": 3, "aliases[1]": 4, "nodes": 5, "listen.httpsPort": 7, "listen.drainTimeout": 8, "tls.mod": 10,
		"tls.minVersion": 11, "auth.users[0].name": 14, "auth.users[0].passwordHash": 15, "auth.users[1].name": 16,
		"storage.s3": 18, "storage.s3.buket": 18, "storage.s3.region": 18, "log.level": 19}
	for _, e := range report.Errors() {
		if want[e.Path] != e.Line {
			t.Errorf("%s: want line %d", e, want[e.Path])
		}
		delete(want, e.Path)
	}
	for path, line := range want {
		t.Errorf("%s on line %d is not found", path, line)
	}
}

// TestNoSecretIsShown parses every case, whose secrets have secretvalue in
// them or are hashes, and looks for one in the messages and what Show prints.
func TestNoSecretIsShown(t *testing.T) {
	t.Parallel()
	secret := regexp.MustCompile(`(?i)secretvalue|s3cretvalue|\$2[a-z]\$[0-9]|p@ss`)
	tried := 0
	everyCase(t, func(name string, c testCase) {
		var text string
		for _, l := range c.layers {
			if secret.Match(l.Data) {
				tried++
			}
		}
		cfg, origins, report := Parse(c.layers)
		out, err := cfg.Show(origins)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		text = report.Show(Colors{})
		if report.Err() == nil { // else what is shown is not the configuration
			text += string(out)
		}
		text = strings.ReplaceAll(text, "$2y$, $2b$ or $2a$", "")
		if found := secret.FindString(text); found != "" {
			t.Errorf("%s: shows %s:\n%s", name, found, text)
		}
	})
	if tried < 40 {
		t.Errorf("only %d cases have a secret", tried)
	}
}

// TestDocumentRoundTrip writes each valid configuration and reads it again.
func TestDocumentRoundTrip(t *testing.T) {
	t.Parallel()
	everyCase(t, func(name string, c testCase) {
		cfg, _, report := Parse(c.layers)
		if report.Err() != nil {
			return
		}
		document, err := cfg.Document()
		if err != nil {
			t.Fatal(err)
		}
		again, _, report := Parse([]Layer{{Name: "last-good", Data: document}})
		if report.Err() != nil || !sameConfig(cfg, again) {
			t.Errorf("%s: not the same when read again: %v\n%s", name, report.Err(), document)
		}
	})
}

// sameConfig compares two configurations; an empty list is as good as none.
func sameConfig(a, b Config) bool {
	x, errX := a.Document()
	y, errY := b.Document()
	return errX == nil && errY == nil && bytes.Equal(x, y) && reflect.DeepEqual(a.Overlay(), b.Overlay())
}

// TestOverlayIsDistributions lays the overlay of each valid case on a minimal
// config.yml and gives it to distribution's own parser and, with unknown keys
// refused, to its types.
func TestOverlayIsDistributions(t *testing.T) {
	t.Parallel()
	tried := 0
	everyCase(t, func(name string, c testCase) {
		cfg, _, report := Parse(c.layers)
		if report.Err() != nil || len(cfg.Overlay()) == 0 {
			return
		}
		tried++
		driver := map[string]any{"filesystem": map[string]any{"rootdirectory": "/tmp"}}
		if cfg.Storage.S3 != nil {
			driver = map[string]any{"s3": map[string]any{"bucket": cfg.Storage.S3.Bucket}}
		}
		base := map[string]any{"version": "0.1", "storage": driver}
		data, err := yamlv2.Marshal(MergePatch(base, cfg.Overlay()))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := configuration.Parse(bytes.NewReader(data)); err != nil {
			t.Errorf("%s: distribution refuses it: %v\n%s", name, err, data)
		}
		strict := yaml.NewDecoder(bytes.NewReader(data))
		strict.KnownFields(true)
		if err := strict.Decode(&configuration.Configuration{}); err != nil {
			t.Errorf("%s: unknown to distribution: %v\n%s", name, err, data)
		}
	})
	if tried < 8 {
		t.Errorf("only %d overlays were tried", tried)
	}
}

func TestOverlay(t *testing.T) {
	cfg, _, report := Parse([]Layer{{Name: "user-data", Data: []byte(`redoubt:
  hostname: registry.example.com
  environment:
    - {name: REGISTRY_STORAGE_MAINTENANCE_READONLY_ENABLED, value: "true"}
    - {name: REGISTRY_NOTIFICATIONS_ENDPOINTS_1_NAME, value: "012"}
    - {name: REGISTRY_NOTIFICATIONS_ENDPOINTS_0_NAME, value: first}
    - {name: REGISTRY_HTTP_HEADERS_X-Frame-Options, value: "[deny]"}
    - {name: REGISTRY_LOG_FIELDS_Site_name, value: zrh}
    - {name: REGISTRY_LOG_LEVEL, value: debug}
    - {name: REGISTRY_CATALOG_MAXENTRIES, value: "7"}
    - {name: REGISTRY_HEALTH_TCP, value: "[{addr: 'a:1', timeout: 3s}]"}
  registry:
    log: {level: warn}
    catalog: {maxentries: null}
`)}})
	if report.Err() != nil {
		t.Fatal(report)
	}
	want := map[string]any{
		"storage": map[string]any{"maintenance": map[string]any{"readonly": map[string]any{"enabled": true}}},
		"notifications": map[string]any{"endpoints": []any{
			map[string]any{"name": "first"}, map[string]any{"name": "012"}}},
		"http":    map[string]any{"headers": map[string]any{"X-Frame-Options": []any{"deny"}}},
		"log":     map[string]any{"fields": map[string]any{"Site_name": "zrh"}, "level": "warn"},
		"catalog": map[string]any{"maxentries": nil},
		"health":  map[string]any{"tcp": []any{map[string]any{"addr": "a:1", "timeout": "3s"}}},
	}
	if got := cfg.Overlay(); !reflect.DeepEqual(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
	base := map[string]any{"catalog": map[string]any{"maxentries": 1000}, "log": map[string]any{"formatter": "json"}}
	merged := MergePatch(base, cfg.Overlay())
	if !reflect.DeepEqual(merged["catalog"], map[string]any{}) {
		t.Errorf("null did not take away: %v", merged["catalog"])
	}
	if !reflect.DeepEqual(base["catalog"], map[string]any{"maxentries": 1000}) {
		t.Error("MergePatch changed its argument")
	}
}

func TestEnvironmentAndSettings(t *testing.T) {
	layers, report := Environment([]string{"HOME=/root", "REDOUBT_LISTEN_HTTPSPORT=8443", "REDOUBT_TLS_MINVERSION=1.3",
		"REDOUBT_ALIASES=[b.example.com]", "REDOUBT_LISTEN_DRAINTIMEOUT=90s", "REDOUBT_HOSTNME=x", "REDOUBT_LISTEN_HTTP2=maybe"})
	if got := report.String(); got != "REDOUBT_HOSTNME: warning: no key has this name; it is not used (did you mean \"REDOUBT_HOSTNAME\"?)\n" {
		t.Error(got)
	}
	set, report := Settings("--set", []string{"log.level=debug", "log.levl=x", "hostname", "auth.users[].name=a"})
	if got := report.String(); got != "--set: log.levl: unknown key (did you mean \"log.level\"?)\n"+
		"--set: write KEY=VALUE, such as tls.minVersion=1.3\n--set: …: unknown key (did you mean \"auth.users[].name\"?)\n" {
		t.Error(got)
	}
	layers = append([]Layer{{Name: "user-data", Data: []byte("redoubt: {hostname: a.example.com, listen: {httpPort: 8080}}")}}, append(layers, set...)...)
	cfg, origins, report := Parse(layers)
	if got := report.Errors().String(); got != "REDOUBT_LISTEN_HTTP2: listen.http2: must be true or false\n" {
		t.Error(got)
	}
	if cfg.Listen.HTTPSPort != 8443 || cfg.Listen.HTTPPort != 8080 || cfg.TLS.MinVersion != "1.3" || cfg.Log.Level != "debug" ||
		len(cfg.Aliases) != 1 || cfg.Listen.DrainTimeout.Seconds() != 90 {
		t.Errorf("%+v", cfg)
	}
	if at := origins.At("listen.httpsPort"); at.File != "REDOUBT_LISTEN_HTTPSPORT" {
		t.Error(at)
	}
	if at := origins.At("listen.headers[0].name"); at.File != "user-data" || at.Line != 1 {
		t.Error(at) // the nearest group that was written
	}
}

// TestNoBreakSpaceInText wants one in a text of cloud-init's to be left alone.
func TestNoBreakSpaceInText(t *testing.T) {
	const document = "#cloud-config\nwrite_files:\n- path: /a\n  content: |\n    a\n    \u00a0b\nredoubt: {hostname: a.example.com}\n"
	if _, _, report := Parse([]Layer{{Name: "user-data", Data: []byte(document)}}); report.Err() != nil {
		t.Error(report)
	}
}

// The defaults are read once, and nobody's change of them reaches the next document.
func TestDefaultsAreNobodysToChange(t *testing.T) {
	first := defaultValue()
	headers := first.get("listen", "headers")
	headers.items[0].removes, headers.items = true, nil
	first.get("tls").set("mode", &value{scalar: "changed"})
	first.set("strange", newGroup(Origin{}))
	if again := defaultValue(); again.get("strange") != nil || again.get("tls", "mode").scalar == "changed" || len(again.get("listen", "headers").items) == 0 ||
		again.get("listen", "headers").items[0].removes {
		t.Errorf("the defaults were changed: %v", again.plain())
	}
}
