//go:build integration

package provisioner_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/redoubt-registry/redoubt/packer/sandbox"
)

// template is a root that every test's machine is a copy of.
var template string

func TestMain(m *testing.M) {
	if sandbox.IsChild() {
		sandbox.Child()
	}
	os.Exit(run(m))
}

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "machine-")
	if err == nil {
		defer os.RemoveAll(dir)
		template = filepath.Join(dir, "root")
		err = makeTemplate(template)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "cannot make a machine:", err)
		return 1
	}
	return m.Run()
}

// programs are what the provisioner's script runs on the machine.
var programs = []string{"sh", "tar", "gzip", "cat", "grep", "rm", "mkdir", "chmod", "readlink", "getent", "systemd-sysusers", "systemctl"}

// machine makes a root that can do what the script needs: this host's
// programs with their libraries, users, and the named units.
func machine(t *testing.T, units ...string) sandbox.Sandbox {
	t.Helper()
	root := filepath.Join(t.TempDir(), "root")
	if out, err := exec.Command("cp", "-a", template, root).CombinedOutput(); err != nil {
		t.Fatalf("cannot copy the machine: %v: %s", err, out)
	}
	for _, u := range units {
		write(t, root, "usr/lib/systemd/system/"+u, "[Service]\nExecStart=true\n[Install]\nWantedBy=multi-user.target\n")
	}
	return sandbox.Sandbox{Root: root}
}

// makeTemplate fills root with what every machine has.
func makeTemplate(root string) error {
	if os.Geteuid() != 0 {
		return errors.New("these tests make namespaces: run them as root")
	}
	for _, d := range []string{"usr/lib", "etc", "tmp"} {
		if err := os.MkdirAll(filepath.Join(root, d), 0o755); err != nil {
			return err
		}
	}
	for _, l := range []string{"bin", "lib", "lib64", "sbin"} {
		if err := os.Symlink("usr/"+l, filepath.Join(root, l)); err != nil {
			return err
		}
	}
	for _, program := range programs {
		p, err := exec.LookPath(program)
		if err != nil {
			return err
		}
		dir, err := filepath.EvalSymlinks(filepath.Dir(p))
		if err != nil {
			return err
		}
		if err := install(root, filepath.Join(dir, program)); err != nil {
			return err
		}
	}
	for name, text := range map[string]string{
		"passwd": "root:x:0:0:root:/root:/bin/sh\n", "group": "root:x:0:\n", "existing": "old\n",
	} {
		if err := os.WriteFile(filepath.Join(root, "etc", name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

func write(t *testing.T, root, path, text string) {
	t.Helper()
	p := filepath.Join(root, path)
	if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(p, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// install copies a program and the libraries that it asks for.
func install(root, path string) error {
	files := []string{path}
	out, err := exec.Command("ldd", path).Output()
	if err != nil {
		return fmt.Errorf("cannot list the libraries of %s: %w", path, err)
	}
	for word := range strings.FieldsSeq(string(out)) {
		if strings.HasPrefix(word, "/") {
			files = append(files, word)
		}
	}
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			return err
		}
		if err := os.MkdirAll(filepath.Dir(resolve(root, f)), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(resolve(root, f), data, 0o755); err != nil {
			return err
		}
	}
	return nil
}

// resolve is path in root, past the links /bin, /lib and so on.
func resolve(root, path string) string {
	if strings.HasPrefix(path, "/usr/") {
		return filepath.Join(root, path)
	}
	return filepath.Join(root, "usr", path)
}

// inside runs a script in the machine.
func inside(t *testing.T, s sandbox.Sandbox, script string) {
	t.Helper()
	var out bytes.Buffer
	if err := s.Run(context.Background(), sandbox.Streams{Out: &out, Err: &out}, "/bin/sh", "-c", script); err != nil {
		t.Fatalf("%s: %v: %s", script, err, out.String())
	}
}

// listing describes all that is in root: kind, mode, owner, content.
func listing(t *testing.T, root string) map[string]string {
	t.Helper()
	all := make(map[string]string)
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		content := ""
		switch {
		case info.Mode().IsRegular():
			data, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			content = string(data)
		case info.Mode()&fs.ModeSymlink != 0:
			if content, err = os.Readlink(p); err != nil {
				return err
			}
		}
		st, ok := info.Sys().(*syscall.Stat_t)
		if !ok {
			return fmt.Errorf("%s has no owner", p)
		}
		all[strings.TrimPrefix(p, root)] = fmt.Sprintf("%v %d:%d %.100q of %d", info.Mode(), st.Uid, st.Gid, content, len(content))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}
