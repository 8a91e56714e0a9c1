//go:build integration

package registry

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/redoubt-registry/redoubt/test/program"
)

// Sixteen clients attach to one image at once, at two machines on one storage: each
// machine lists sixteen.
func TestReferrersOfTwoMachines(t *testing.T) {
	eachStorage(t, func(t *testing.T, storage string) {
		t.Parallel()
		machines := make([]*machine, 2)
		for n := range machines {
			machines[n] = newMachine(t)
			machines[n].bucket = storage
			machines[n].config(t, "info")
			machines[n].start(t)
		}
		subject := machines[0].subject(t, "app")
		var want []string
		var group sync.WaitGroup
		for n := range 16 {
			want = append(want, fmt.Sprintf("%02d", n))
			group.Go(func() { machines[n%2].attach(t, "app", "a/signature", subject, fmt.Sprintf("%02d", n)) })
		}
		group.Wait()
		for n, m := range machines {
			if got, _ := m.referrers(t, "app", subject.Digest, "?n=7"); !slices.Equal(got, want) {
				t.Errorf("machine %d: %v", n+1, got)
			}
		}
	})
}

// oras and regctl attach at once, and each finds what both have attached.
func TestClientsAttach(t *testing.T) {
	t.Parallel()
	oras, regctl := program.Tool(t, "artifacts", "oras"), program.Tool(t, "artifacts", "regctl")
	m := newMachine(t)
	m.config(t, "info")
	m.start(t)
	home := t.TempDir()
	run := func(name string, args ...string) (string, error) {
		cmd := exec.Command(name, args...)
		cmd.Dir = home
		cmd.Env = append(os.Environ(), "HOME="+home, "DOCKER_CONFIG="+home, "REGCTL_CONFIG="+home+"/regctl.json")
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	must := func(name string, args ...string) string {
		t.Helper()
		out, err := run(name, args...)
		if err != nil {
			t.Fatalf("%v: %v\n%s", args, err, out)
		}
		return out
	}
	check(t, os.WriteFile(home+"/ca.pem", m.ca.PEM(), 0o600))
	check(t, os.WriteFile(home+"/file", []byte("content"), 0o600))
	must(oras, "login", "--ca-file", "ca.pem", "-u", "alice", "-p", password, m.host())
	must(regctl, "registry", "set", m.host(), "--cacert", string(m.ca.PEM()))
	must(regctl, "registry", "login", m.host(), "-u", "alice", "-p", password)
	image := m.host() + "/app:1"
	must(oras, "push", "--ca-file", "ca.pem", "--disable-path-validation", image, "file:text/plain")
	const each = 8
	var group sync.WaitGroup
	for n := range each {
		for _, args := range [][]string{
			{oras, "attach", "--ca-file", "ca.pem", "--artifact-type", "oras/attached", "--annotation", fmt.Sprintf("n=%d", n), image, "file"},
			{regctl, "artifact", "put", "--subject", image, "--artifact-type", "regctl/attached", "--annotation", fmt.Sprintf("n=%d", n), "-f", "file"},
		} {
			group.Go(func() {
				if out, err := run(args[0], args[1:]...); err != nil {
					t.Errorf("%v: %v\n%s", args, err, out)
				}
			})
		}
	}
	group.Wait()
	out := must(oras, "discover", "--ca-file", "ca.pem", "--format", "json", image)
	if got := strings.Count(out, `"artifactType": "oras/attached"`) + strings.Count(out, `"artifactType": "regctl/attached"`); got != 2*each {
		t.Errorf("oras discovers %d\n%s", got, out)
	}
	var list struct {
		Descriptors []json.RawMessage `json:"descriptors"`
	}
	check(t, json.Unmarshal([]byte(must(regctl, "artifact", "list", "--filter-artifact-type", "oras/attached", "--format", "{{json .}}", image)), &list))
	if len(list.Descriptors) != each {
		t.Errorf("regctl lists %d", len(list.Descriptors))
	}
	must(regctl, "image", "copy", "--referrers", image, m.host()+"/copy:1")
	if got := m.digestsOf(t, "copy"); got != 2*each {
		t.Errorf("%d are copied", got)
	}
	if out := m.get(t, "/v2/app/tags/list").body; strings.Contains(out, "sha256-") {
		t.Errorf("a client keeps a list of its own: %s", out)
	}
}

// digestsOf is how many refer to the image 1 of a repository.
func (m *machine) digestsOf(t *testing.T, repo string) int {
	t.Helper()
	d := m.get(t, "/v2/"+repo+"/manifests/1").Header.Get("Docker-Content-Digest")
	return strings.Count(m.get(t, "/v2/"+repo+"/referrers/"+d).body, `"artifactType"`)
}
