//go:build build

package build_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestInterrupt presses Ctrl-C in the middle of each long step of a build with
// an empty cache: dist stays as it was, and nothing of the build is left.
func TestInterrupt(t *testing.T) {
	cache := filepath.Join(t.TempDir(), "cache")
	before := snapshot(t)
	// The first two leave the cache empty, the later ones need it filled.
	for _, step := range []string{"bootstrapping Debian", "unpacking the build tools", "provisioning", "making the initrd", "making the disk"} {
		t.Run(step, func(t *testing.T) {
			out, err := interrupt(t, cache, step)
			exit, ok := errors.AsType[*exec.ExitError](err)
			if !ok || exit.ExitCode() != 1 || !strings.Contains(out, "redoubt: interrupted") {
				t.Errorf("got %v, want exit status 1 and a line:\n%s", err, out)
			}
			sameFiles(t, before)
			nothingLeft(t, cache)
		})
	}
}

// interrupt runs scripts/image until it says step, waits for a moment, and
// signals the whole group as a terminal does.
func interrupt(t *testing.T, cache, step string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "scripts/image")
	cmd.Dir = repo
	cmd.Env = append(os.Environ(), "REFRESH=1", "IMAGE_CACHE="+cache)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	r, w := io.Pipe()
	cmd.Stdout, cmd.Stderr = w, w
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait(); w.Close() }()
	var out strings.Builder
	pressed := false
	for sc := bufio.NewScanner(r); sc.Scan(); {
		out.WriteString(sc.Text() + "\n")
		if !pressed && strings.HasSuffix(sc.Text(), step) {
			pressed = true
			time.Sleep(500 * time.Millisecond)
			if err := syscall.Kill(-cmd.Process.Pid, syscall.SIGINT); err != nil {
				t.Errorf("cannot interrupt: %v", err)
			}
		}
	}
	if !pressed {
		t.Errorf("the build never came to %q", step)
	}
	return out.String(), <-done
}

// nothingLeft looks for scratch files, mounts and processes.
func nothingLeft(t *testing.T, cache string) {
	t.Helper()
	for _, pattern := range []string{filepath.Join(cache, "work-*"), filepath.Join(repo, ".cache/out"), filepath.Join(repo, ".cache/build-*")} {
		if left, err := filepath.Glob(pattern); err != nil || len(left) > 0 {
			t.Errorf("left: %v (%v)", left, err)
		}
	}
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil || strings.Contains(string(mounts), cache) {
		t.Errorf("a mount is left (%v):\n%s", err, mounts)
	}
	deadline := time.Now().Add(20 * time.Second)
	for left := processes(cache); len(left) > 0; left = processes(cache) {
		if time.Now().After(deadline) {
			t.Fatalf("processes are left: %q", left)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// processes lists those that work in dir or name it.
func processes(dir string) []string {
	var found []string
	paths, _ := filepath.Glob("/proc/[0-9]*")
	for _, p := range paths {
		cmdline, _ := os.ReadFile(p + "/cmdline")
		root, _ := os.Readlink(p + "/root")
		if strings.Contains(string(cmdline), dir) || strings.HasPrefix(root, dir) {
			found = append(found, strings.ReplaceAll(string(cmdline), "\x00", " "))
		}
	}
	return found
}

// TestRefusals holds that what a build lacks is one line with cause and fix,
// and leaves dist alone.
func TestRefusals(t *testing.T) {
	small := filepath.Join(t.TempDir(), "small")
	if err := os.Mkdir(small, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", small, "tmpfs", 0, "size=64m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(small, 0) })
	before := snapshot(t)
	for _, c := range []struct {
		name string
		env  []string
		uid  uint32
		want string
	}{
		{"no root", nil, 65534, "redoubt: cannot build the image: not root. Run it as root or with sudo\n"},
		{"no mmdebstrap", []string{"PATH=" + pathWithout(t, "mmdebstrap")}, 0, "redoubt: cannot build the image: mmdebstrap is missing. Run make bootstrap\n"},
		{"full disk", []string{"IMAGE_CACHE=" + small}, 0, "redoubt: cannot build the image: 64 MiB are free in " + small + ", 3072 MiB are needed. Make room there\n"},
		{"bad version", []string{"REDOUBT_VERSION=one"}, 0, "redoubt: cannot use version \"one\": write MAJOR.MINOR.PATCH or MAJOR.MINOR.PATCH-WORD, at most 31 letters\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			cmd := exec.Command("scripts/image")
			cmd.Dir = repo
			cmd.Env = append(os.Environ(), c.env...)
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: c.uid, Gid: c.uid}}
			out, err := cmd.CombinedOutput()
			exit, ok := errors.AsType[*exec.ExitError](err)
			if !ok || exit.ExitCode() != 1 || string(out) != c.want {
				t.Errorf("got %v: %q, want %q", err, out, c.want)
			}
			sameFiles(t, before)
		})
	}
}

// TestUnreachableMirror holds that a failure in the middle is one line too.
func TestUnreachableMirror(t *testing.T) {
	before := snapshot(t)
	cache := filepath.Join(t.TempDir(), "cache")
	out, err := command(t, []string{"REFRESH=1", "IMAGE_CACHE=" + cache, `REDOUBT_SOURCES=["deb http://127.0.0.1:9/debian trixie main"]`}, "scripts/image")
	last := out[strings.LastIndex(strings.TrimSpace(out), "\n")+1:]
	if err == nil || !strings.HasPrefix(last, "redoubt: cannot download http://127.0.0.1:9/debian/dists/trixie/InRelease") ||
		!strings.Contains(last, "name a reachable mirror in sources") {
		t.Errorf("got %v, the last line: %q", err, last)
	}
	sameFiles(t, before)
	nothingLeft(t, cache)
}

// TestBadDeclaration holds that a mistake in the Butane file is told before
// anything is made.
func TestBadDeclaration(t *testing.T) {
	before := snapshot(t)
	out, err := command(t, []string{"REFRESH=1", "REDOUBT_BUTANE=test/build/testdata/unknown.bu"}, "scripts/image")
	if want := "/test/build/testdata/unknown.bu:4:3: $.storage.filez: unused key filez. All that"; err == nil || !strings.Contains(out, want) || strings.Count(out, "\n") != 1 {
		t.Errorf("got %v: %q, want %q", err, out, want)
	}
	sameFiles(t, before)
}

// pathWithout is a directory with links to all programs but one.
func pathWithout(t *testing.T, program string) string {
	t.Helper()
	dir := t.TempDir()
	for _, from := range append(filepath.SplitList(os.Getenv("PATH")), "/usr/sbin", "/sbin") {
		programs, err := os.ReadDir(from)
		if err != nil {
			continue
		}
		for _, p := range programs {
			if p.Name() != program {
				_ = os.Symlink(filepath.Join(from, p.Name()), filepath.Join(dir, p.Name()))
			}
		}
	}
	return dir
}
