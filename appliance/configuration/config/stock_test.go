package config

import (
	"reflect"
	"strings"
	"testing"
)

// parseBody parses a document whose redoubt: key holds body beside a hostname.
func parseBody(body string) (Config, Report) {
	cfg, _, report := Parse([]Layer{{Name: "user-data", Data: []byte("redoubt:\n  hostname: registry.example.com\n" + body)}})
	return cfg, report
}

// A word of the stock registry among our own keys is answered with the key to use.
func TestStockNamesAmongOurKeys(t *testing.T) {
	for body, want := range map[string]string{
		"  storage: {s3: {bucket: images, region: eu-central-1, iamRole: true, regionendpoint: 'https://s3.example.com'}}\n": "storage.s3.regionendpoint: use storage.s3.endpoint, such as",
		"  storage: {s3: {bucket: images, region: eu-central-1, iamRole: true, rootdirectory: /a}}\n":                        "storage.s3.rootdirectory: use storage.s3.root, such as",
		"  storage: {s3: {bucket: images, region: eu-central-1, iamRole: true, chunksize: 5242880}}\n":                       "registry: {storage: {s3: {chunksize: …}}}",
		"  storage: {filesystem: {rootdirectory: /data}}\n":                                                                  "storage.filesystem.rootdirectory: leave it out, or use storage.filesystem.root",
		"  storage: {delete: {enabled: true}}\n":                                                                             "registry: {storage: {delete: …}}",
		"  tls: {clientcas: [a]}\n":                                                                                          "tls.clientcas: use tls.clientAuth",
		"  tls: {email: a@example.com}\n":                                                                                    "tls.email: use tls.acme.email",
		"  tls: {certificate: /a, key: /b}\n":                                                                                "tls.certificate: use tls.files.certificate",
		"  health: {storagedriver: {enabled: true}}\n":                                                                       "health.storagedriver: use health.storage",
		"  cache: {blobdescriptor: inmemory}\n":                                                                              "cache.blobdescriptor: use cache.type",
		"  cache: {redis: {addr: 'a:1'}}\n":                                                                                  "cache.redis.addr: use cache.redis.address",
		"  redis: {addr: 'a:1'}\n":                                                                                           "redis: leave it out: the machine has a Redis of its own",
		"  proxy: {remoteurl: 'https://registry-1.docker.io'}\n":                                                             "proxy.remoteurl: this version is no pull-through cache",
		"  http: {addr: ':5000'}\n":                                                                                          "http: leave it out: use hostname, listen and tls",
		"  version: 0.1\n":                                                                                                   "version: leave it out",
		"  validation: {disabled: true}\n":                                                                                   "registry: {validation: …}",
		"  log: {fields: {service: registry}}\n":                                                                             "log.fields: must be a list (- item), such as [{name: …, value: …}]",
	} {
		_, report := parseBody(body)
		if got := report.Errors().String(); !strings.Contains(got, want) || strings.Contains(got, "did you mean") {
			t.Errorf("%sgot  %swant %s", body, got, want)
		}
	}
}

// All that advice and natives name is written as stock's reader has it, in lower case,
// and each message shows something that can be done.
func TestAdviceIsComplete(t *testing.T) {
	for path, text := range advice {
		if path != strings.ToLower(path) || text == "" {
			t.Errorf("%s: %q", path, text)
		}
	}
	for path, entry := range natives {
		if !strings.HasPrefix(entry, "=") && advice[entry] == "" {
			t.Errorf("%s means %s, of which advice says nothing", path, entry)
		}
	}
}

// The forms of environment: that Compose and Kubernetes have all say the same.
func TestFormsOfEnvironment(t *testing.T) {
	forms := []string{
		"  environment: [{name: REGISTRY_STORAGE, value: filesystem}, {name: REGISTRY_LOG_LEVEL, value: debug}, {name: REGISTRY_STORAGE_DELETE_ENABLED, value: true}, {name: REGISTRY_STORAGE_FILESYSTEM_MAXTHREADS, value: 50}]\n",
		"  environment:\n    REGISTRY_STORAGE: filesystem\n    REGISTRY_LOG_LEVEL: DEBUG\n    REGISTRY_STORAGE_DELETE_ENABLED: yes\n    REGISTRY_STORAGE_FILESYSTEM_MAXTHREADS: 50\n",
		"  environment:\n    - REGISTRY_STORAGE_FILESYSTEM_MAXTHREADS=50\n    - REGISTRY_STORAGE=filesystem\n    - REGISTRY_LOG_LEVEL=debug\n    - REGISTRY_STORAGE_DELETE_ENABLED=true\n",
	}
	want := map[string]any{"log": map[string]any{"level": "debug"},
		"storage": map[string]any{"delete": map[string]any{"enabled": true}, "filesystem": map[string]any{"maxthreads": 50}}}
	for _, form := range forms {
		cfg, report := parseBody(form)
		if got := cfg.Overlay(); report.Err() != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s%v\ngot  %v\nwant %v", form, report.Err(), got, want)
		}
	}
}

// What Compose would take from its shell has no value here, and a whole that is no group
// cannot have parts.
func TestEnvironmentWithoutMeaning(t *testing.T) {
	for body, want := range map[string]string{
		"  environment:\n    REGISTRY_LOG_LEVEL:\n":  "user-data:4:5: environment[0]: a variable without a value",
		"  environment:\n    - REGISTRY_LOG_LEVEL\n": "user-data:4:7: environment[0]: a variable without a value",
		"  environment: {REGISTRY_NOTIFICATIONS_ENDPOINTS: '[{name: a}]', REGISTRY_NOTIFICATIONS_ENDPOINTS_0_NAME: b}\n": "one variable sets a whole, and another a part of it",
		"  environment: {REGISTRY_CATALOG: secretvalue, REGISTRY_CATALOG_MAXENTRIES: '5'}\n":                             "one variable sets a whole, and another a part of it",
	} {
		_, report := parseBody(body)
		if got := report.Errors().String(); !strings.Contains(got, want) || strings.Contains(got, "secretvalue") {
			t.Errorf("%sgot  %swant %s", body, got, want)
		}
	}
}

// Aliases and merge keys say what YAML says, wherever the anchor is, and are bounded.
func TestAliasesAreUnfolded(t *testing.T) {
	cfg, _, report := Parse([]Layer{{Name: "user-data", Data: []byte(`#cloud-config
x-log: &log {level: debug, format: text}
x-more: &more {format: json, accessLog: false}
redoubt:
  hostname: registry.example.com
  aliases: [&a a.example.com]
  log:
    <<: [*log, *more]
    level: warn
`)}})
	if report.Err() != nil || cfg.Log.Level != "warn" || cfg.Log.Format != "text" || cfg.Log.AccessLog {
		t.Errorf("%v %+v", report, cfg.Log)
	}
	for body, want := range map[string]string{
		"  log: &l {level: debug, <<: *l}\n":                      "aliases (*name) unfold to too much",
		"  log: {<<: text}\n":                                     "a merge key (<<) takes an alias of a group",
		"  aliases: [*nobody]\n":                                  "an alias (*name) without its anchor",
		"  log: {<<: {level: debug}, <<: {level: info}, x: 5}\n":  "log.x: unknown key",
		"  registry: {log: &l {fields: {a: [*l, *l, *l, *l]}}}\n": "aliases (*name) unfold to too much",
	} {
		if _, report := parseBody(body); !strings.Contains(report.Errors().String(), want) {
			t.Errorf("%sgot  %swant %s", body, report, want)
		}
	}
}
