//go:build image

package image_test

import (
	"context"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/redoubt-registry/redoubt/test/vm"
)

// printed is a command line among those that make up prints.
var printed = regexp.MustCompile(`(?m)^  (\S.*)$`)

// TestUp does what the README says: make up, and then what it has printed.
func TestUp(t *testing.T) {
	t.Parallel()
	root, err := filepath.Abs(repository)
	if err != nil {
		t.Fatal(err)
	}
	a, err := accel()
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, nil)
	w.docker(t)
	dir := filepath.Join(root, ".cache", "test", t.Name())
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*bootLimit)
	defer cancel()
	machine := func(verb string, settings ...string) (string, error) {
		cmd := w.Command(ctx, "make", "-C", root, verb)
		cmd.Env = append(cmd.Env, append(settings, "UP_DIR="+dir, "ACCEL="+string(a), "HOME="+os.Getenv("HOME"))...)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	t.Cleanup(func() {
		if v, err := vm.Attach(dir); err == nil {
			_ = v.Kill()
		}
		if !t.Failed() {
			_ = os.RemoveAll(dir)
		}
	})
	testUpRefuses(t, w, dir, machine)
	out, err := machine("up")
	if err != nil {
		t.Fatalf("make up: %v\n%s", err, out)
	}
	t.Log(out)
	testPrinted(t, w, root, out)
	if out, err := machine("up"); err == nil || !strings.Contains(out, "already up") {
		t.Errorf("a second make up: %v\n%s", err, out)
	}
	if out, err := machine("down"); err != nil {
		t.Errorf("make down: %v\n%s", err, out)
	}
	if _, err := vm.Attach(dir); err == nil {
		t.Error("the machine still runs after make down")
	}
}

// testPrinted runs each printed line in a shell, as a person would paste it, and
// then a client that checks the certificate.
func testPrinted(t *testing.T, w *world, root, out string) {
	t.Helper()
	lines := printed.FindAllStringSubmatch(out, -1)
	ran := 0
	for _, m := range lines {
		if !regexp.MustCompile(`\bdocker\b`).MatchString(m[1]) && !strings.HasPrefix(m[1], "mkdir") {
			continue
		}
		ran++
		if _, err := w.try(t, "", "sh", "-ec", "cd "+root+"; "+m[1]); err != nil {
			t.Errorf("make up prints a line that fails: %v", err)
		}
	}
	if ran < 6 {
		t.Fatalf("make up prints %d commands, want login, import, push, pull and two for the CA:\n%s", ran, out)
	}
	// skopeo trusts the CA that the last of the lines has put in its place.
	w.run(t, "skopeo", "inspect", "--creds="+user+":"+password, "docker://localhost:8443/demo/hello:1")
}

// testUpRefuses gives make up what it cannot work with: a line that names cause and
// fix, exit 1, and nothing half-made.
func testUpRefuses(t *testing.T, w *world, dir string, machine func(string, ...string) (string, error)) {
	t.Helper()
	bad := filepath.Join(w.dir, "bad.yaml")
	if err := os.WriteFile(bad, []byte(faulty), 0o644); err != nil {
		t.Fatal(err)
	}
	l, err := w.Listen("127.0.0.1:9999")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for _, c := range []struct{ setting, want string }{
		{"USER_DATA=" + bad, "FORCE=1"},
		{"USER_DATA=/nowhere", "cannot read the user-data"},
		{"PORT=9999", "cannot use port 9999"},
		{"PORT=many", "cannot use PORT=many"},
	} {
		out, err := machine("up", c.setting)
		if err == nil || !strings.Contains(out, c.want) {
			t.Errorf("make up %s: %v, want %q in:\n%s", c.setting, err, c.want, out)
		}
		if _, err := os.Stat(filepath.Join(dir, "disk.qcow2")); err == nil {
			t.Errorf("make up %s left a disk behind", c.setting)
		}
		if strings.Contains(out, secretValue) {
			t.Errorf("make up %s shows a value:\n%s", c.setting, out)
		}
	}
}
