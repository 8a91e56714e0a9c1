//go:build integration

package sandbox_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"

	"github.com/redoubt-registry/redoubt/packer/sandbox"
)

func TestMain(m *testing.M) {
	if sandbox.IsChild() {
		sandbox.Child()
	}
	os.Exit(m.Run())
}

// machine makes a root out of the host's own shell and tools: links into a
// read-only bind of /usr.
func machine(t *testing.T) sandbox.Sandbox {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("this test makes namespaces: run it as root")
	}
	root := t.TempDir()
	for _, d := range []string{"usr", "etc", "tmp", "run", "root"} {
		if err := os.Mkdir(filepath.Join(root, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, l := range []string{"bin", "lib", "lib64", "sbin"} {
		if err := os.Symlink("usr/"+l, filepath.Join(root, l)); err != nil {
			t.Fatal(err)
		}
	}
	return sandbox.Sandbox{Root: root, Binds: []sandbox.Bind{{Source: "/usr", Target: "/usr", ReadOnly: true}}}
}

func run(t *testing.T, s sandbox.Sandbox, script string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var out bytes.Buffer
	err := s.Run(ctx, sandbox.Streams{Out: &out, Err: &out}, "/bin/sh", "-c", script)
	return out.String(), err
}

func TestInsideIsItsOwn(t *testing.T) {
	s := machine(t)
	out, err := run(t, s, `echo "$$ $(uname -n) $(ls / | tr '\n' ' ')"; touch /usr/x 2>/dev/null && echo writable; echo secret >/etc/made; ls /proc/1/fd | wc -l`)
	if err != nil {
		t.Fatal(err, out)
	}
	if !strings.HasPrefix(out, "1 localhost bin dev etc lib lib64 proc root run sbin sys tmp usr") || strings.Contains(out, "writable") {
		t.Errorf("the inside is not what it should be:\n%s", out)
	}
	if data, _ := os.ReadFile(filepath.Join(s.Root, "etc/made")); string(data) != "secret\n" {
		t.Errorf("what was written inside reads %q outside", data)
	}
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil || strings.Contains(string(mounts), s.Root) {
		t.Errorf("a mount is left on the host (%v)", err)
	}
}

func TestExitCode(t *testing.T) {
	_, err := run(t, machine(t), "exit 7")
	if exit, ok := errors.AsType[sandbox.ExitError](err); !ok || exit.Code != 7 {
		t.Fatalf("got %v, want exit status 7", err)
	}
}

// TestNothingOutlives starts a daemon that detaches itself: it must be gone
// when the command is, and when the context ends.
func TestNothingOutlives(t *testing.T) {
	s := machine(t)
	if out, err := run(t, s, "setsid sleep 4242.17 >/dev/null 2>&1 & sleep 0.1"); err != nil {
		t.Fatal(err, out)
	}
	noProcess(t, "sleep\x004242.17")
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if err := s.Run(ctx, sandbox.Streams{}, "/bin/sh", "-c", "setsid sleep 4242.18 & sleep 4242.18"); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("got %v, want the context's error", err)
	}
	noProcess(t, "sleep\x004242.18")
}

func noProcess(t *testing.T, cmdline string) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for {
		found := ""
		files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
		for _, f := range files {
			if data, _ := os.ReadFile(f); strings.HasPrefix(string(data), cmdline) {
				found = f
			}
		}
		if found == "" {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s still runs", found)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// TestCommunicator holds what Packer asks of one, above all that neither the
// host's shell nor its file system takes part.
func TestCommunicator(t *testing.T) {
	s := machine(t)
	c := sandbox.Communicator{Sandbox: s}
	var out bytes.Buffer
	cmd := &packersdk.RemoteCmd{Command: `X=inside; echo "$X $(cat /etc/name) 'q'"; exit 3`, Stdout: &out}
	if err := c.Upload("/etc/name", strings.NewReader("uploaded"), nil); err != nil {
		t.Fatal(err)
	}
	if err := c.Start(t.Context(), cmd); err != nil {
		t.Fatal(err)
	}
	if code := cmd.Wait(); code != 3 || out.String() != "inside uploaded 'q'\n" {
		t.Fatalf("exit %d, output %q", code, out.String())
	}
	// An absolute link leads to the inside's /etc, not to the host's.
	if err := os.Symlink("/etc/name", filepath.Join(s.Root, "tmp/link")); err != nil {
		t.Fatal(err)
	}
	out.Reset()
	if err := c.Download("/tmp/link", &out); err != nil || out.String() != "uploaded" {
		t.Fatalf("download: %v, %q", err, out.String())
	}
	if err := c.Download("/etc/none", &out); err == nil || !strings.Contains(err.Error(), "/etc/none") {
		t.Fatalf("a missing file: %v", err)
	}
}

func TestDirectories(t *testing.T) {
	s := machine(t)
	c := sandbox.Communicator{Sandbox: s}
	src := filepath.Join(t.TempDir(), "src")
	script := `mkdir -p ` + src + `/a/skip && cd ` + src + ` && echo one >a/one && chmod 0751 a/one && ln -s one a/two && echo no >a/skip/no`
	if out, err := exec.Command("sh", "-c", script).CombinedOutput(); err != nil {
		t.Fatal(err, string(out))
	}
	if err := c.UploadDir("/tmp", src, []string{"skip"}); err != nil {
		t.Fatal(err)
	}
	out, err := run(t, s, `cd /tmp/src && find . | sort | tr '\n' ' ' && stat -c %a a/one && readlink a/two`)
	if want := ". ./a ./a/one ./a/two 751\none\n"; err != nil || out != want {
		t.Fatalf("uploaded %q, want %q (%v)", out, want, err)
	}
	dst := t.TempDir()
	if err := c.DownloadDir("/tmp/src", dst, []string{"two"}); err != nil {
		t.Fatal(err)
	}
	if data, err := os.ReadFile(filepath.Join(dst, "a/one")); err != nil || string(data) != "one\n" {
		t.Fatal(err, string(data))
	}
	if _, err := os.Lstat(filepath.Join(dst, "a/two")); !os.IsNotExist(err) {
		t.Error("an excluded name was downloaded")
	}
}
