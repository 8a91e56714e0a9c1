package main

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// check runs redoubt auth check below a directory.
func check(t *testing.T, arguments ...string) (string, error) {
	t.Helper()
	cmd := rootCommand()
	var out bytes.Buffer
	cmd.SetOut(&out)
	cmd.SetErr(&out)
	cmd.SetArgs(append([]string{"auth", "check"}, arguments...))
	err := cmd.Execute()
	return out.String(), err
}

var (
	document = regexp.MustCompile("(?ms)^```yaml\n(#cloud-config\n.*?)^```")
	question = regexp.MustCompile(`(?m)^redoubt auth check --file user-data.yaml (.*)\n# (.*)$`)
)

// The pages on access say what the command says.
func TestAuthCheckOfTheDocuments(t *testing.T) {
	for name, least := range map[string]int{"access.md": 5, "ci.md": 2, "robots.md": 3} {
		page, err := os.ReadFile("../../docs/" + name)
		if err != nil {
			t.Fatal(err)
		}
		t.Run(name, func(t *testing.T) { answersOf(t, page, least) })
	}
}

// answersOf compares the answers on a page, of which there are at least so many, with those
// of the command.
func answersOf(t *testing.T, page []byte, least int) {
	t.Chdir(t.TempDir())
	if err := os.WriteFile("user-data.yaml", document.FindSubmatch(page)[1], 0o644); err != nil {
		t.Fatal(err)
	}
	asked := question.FindAllStringSubmatch(string(page), -1)
	if len(asked) < least {
		t.Fatalf("the page asks %d questions", len(asked))
	}
	for _, q := range asked {
		out, err := check(t, append([]string{"--file", "user-data.yaml"}, strings.Fields(q[1])...)...)
		if strings.TrimSpace(out) != q[2] {
			t.Errorf("%s: %s, not %s", q[1], out, q[2])
		}
		if denied := strings.HasPrefix(q[2], "denied"); denied != (err != nil) {
			t.Errorf("%s: the error is %v", q[1], err)
		}
	}
}

func TestAuthCheck(t *testing.T) {
	file := filepath.Join(t.TempDir(), "user-data")
	write := func(more string) {
		t.Helper()
		text := "#cloud-config\nredoubt:\n  hostname: registry.example.com\n  tls: {clientAuth: {mode: optional}}\n  auth:\n" +
			"    users: [{name: bob, passwordHash: \"$2y$10$46fuOnZ0yhU7zoCppGvza.nofj4NOpWKMNvUtY5E2ICLu9wRj7g9S\", groups: [dev]}]\n" +
			"    clientCertificates: [{match: \"CN=bob-*\", user: bob, groups: [ops]}]\n" + more
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct{ more, question, want string }{
		{"", "bob admin x", "allowed with a password: auth.acl has no rules, so every login may do all\nallowed with a certificate of CN=bob-*: auth.acl has no rules"},
		{"", "- pull x", "denied without a login: auth.anonymous (default) is none"},
		{"    anonymous: pull\n", "- pull x", "allowed without a login: auth.anonymous (" + file + ":8) is pull, and auth.acl has no rules"},
		{"    anonymous: pull\n", "- push x", "denied without a login: without a login nothing but pull is ever allowed"},
		{"    acl: [{groups: [ops], repositories: [x], actions: [push]}]\n", "bob pull x",
			"denied with a password: no rule of auth.acl allows it\nallowed with a certificate of CN=bob-*: auth.acl[0] (" + file + ":8)"},
		{"", "eve pull x", "cannot check the user \"eve\""},
		{"", "bob pul x", "cannot check the action \"pul\""},
		{"", "bob pull x/**", "cannot check the repository"},
		{"    acl: [{groups: [ops], repositories: [X], actions: [push]}]\n", "bob pull x", "auth.acl[0].repositories[0]: has capital letters"},
	} {
		write(c.more)
		out, err := check(t, append([]string{"--file", file}, strings.Fields(c.question)...)...)
		if err != nil {
			out += err.Error()
		}
		if !strings.Contains(out, c.want) {
			t.Errorf("%s: %s", c.question, out)
		}
		if (err == nil) != strings.Contains(c.want, "allowed with") {
			t.Errorf("%s: the error is %v", c.question, err)
		}
	}
}
