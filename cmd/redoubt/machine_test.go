//go:build integration

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestRender(t *testing.T) {
	dir := t.TempDir()
	file := writeFile(t, dir, "user-data.yaml", "#cloud-config\nredoubt:\n  hostname: a.example.com\n  httpSecret: file:"+dir+"/secret\n"+
		"  auth: {users: [{name: alice, password: hunter2hunter2}]}\n")
	writeFile(t, dir, "secret", "0123456789abcdef\n")
	out := filepath.Join(dir, "out")
	stdout, stderr, err := runVerb(t, renderCommand(), "--out", out, file)
	if err != nil {
		t.Fatalf("%v\n%s", err, stderr)
	}
	for name, mode := range map[string]os.FileMode{"htpasswd": 0o640, "redis.conf": 0o644, "registry.yml": 0o640} {
		path := filepath.Join(out, "run/redoubt", name)
		if info, err := os.Stat(path); err != nil || info.Mode() != mode {
			t.Errorf("%v, %v", info, err)
		}
		if !strings.Contains(stdout, "wrote    "+path+"\n") {
			t.Errorf("no %s in:\n%s", path, stdout)
		}
	}
	registry, err := os.ReadFile(filepath.Join(out, "run/redoubt/registry.yml"))
	if err != nil || !strings.Contains(string(registry), "secret: 0123456789abcdef\n") {
		t.Errorf("%v\n%s", err, registry)
	}
	if !strings.Contains(stderr, "user-data.yaml:5:42: auth.users[0].password: warning:") {
		t.Errorf("stderr: %s", stderr)
	}
	if strings.Contains(stdout+stderr, "hunter2") || strings.Contains(stdout+stderr, "0123456789abcdef") {
		t.Errorf("a secret in:\n%s%s", stdout, stderr)
	}
}

func TestRenderRefuses(t *testing.T) {
	dir := t.TempDir()
	out := filepath.Join(dir, "out")
	bad := writeFile(t, dir, "bad.yaml", "redoubt:\n  hostnme: a\n")
	noSecret := writeFile(t, dir, "secret.yaml", "redoubt:\n  hostname: a.example.com\n  httpSecret: cred:none\n")
	good := writeFile(t, dir, "good.yaml", "redoubt:\n  hostname: a.example.com\n")
	inTheWay := writeFile(t, dir, "file", "")
	for _, test := range []struct {
		args []string
		want string
	}{
		{[]string{good}, `required flag(s) "out" not set`},
		{[]string{"--out", out}, "requires at least 1 arg"},
		{[]string{"--out", out, bad}, bad + ":2:3: hostnme: unknown key"},
		{[]string{"--out", out, dir + "/none"}, "none: cannot read: no such file"},
		{[]string{"--out", out, noSecret}, noSecret + ":3:15: httpSecret: cannot read credential none"},
		{[]string{"--out", inTheWay, good}, "cannot make the output directory"},
	} {
		if _, _, err := runVerb(t, renderCommand(), test.args...); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%v: got %v, want %s", test.args, err, test.want)
		}
	}
	if _, err := os.Stat(out); err == nil {
		t.Error("something was written")
	}
}
