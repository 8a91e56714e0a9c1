package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/redoubt-registry/redoubt/appliance/configuration/config"
)

// runVerb executes a verb and gives back what it printed and its error.
func runVerb(t *testing.T, cmd *cobra.Command, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	var out, errs bytes.Buffer
	cmd.SetOut(&out)
	cmd.SetErr(&errs)
	cmd.SetArgs(args)
	cmd.SilenceUsage, cmd.SilenceErrors = true, true
	err = cmd.Execute()
	return out.String(), errs.String(), err
}

func writeFile(t *testing.T, root, name, data string) string {
	t.Helper()
	path := filepath.Join(root, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(data), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestValidate(t *testing.T) {
	dir := t.TempDir()
	good := writeFile(t, dir, "good.yaml", "#cloud-config\nredoubt:\n  hostname: a.example.com\n  auth: {users: [{name: alice, password: secretvalue}]}\n")
	bad := writeFile(t, dir, "bad.yaml", "#cloud-config\nredoubt:\n  hostnme: a\n  mirrors: [{name: a}]\n")
	missing := filepath.Join(dir, "missing.yaml")

	stdout, stderr, err := runVerb(t, validateCommand(), good)
	if err != nil || stdout != good+": valid\n" || !strings.Contains(stderr, good+":4:42: auth.users[0].password: warning:") {
		t.Errorf("%v\n%s%s", err, stdout, stderr)
	}
	stdout, stderr, err = runVerb(t, validateCommand(), bad, missing, good)
	want := bad + ":3:3: hostnme: unknown key (did you mean \"hostname\"?)\n" + bad + ":4:12: mirrors: not supported yet\n" +
		missing + ": cannot read: no such file or directory\n"
	for line := range strings.Lines(want) {
		if !strings.Contains(stderr, line) {
			t.Errorf("no %sin:\n%s", line, stderr)
		}
	}
	if err == nil || stdout != good+": valid\n" || strings.Contains(stderr, "secretvalue") {
		t.Errorf("%v\n%s%s", err, stdout, stderr)
	}
	if _, _, err := runVerb(t, validateCommand()); err == nil {
		t.Error("no FILE was taken")
	}
}

// Editors and CI read the report as JSON.
func TestValidateAsJSON(t *testing.T) {
	dir := t.TempDir()
	bad := writeFile(t, dir, "bad.yaml", "redoubt:\n  hostname: a.example.com\n  tls: {mode: acmee} # secretvalue\n  auth: {users: [{name: alice, password: secretvalue}]}\n")
	stdout, stderr, err := runVerb(t, validateCommand(), "--json", bad)
	if err == nil || strings.Contains(stdout, "secretvalue") || strings.Contains(stderr, bad) {
		t.Errorf("%v\n%s%s", err, stdout, stderr)
	}
	var got []finding
	if err := json.Unmarshal([]byte(stdout), &got); err != nil {
		t.Fatal(err)
	}
	want := []finding{
		{File: bad, Line: 3, Column: 15, Path: "tls.mode", Severity: "error",
			Message: `must be one of internal-ca | acme | files | off (did you mean "acme"?)`,
			Excerpt: config.Excerpt{Text: "  tls: {mode: acmee} # •••", Column: 15, Width: 5}},
		{File: bad, Line: 4, Column: 42, Path: "auth.users[0].password", Severity: "warning",
			Message: "a password in the clear: prefer passwordHash, as htpasswd -nBC 10 prints it",
			Excerpt: config.Excerpt{Text: "  auth: {users: [{name: •••, password: •••}]}", Column: 40, Width: 3}},
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%+v\nwant\n%+v", got, want)
	}
	good := writeFile(t, dir, "good.yaml", "redoubt: {hostname: a.example.com, auth: {users: [{name: a, passwordHash: '$2y$10$abcdefghijklmnopqrstuuKuRBiJSl5jdDmcE6gpBHwlt8Lo0lHO2'}]}}\n")
	if stdout, _, err = runVerb(t, validateCommand(), "--json", good); err != nil || stdout != "[]\n" {
		t.Errorf("%v\n%s", err, stdout)
	}
}

func TestShow(t *testing.T) {
	root := t.TempDir()
	t.Setenv("REDOUBT_LOG_LEVEL", "debug")
	writeFile(t, root, "var/lib/cloud/instance/user-data.txt", "#cloud-config\nredoubt:\n  hostname: a.example.com\n  httpSecret: secretvalue-0123456789\n")
	writeFile(t, root, "etc/redoubt/config.yaml", "listen: {httpsPort: 8443}\n")
	stdout, stderr, err := runVerb(t, showCommand(), "--root", root, "--origin", "--set", "tls.minVersion=1.3")
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"hostname: a.example.com # user-data:3", "httpSecret: <redacted> # user-data:4",
		"httpsPort: 8443 # /etc/redoubt/config.yaml:1", "level: debug # REDOUBT_LOG_LEVEL\n", "minVersion: \"1.3\" # --set\n",
		"drainTimeout: 1m0s # default"} {
		if !strings.Contains(stdout, line) {
			t.Errorf("no %q in:\n%s", line, stdout)
		}
	}
	if strings.Contains(stdout+stderr, "secretvalue") {
		t.Error("a secret is shown")
	}
	plain, _, err := runVerb(t, showCommand(), "--root", root)
	if err != nil || strings.Contains(plain, "#") {
		t.Errorf("%v\n%s", err, plain)
	}
	file := writeFile(t, root, "own.yaml", "hostname: b.example.com\n")
	if stdout, _, err = runVerb(t, showCommand(), file); err != nil || !strings.Contains(stdout, "hostname: b.example.com\n") {
		t.Errorf("%v\n%s", err, stdout)
	}
	if _, _, err = runVerb(t, showCommand(), "--root", t.TempDir()); err == nil || !strings.Contains(err.Error(), `no "redoubt:" key`) {
		t.Error(err)
	}
}

func TestSchema(t *testing.T) {
	stdout, _, err := runVerb(t, schemaCommand())
	if err != nil || !json.Valid([]byte(stdout)) {
		t.Errorf("%v\n%s", err, stdout)
	}
	cloud := writeFile(t, t.TempDir(), "cloud.json", `{"properties": {"packages": {}}, "additionalProperties": false}`)
	stdout, _, err = runVerb(t, schemaCommand(), "--into", cloud)
	var schema struct{ Properties map[string]any }
	if err != nil || json.Unmarshal([]byte(stdout), &schema) != nil || schema.Properties["packages"] == nil || schema.Properties["redoubt"] == nil {
		t.Errorf("%v\n%s", err, stdout)
	}
	if _, _, err = runVerb(t, schemaCommand(), "--into", cloud+".missing"); err == nil || !strings.Contains(err.Error(), "no such file") {
		t.Error(err)
	}
}
