package appliance_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/redoubt-registry/redoubt/appliance"
)

// put writes files below a new root.
func put(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, data := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

const (
	bucketKeys = "redoubt:\n  hostname: a.example.com\n  storage:\n    s3:\n      bucket: images\n      region: eu-central-1\n"
	someHash   = "$2y$10$Wq4kTk0zzXvwCDDpRv7oL.Z8rvQsMRJFLJcPF6uOOsmVrzXmhjTGS"
)

// TestValidateAlone judges files by themselves, as a boot would, but for what is kept
// elsewhere.
func TestValidateAlone(t *testing.T) {
	const missing = `: no "redoubt:" key: add "redoubt:" with at least "  hostname: NAME" below it` + "\n"
	for name, tc := range map[string]struct{ data, want string }{
		"good":       {"#cloud-config\nredoubt: {hostname: a.example.com}\n", ""},
		"bare":       {"hostname: a.example.com\n", ""},
		"unknown":    {"hostnme: a\n", ":1:1: hostnme: unknown key (did you mean \"hostname\"?)\n"},
		"script":     {"#!/bin/sh\n", missing},
		"foreign":    {"#cloud-config\npackages: []\n", missing},
		"jinja":      {"## template: jinja\n#cloud-config\nredoubt: {hostname: a.example.com}\n", ": a template, an include or an archive: only cloud-init on the machine can expand it\n"},
		"label":      {bucketKeys + "      accessKey: \"API Key: EXOsecretvalue\"\n      secretKey: secretvalue\n", ":7:18: storage.s3.accessKey: must be the key alone, without a space or a line break\n"},
		"both words": {bucketKeys + "      accessKey: EXO1\n      secretKey: \"a b\"\n", ":8:18: storage.s3.secretKey: must be the key alone, without a space or a line break\n"},
		"overlay":    {"redoubt: {hostname: a.example.com, registry: {tags: {maxtags: -1}}}\n", ": cannot use the registry: or environment: overlay: tags.maxtags must not be negative\n"},
		"elsewhere": {"redoubt:\n  hostname: a.example.com\n  httpSecret: cred:none\n  storage: {s3: {bucket: images, region: eu-central-1, accessKey: cred:a, secretKey: file:/none, caBundle: file:/none}}\n" +
			"  cache: {redis: {address: 'redis.example.com:6379', password: cred:r, tls: true, caBundle: file:/none}}\n" +
			"  auth: {users: [{name: a, password: cred:a}, {name: b, passwordHash: file:/none}, {name: c, password: secretvalue}]}\n" +
			"  tls: {mode: files, files: {certificate: file:/none, privateKey: file:/none}, clientAuth: {mode: required, cas: [file:/none], crls: [file:/none]}}\n", ""},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(put(t, map[string]string{"file": tc.data}), "file")
			got := appliance.Validate("/", path, "", time.Now()).Errors().String()
			if got != tc.want && got != path+tc.want {
				t.Errorf("got:  %swant: %s", got, tc.want)
			}
		})
	}
	if got := appliance.Validate("/", "/none/file", "", time.Now()).String(); got != "/none/file: cannot read: no such file or directory\n" {
		t.Error(got)
	}
}

// TestValidateLayer judges a file below /etc/redoubt with the other layers of its
// machine, and says of those only what stops an apply.
func TestValidateLayer(t *testing.T) {
	machine := map[string]string{
		"var/lib/cloud/instance/user-data.txt": "#cloud-config\nredoubt:\n  hostname: a.example.com\n  auth: {users: [{name: alice, password: secretvalue}]}\n",
	}
	for name, tc := range map[string]struct{ file, data, more, want string }{
		"a user":       {"etc/redoubt/config.d/20-users.yaml", "auth: {users: [{name: bob, passwordHash: \"" + someHash + "\"}]}\n", "", ""},
		"hides":        {"etc/redoubt/config.yaml", "hostname: b.example.com\n", "", "/etc/redoubt/config.yaml:1:11: hostname: warning: this is used, and not what user-data:3 says\n"},
		"wrong":        {"etc/redoubt/config.yaml", "nods: 1\n", "", "/etc/redoubt/config.yaml:1:1: nods: unknown key (did you mean \"nodes\"?)\n"},
		"wrong below":  {"etc/redoubt/config.yaml", "nodes: 1\n", "nods: 1\n", "/etc/redoubt/config.d/50.yaml:1:1: nods: unknown key (did you mean \"nodes\"?)\n"},
		"a file of it": {"etc/redoubt/config.yaml", "httpSecret: file:/etc/redoubt/none\n", "", "/etc/redoubt/config.yaml:1:13: httpSecret: cannot read /etc/redoubt/none: no such file or directory\n"},
		"ends in .yml": {"etc/redoubt/config.d/x.yml", "nodes: 1\n", "", "/etc/redoubt/config.d/x.yml: this file is not read: only files whose name ends in .yaml, and does not begin with a dot, are read here\n"},
		"a backup":     {"etc/redoubt/config.d/x.yaml~", "nodes: 1\n", "", "this file is not read"},
		"beside":       {"etc/redoubt/config.yml", "nodes: 1\n", "", "/etc/redoubt/config.yml: this file is not read"},
	} {
		t.Run(name, func(t *testing.T) {
			files := map[string]string{tc.file: tc.data}
			for k, v := range machine {
				files[k] = v
			}
			if tc.more != "" {
				files["etc/redoubt/config.d/50.yaml"] = tc.more
			}
			root := put(t, files)
			got := appliance.Validate(root, filepath.Join(root, tc.file), "", time.Now()).String()
			if tc.want == "" && got != "" || !strings.Contains(got, tc.want) {
				t.Errorf("got:\n%swant:\n%s", got, tc.want)
			}
		})
	}
}

// TestValidateOperatorsFile wants a complete document of the operator to be called valid
// above user-data with a mistake of any kind: of its YAML, its keys, its overlay or of
// what it names.
func TestValidateOperatorsFile(t *testing.T) {
	for name, user := range map[string]string{
		"YAML":    "#cloud-config\nredoubt: {hostname: [\n",
		"key":     "#cloud-config\nredoubt: {hostnme: a.example.com}\n",
		"overlay": "#cloud-config\nredoubt: {hostname: a.example.com, registry: {tags: {maxtags: -1}}}\n",
		"secret":  "#cloud-config\nredoubt: {hostname: a.example.com, httpSecret: 'file:/etc/redoubt/none'}\n",
		"files":   "#cloud-config\nredoubt: {hostname: a.example.com, tls: {mode: files, files: {certificate: 'file:/etc/a', privateKey: 'file:/etc/b'}}}\n",
	} {
		root := put(t, map[string]string{"var/lib/cloud/instance/user-data.txt": user, "etc/redoubt/config.yaml": "hostname: own.example.com\nauth: {realm: Own}\n"})
		report := appliance.Validate(root, filepath.Join(root, "etc/redoubt/config.yaml"), "", time.Now())
		if report.Err() != nil || !strings.Contains(report.String(), "only this is used, and nothing of user-data") {
			t.Errorf("%s: %s", name, report)
		}
	}
}
