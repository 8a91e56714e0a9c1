//go:build integration

package provisioner_test

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"

	"github.com/redoubt-registry/redoubt/packer/provisioner"
	"github.com/redoubt-registry/redoubt/packer/sandbox"
)

const good = "../../butane/testdata/good.bu"

func quiet() packersdk.Ui { return &packersdk.BasicUi{Writer: io.Discard, ErrorWriter: io.Discard} }

// provision prepares and runs the provisioner on a machine.
func provision(t *testing.T, s sandbox.Sandbox, file, dir string) error {
	t.Helper()
	var p provisioner.Provisioner
	if err := p.Prepare(map[string]any{"file": file, "files_directory": dir}); err != nil {
		t.Fatal(err)
	}
	return p.Provision(t.Context(), quiet(), sandbox.Communicator{Sandbox: s}, nil)
}

func TestProvision(t *testing.T) {
	s := machine(t, "thing@.service")
	if err := provision(t, s, good, "../../butane/testdata"); err != nil {
		t.Fatal(err)
	}
	got := listing(t, s.Root)
	users, err := os.ReadFile(filepath.Join(s.Root, "etc/passwd"))
	if err != nil || !strings.Contains(string(users), "redoubt-test:x:999:999:a user:") {
		t.Fatalf("the user was not made: %s", users)
	}
	for path, want := range map[string]string{
		"/etc/thing/secret":                  `-rw-r----- 0:999 "shh"`,
		"/etc/thing":                         `drwxr-xr-x 0:0`,
		"/var/lib/thing":                     `drwxr-x--- 999:999`,
		"/usr/bin/thing-link":                `Lrwxrwxrwx 0:0 "thing"`,
		"/etc/existing":                      `-rw-r--r-- 0:0 "new\n"`,
		"/etc/systemd/system/masked.service": `Lrwxrwxrwx 0:0 "/dev/null"`,
		"/etc/systemd/system/multi-user.target.wants/other.service": `Lrwxrwxrwx 0:0 "/etc/systemd/system/other.service"`,
		"/etc/systemd/system/multi-user.target.wants/thing.service": `Lrwxrwxrwx 0:0 "/lib/systemd/system/thing.service"`,
		"/usr/bin/thing": `-rwxr-xr-x 0:0 "#!/bin/sh\necho \"a thing with $X and ` + "`backticks`" + `\"\n"`,
	} {
		if !strings.HasPrefix(got[path], want) {
			t.Errorf("%s: got %s, want %s", path, got[path], want)
		}
	}
	left, _ := filepath.Glob(filepath.Join(s.Root, "tmp/redoubt*"))
	if len(left) > 0 {
		t.Errorf("left on the machine: %v", left)
	}
}

// TestRefuses holds that a machine on which the declaration does not fit stays
// as it was.
func TestRefuses(t *testing.T) {
	for name, c := range map[string]struct{ prepare, bu, want string }{
		"a file is there":       {"echo mine >/opt", "files: [{path: /opt, contents: {inline: a}}]", "/opt: a file is there already and overwrite is not said"},
		"a directory is there":  {"mkdir /opt", "files: [{path: /opt, overwrite: true, contents: {inline: a}}]", "/opt: a directory is there"},
		"no directory is there": {"echo mine >/opt", "directories: [{path: /opt}]", "/opt: what is there is no directory"},
		"another link is there": {"chmod 755 /; cat </dev/null >/opt", "links: [{path: /opt, target: /srv}]", "/opt: something is there already"},
		"a link is on the way":  {"true", "files: [{path: /lib/x, contents: {inline: a}}]", "/lib/x: /lib leads elsewhere, to /usr/lib"},
		"an owner is not known": {"true", "files: [{path: /opt, contents: {inline: a}, user: {name: nobody-here}}]", "the machine has no such name in passwd"},
		"a group is not known":  {"true", "files: [{path: /opt, contents: {inline: a}, group: {name: none-here}}]", "the machine has no such name in group"},
	} {
		t.Run(name, func(t *testing.T) {
			s := machine(t)
			inside(t, s, c.prepare)
			before := listing(t, s.Root)
			file := filepath.Join(t.TempDir(), "a.bu")
			bu := "variant: flatcar\nversion: 1.1.0\nstorage:\n  " + c.bu + "\n"
			if err := os.WriteFile(file, []byte(bu), 0o644); err != nil {
				t.Fatal(err)
			}
			if err := provision(t, s, file, "."); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("got %v, want %q", err, c.want)
			}
			same(t, before, listing(t, s.Root))
		})
	}
}

// same compares two machines.
func same(t *testing.T, want, got map[string]string) {
	t.Helper()
	for p := range want {
		if got[p] != want[p] {
			t.Errorf("%s: got %s, want %s", p, got[p], want[p])
		}
	}
	for p := range got {
		if _, ok := want[p]; !ok {
			t.Errorf("%s: got %s, want nothing", p, got[p])
		}
	}
}

func TestPrepareRefuses(t *testing.T) {
	bad := filepath.Join(t.TempDir(), "bad.bu")
	if err := os.WriteFile(bad, []byte("variant: flatcar\nversion: 1.1.0\nstorrage: {}\npasswd: {userz: []}\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for want, config := range map[string]map[string]any{
		"both must be given": {"file": good},
		"none.bu":            {"file": "none.bu", "files_directory": "."},
		bad + ":3:1: $.storrage: unused key storrage\n" + bad + ":4:": {"file": bad, "files_directory": "."},
		"elevated": {"file": good, "files_directory": ".", "elevated": "sudo"},
	} {
		var p provisioner.Provisioner
		if err := p.Prepare(config); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}
