//go:build integration

package registry

import (
	"context"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"

	"github.com/redoubt-registry/redoubt/test/clients"
)

// desk is a place for real clients of m, which has an image in some repositories.
func (m *machine) desk(t *testing.T, repositories ...string) func(input string, args ...string) (string, error) {
	t.Helper()
	image, err := random.Image(1000, 1)
	check(t, err)
	config, err := image.ConfigFile()
	check(t, err)
	config = config.DeepCopy()
	config.OS, config.Architecture = runtime.GOOS, runtime.GOARCH
	image, err = mutate.ConfigFile(image, config)
	check(t, err)
	for _, repo := range repositories {
		check(t, m.push(image, repo))
	}
	desk := clients.New(t, clients.Options{Network: os.Getpid(), Name: "registry.test", Addresses: []string{"127.0.0.1"}})
	desk.Docker("--storage-driver=vfs")
	return func(input string, args ...string) (string, error) {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		defer cancel()
		cmd := desk.Command(ctx, args...)
		cmd.Stdin = strings.NewReader(input)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
}

// Where nothing goes without a login, a password and a token are asked for: real clients
// take the one or the other, and all work.
func TestRealClientsLogIn(t *testing.T) {
	t.Parallel()
	m, _ := house(t, "")
	run := m.desk(t, "team/app")
	at := m.host() + "/"
	creds := "bob:" + password
	for _, c := range []struct {
		name, input string
		args        []string
		works       bool
		bearer      bool // a token is asked for
	}{
		{"docker pulls without a login", "", []string{"docker", "pull", at + "team/app"}, false, true},
		{"docker logs in with a wrong password", "wrong", []string{"docker", "login", "-u", "bob", "--password-stdin", m.host()}, false, true},
		{"docker logs in", password, []string{"docker", "login", "-u", "bob", "--password-stdin", m.host()}, true, true},
		{"docker pulls", "", []string{"docker", "pull", at + "team/app"}, true, true},
		{"docker names it", "", []string{"docker", "tag", at + "team/app", at + "team/other"}, true, false},
		{"docker pushes", "", []string{"docker", "push", at + "team/other"}, true, true},
		{"skopeo looks", "", []string{"skopeo", "inspect", "--tls-verify=false", "--creds", creds, "docker://" + at + "team/app"}, true, true},
		{"skopeo copies", "", []string{"skopeo", "copy", "--src-tls-verify=false", "--dest-tls-verify=false", "--src-creds", creds,
			"--dest-creds", creds, "docker://" + at + "team/app", "docker://" + at + "team/copy"}, true, true},
		{"skopeo deletes", "", []string{"skopeo", "delete", "--tls-verify=false", "--creds", creds, "docker://" + at + "team/copy"}, true, true},
		{"podman logs in", password, []string{"podman", "login", "--tls-verify=false", "-u", "bob", "--password-stdin", m.host()}, true, true},
		{"curl, which knows passwords alone", "", []string{"curl", "-fsSk", "-u", creds, "https://" + at + "v2/team/app/tags/list"}, true, false},
		{"curl, which waits until it is asked", "", []string{"curl", "-fsSk", "--anyauth", "-u", creds, "https://" + at + "v2/team/app/tags/list"}, true, false},
		{"wget, which waits until it is asked", "", []string{"wget", "-qO-", "--no-check-certificate", "--user=bob", "--password=" + password, "https://" + at + "v2/team/app/tags/list"}, true, false},
	} {
		before := strings.Count(m.log.String(), "/v2/_token")
		out, err := run(c.input, c.args...)
		if (err == nil) != c.works {
			t.Errorf("%s: %v\n%s", c.name, err, out)
		}
		if strings.Contains(c.name, " over a quota") && (!strings.Contains(out, "the quota of team/small is 500 B: ") || !strings.Contains(out, " B are used, and the push needs ")) {
			t.Errorf("%s: it is not told why:\n%s", c.name, out)
		}
		if strings.Contains(out, "Retrying") {
			t.Errorf("%s: it tries again what cannot work:\n%s", c.name, out)
		}
		if asked := strings.Count(m.log.String(), "/v2/_token") - before; asked > 0 != c.bearer {
			t.Errorf("%s: it asks for %d tokens", c.name, asked)
		}
	}
}

// Real clients pull without a login what the rules say, and push with one, on the same
// registry, and are told why an immutable tag stays as it is.
func TestAnonymousPullWithRealClients(t *testing.T) {
	t.Parallel()
	m, _ := house(t, houseRules+`, immutable: [{repositories: ["team/fixed"], tags: ["*"]}], quotas: [{repositories: ["team/small"], size: 500}]`)
	other, err := random.Image(1000, 1)
	check(t, err)
	check(t, m.push(other, "team/fixed"))
	run := m.desk(t, "public/app", "team/app")
	at := m.host() + "/" // docker takes a registry on loopback whoever signed its certificate
	for _, c := range []struct {
		name, input string
		args        []string
		works       bool
	}{
		{"docker pulls", "", []string{"docker", "pull", at + "public/app"}, true},
		{"docker pulls what is not for all", "", []string{"docker", "pull", at + "team/app"}, false},
		{"docker names an image", "", []string{"docker", "tag", at + "public/app", at + "team/other"}, true},
		{"docker pushes without a login", "", []string{"docker", "push", at + "team/other"}, false},
		{"skopeo looks", "", []string{"skopeo", "inspect", "--tls-verify=false", "docker://" + at + "public/app"}, true},
		{"skopeo looks at what is not for all", "", []string{"skopeo", "inspect", "--tls-verify=false", "docker://" + at + "team/app"}, false},
		{"docker logs in with a wrong password", "wrong", []string{"docker", "login", "-u", "bob", "--password-stdin", m.host()}, false},
		{"docker logs in", password, []string{"docker", "login", "-u", "bob", "--password-stdin", m.host()}, true},
		{"docker pushes", "", []string{"docker", "push", at + "team/other"}, true},
		{"docker pulls with a login", "", []string{"docker", "pull", at + "team/app"}, true},
		{"docker names it again", "", []string{"docker", "tag", at + "public/app", at + "release/app"}, true},
		{"docker pushes where it may not", "", []string{"docker", "push", at + "release/app"}, false},
		{"skopeo looks with a login", "", []string{"skopeo", "inspect", "--tls-verify=false", "--creds", "bob:" + password, "docker://" + at + "team/app"}, true},
		{"skopeo copies with a login", "", []string{"skopeo", "copy", "--src-tls-verify=false", "--dest-tls-verify=false", "--src-creds", "bob:" + password,
			"--dest-creds", "bob:" + password, "docker://" + at + "public/app", "docker://" + at + "team/copy"}, true},
		{"docker names what is fixed", "", []string{"docker", "tag", at + "public/app", at + "team/fixed"}, true},
		{"docker pushes to an immutable tag", "", []string{"docker", "push", at + "team/fixed"}, false},
		{"skopeo copies to an immutable tag", "", []string{"skopeo", "copy", "--src-tls-verify=false", "--dest-tls-verify=false", "--src-creds", "bob:" + password,
			"--dest-creds", "bob:" + password, "docker://" + at + "public/app", "docker://" + at + "team/fixed"}, false},
		{"podman pulls", "", []string{"podman", "pull", "--tls-verify=false", at + "public/app"}, true},
		{"podman pushes to an immutable tag", "", []string{"podman", "push", "--tls-verify=false", "--creds", "bob:" + password,
			at + "public/app", at + "team/fixed"}, false},
		{"docker names what is over the quota", "", []string{"docker", "tag", at + "public/app", at + "team/small"}, true},
		{"docker pushes over a quota", "", []string{"docker", "push", at + "team/small"}, false},
		{"skopeo copies over a quota", "", []string{"skopeo", "copy", "--src-tls-verify=false", "--dest-tls-verify=false", "--src-creds", "bob:" + password,
			"--dest-creds", "bob:" + password, "docker://" + at + "public/app", "docker://" + at + "team/small"}, false},
		{"podman pushes over a quota", "", []string{"podman", "push", "--tls-verify=false", "--creds", "bob:" + password,
			at + "public/app", at + "team/small"}, false},
	} {
		out, err := run(c.input, c.args...)
		if (err == nil) != c.works {
			t.Errorf("%s: %v\n%s", c.name, err, out)
		}
		if strings.Contains(c.name, "immutable") && !strings.Contains(out, "the tag latest is immutable") {
			t.Errorf("%s: it is not told why:\n%s", c.name, out)
		}
		if strings.Contains(c.name, " over a quota") && (!strings.Contains(out, "the quota of team/small is 500 B: ") || !strings.Contains(out, " B are used, and the push needs ")) {
			t.Errorf("%s: it is not told why:\n%s", c.name, out)
		}
		if strings.Contains(out, "Retrying") {
			t.Errorf("%s: it tries again what cannot work:\n%s", c.name, out)
		}
	}
}
