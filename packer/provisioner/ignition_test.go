//go:build integration

package provisioner_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/redoubt-registry/redoubt/butane"
)

// ignition builds upstream's Ignition from the version of its module that
// go.mod names, and returns the program.
func ignition(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/coreos/ignition/v2").Output()
	if err != nil {
		t.Fatalf("cannot find Ignition's module: %v", err)
	}
	program := filepath.Join(t.TempDir(), "ignition")
	const distro = "github.com/coreos/ignition/v2/internal/distro"
	cmd := exec.Command("go", "build", "-buildvcs=false", "-o", program, "-ldflags",
		"-X "+distro+".writeAuthorizedKeysFragment=false -X "+distro+".selinuxRelabel=false", "./internal")
	cmd.Dir = strings.TrimSpace(string(out))
	cmd.Env = append(os.Environ(), "CGO_ENABLED=1", "GOFLAGS=-mod=mod")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("cannot build Ignition (libblkid-dev and gcc are needed): %v: %s", err, out)
	}
	return program
}

// repository is a copy of what the appliance's declaration names, with a
// small program in place of redoubt.
func repository(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, d := range []string{"units", "butane"} {
		if err := os.CopyFS(filepath.Join(dir, d), os.DirFS(filepath.Join("../..", d))); err != nil {
			t.Fatal(err)
		}
	}
	write(t, dir, "dist/redoubt", "program")
	return dir
}

// TestLikeIgnition applies the same file with upstream's Ignition and with
// ours to two equal machines: they must be equal after that.
func TestLikeIgnition(t *testing.T) {
	program := ignition(t)
	repo := repository(t)
	withoutInstance := strings.Replace(string(read(t, good)), "    - name: thing@one.service\n      enabled: false\n", "", 1)
	for name, c := range map[string]struct{ bu, dir string }{
		"the appliance": {string(read(t, "../../butane/appliance.bu")), repo},
		// Ignition asks a running systemd about instances of units.
		"every feature": {withoutInstance, "../../butane/testdata"},
	} {
		t.Run(name, func(t *testing.T) {
			d, err := butane.Declare([]byte(c.bu), c.dir)
			if err != nil {
				t.Fatal(err)
			}
			var stubs []string
			for _, u := range d.Units {
				if _, ours := d.Tree.Lookup("/usr/lib/systemd/system/" + u); !ours {
					stubs = append(stubs, u)
				}
			}
			ours, theirs := machine(t, stubs...), machine(t, stubs...)
			for _, m := range []string{ours.Root, theirs.Root} {
				write(t, m, "etc/passwd", "root:x:0:0:root:/root:/bin/sh\nredoubt-test:x:777:778:a user:/:/usr/sbin/nologin\n")
				write(t, m, "etc/group", "root:x:0:\nredoubt-test:x:778:\n")
			}
			file := filepath.Join(t.TempDir(), "a.bu")
			if err := os.WriteFile(file, []byte(c.bu), 0o644); err != nil {
				t.Fatal(err)
			}
			if err := provision(t, ours, file, c.dir); err != nil {
				t.Fatal(err)
			}
			raw, err := butane.Ignition([]byte(c.bu), c.dir)
			if err != nil {
				t.Fatal(err)
			}
			dir := t.TempDir()
			write(t, dir, "config.ign", string(raw))
			// A private /tmp and /run: Ignition leaves nothing on this host.
			out, err := exec.Command(program, "-stage", "files", "-root", theirs.Root, "-platform", "metal",
				"-config-cache", filepath.Join(dir, "config.ign"), "-state-file", filepath.Join(dir, "state"), "-log-to-stdout").CombinedOutput()
			if err != nil {
				t.Fatalf("Ignition: %v: %s", err, out)
			}
			// What ours does besides: users and presets, which Ignition leaves to the boot.
			inside(t, theirs, "systemd-sysusers && systemctl preset "+strings.Join(d.Units, " "))
			want, got := listing(t, theirs.Root), listing(t, ours.Root)
			delete(want, "/etc/.ignition-result.json")
			same(t, want, got)
		})
	}
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}
