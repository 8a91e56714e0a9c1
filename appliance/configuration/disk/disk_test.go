//go:build integration

package disk_test

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redoubt-registry/redoubt/appliance/configuration/disk"
	"github.com/redoubt-registry/redoubt/appliance/configuration/plan"
	"github.com/redoubt-registry/redoubt/appliance/configuration/tree"
)

// newRoot is a root directory with one user and one group of its own. The
// tests change owners, so they need root, and fail without.
func newRoot(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	put(t, root, "etc/passwd", "root:x:0:0::/:/bin/sh\nregistry:x:4711:4712::/:/bin/false\n")
	put(t, root, "etc/group", "root:x:0:\nreg:x:4712:\n")
	return root
}

func put(t *testing.T, root, path, data string) {
	t.Helper()
	path = filepath.Join(root, path)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(data), 0o644); err != nil {
		t.Fatal(err)
	}
}

func get(t *testing.T, root, path string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(root, path))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// apply brings root from what it has to want, as Machine does.
func apply(root string, want tree.Tree, more ...string) (plan.Plan, error) {
	have, err := disk.Read(root, append(want.Paths(), more...))
	if err != nil {
		return plan.Plan{}, err
	}
	p := plan.New(have, want, plan.Record(want))
	return p, disk.Commit(root, p)
}

func conf(path, data string) tree.File {
	return tree.File{Path: path, Mode: 0o640, Owner: "registry", Group: "reg", Data: []byte(data)}
}

func list(t *testing.T, dir string) []string {
	t.Helper()
	var names []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if path != dir && err == nil {
			rel, _ := filepath.Rel(dir, path)
			names = append(names, rel)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func TestCommitThenReadIsTheSame(t *testing.T) {
	root := newRoot(t)
	want := tree.Tree{
		{Path: "/run/d", Mode: fs.ModeDir | 0o750, Group: "reg"},
		conf("/run/d/f", "data"),
		{Path: "/run/d/link", Mode: fs.ModeSymlink | 0o777, Data: []byte("f")},
	}
	p, err := apply(root, want)
	if err != nil {
		t.Fatal(err)
	}
	if len(p.Write) != 3 {
		t.Errorf("first commit wrote %d files, want 3", len(p.Write))
	}
	info, err := os.Stat(filepath.Join(root, "run/d/f"))
	if err != nil {
		t.Fatal(err)
	}
	stat := info.Sys().(*syscall.Stat_t)
	if info.Mode() != 0o640 || stat.Uid != 4711 || stat.Gid != 4712 {
		t.Errorf("mode %v, owner %d:%d", info.Mode(), stat.Uid, stat.Gid)
	}
	if p, err = apply(root, want); err != nil || !p.Empty() {
		t.Errorf("second commit: %v\n%s", err, p)
	}
	if got := list(t, filepath.Join(root, "run/d")); len(got) != 2 {
		t.Errorf("left behind: %v", got)
	}
}

func TestModeAndOwnerAreMendedWhenTheBytesMatch(t *testing.T) {
	root := newRoot(t)
	want := tree.Tree{conf("/f", "data")}
	put(t, root, "f", "data")
	if err := os.Chmod(filepath.Join(root, "f"), 0o666); err != nil {
		t.Fatal(err)
	}
	if _, err := apply(root, want); err != nil {
		t.Fatal(err)
	}
	have, err := disk.Read(root, []string{"/f"})
	if err != nil {
		t.Fatal(err)
	}
	if have[0].Mode != 0o640 || have[0].Owner != "registry" || have[0].Group != "reg" {
		t.Errorf("got %v %s:%s", have[0].Mode, have[0].Owner, have[0].Group)
	}
}

func TestRemoveIsIdempotentAndLeavesFullDirectories(t *testing.T) {
	root := newRoot(t)
	put(t, root, "x.d/ours", "")
	put(t, root, "y.d/ours", "")
	put(t, root, "y.d/theirs", "")
	p := plan.Plan{Remove: []string{"/y.d/ours", "/y.d", "/x.d/ours", "/x.d", "/never/was"}}
	for range 2 {
		if err := disk.Commit(root, p); err != nil {
			t.Fatal(err)
		}
	}
	if got := strings.Join(list(t, root), " "); got != "etc etc/group etc/passwd y.d y.d/theirs" {
		t.Errorf("got %s", got)
	}
}

// Every refusal names the path and the reason, and leaves the root as it was,
// also the files that came before in the plan.
func TestRefusals(t *testing.T) {
	tests := []struct {
		name    string
		prepare func(t *testing.T, root string)
		file    tree.File
		want    string
	}{
		{"directory", func(t *testing.T, root string) { put(t, root, "z/x", "") }, conf("/z", ""), "/z: there is a directory in its place"},
		{"symbolic link", func(t *testing.T, root string) { link(t, root, "/etc/passwd", "z") }, conf("/z", ""), "/z: there is a symbolic link in its place"},
		{"pipe", func(t *testing.T, root string) {
			if err := syscall.Mkfifo(filepath.Join(root, "z"), 0o600); err != nil {
				t.Fatal(err)
			}
		}, conf("/z", ""), "/z: there is a named pipe in its place"},
		{"link out of the root", func(t *testing.T, root string) { link(t, root, "/tmp", "z") }, conf("/z/f", ""), "/z/f: /z is a symbolic link"},
		{"link inside the root", func(t *testing.T, root string) { link(t, root, "etc", "z") }, conf("/z/f/g", ""), "/z/f/g: /z is a symbolic link"},
		{"file for a directory", func(t *testing.T, root string) { put(t, root, "z", "") }, conf("/z/f", ""), "/z/f: /z is not a directory"},
		{"unknown user", nil, tree.File{Path: "/z", Owner: "nobody-here"}, "/z: there is no user nobody-here in /etc/passwd"},
		{"unknown group", nil, tree.File{Path: "/z", Group: "nobody-here"}, "/z: there is no group nobody-here in /etc/group"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			root := newRoot(t)
			put(t, root, "a", "old")
			if test.prepare != nil {
				test.prepare(t, root)
			}
			before := strings.Join(list(t, root), " ")
			err := disk.Commit(root, plan.Plan{Write: []tree.File{conf("/a", "new"), conf("/b/c/d", ""), test.file}})
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %s", err, test.want)
			}
			if after := strings.Join(list(t, root), " "); after != before {
				t.Errorf("before: %s\nafter: %s", before, after)
			}
			if got := get(t, root, "a"); got != "old" {
				t.Errorf("a file before the refused one changed: %s", got)
			}
		})
	}
}

func link(t *testing.T, root, target, name string) {
	t.Helper()
	if err := os.Symlink(target, filepath.Join(root, name)); err != nil {
		t.Fatal(err)
	}
}

func TestReadRefusesAPathThroughALink(t *testing.T) {
	root := newRoot(t)
	link(t, root, "etc", "z")
	if _, err := disk.Read(root, []string{"/z/passwd"}); err == nil || !strings.Contains(err.Error(), "/z is a symbolic link") {
		t.Errorf("got %v", err)
	}
}

func TestFullDisk(t *testing.T) {
	root := newRoot(t)
	small := filepath.Join(root, "small")
	if err := os.Mkdir(small, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", small, "tmpfs", 0, "size=64k"); err != nil {
		t.Fatalf("cannot mount a small tmpfs, which this test needs (run it as root): %v", err)
	}
	defer syscall.Unmount(small, 0)
	first := []tree.File{conf("/small/a", "old"), conf("/small/b", "old")}
	if err := disk.Commit(root, plan.Plan{Write: first}); err != nil {
		t.Fatal(err)
	}
	err := disk.Commit(root, plan.Plan{Write: []tree.File{
		conf("/small/a", "new"),
		conf("/small/b", strings.Repeat("x", 128<<10)),
	}})
	if err == nil || err.Error() != "cannot write /small/b: no space left on device" {
		t.Errorf("got %v", err)
	}
	if a, b := get(t, root, "small/a"), get(t, root, "small/b"); a != "old" || b != "old" {
		t.Errorf("a full disk left a=%q and b of %d bytes", a, len(b))
	}
	if got := list(t, small); len(got) != 2 {
		t.Errorf("left behind: %v", got)
	}
}

func TestExportNeedsNoOwner(t *testing.T) {
	dir := t.TempDir()
	if err := disk.Export(dir, tree.Tree{conf("/run/redoubt/registry.yml", "x")}); err != nil {
		t.Fatal(err)
	}
	if got := get(t, dir, "run/redoubt/registry.yml"); got != "x" {
		t.Errorf("got %q", got)
	}
}

// TestKill kills a process that commits two contents in turn, again and again:
// whatever the moment, each file is one of the two, whole. What the killed
// process left beside them is gone after the next commit.
func TestKill(t *testing.T) {
	root := newRoot(t)
	for i := range 20 {
		cmd := exec.Command(os.Args[0], "-test.run=^TestHelperCommitForever$")
		cmd.Env = append(os.Environ(), "REDOUBT_TEST_ROOT="+root)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		waitForFile(t, filepath.Join(root, "d/a"))
		time.Sleep(time.Duration(i*3) * time.Millisecond)
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait()
		data := []byte(get(t, root, "d/a"))
		if !bytes.Equal(data, content('0')) && !bytes.Equal(data, content('1')) {
			t.Fatalf("kill %d: the file has %d bytes and is neither content", i, len(data))
		}
	}
	if err := disk.Commit(root, plan.Plan{Write: []tree.File{conf("/d/a", "last")}}); err != nil {
		t.Fatal(err)
	}
	if got := list(t, filepath.Join(root, "d")); len(got) != 1 {
		t.Errorf("left behind: %v", got)
	}
}

func content(c byte) []byte { return bytes.Repeat([]byte{c}, 1<<20) }

func waitForFile(t *testing.T, path string) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		if _, err := os.Stat(path); err == nil {
			return
		}
	}
	t.Fatalf("%s did not appear", path)
}

// TestHelperCommitForever is the process that TestKill kills; by itself it
// commits once.
func TestHelperCommitForever(t *testing.T) {
	root := os.Getenv("REDOUBT_TEST_ROOT")
	forever := root != ""
	if !forever {
		root = newRoot(t)
	}
	for i := 0; forever || i < 1; i++ {
		f := tree.File{Path: "/d/a", Mode: 0o600, Data: content("01"[i%2])}
		if err := disk.Commit(root, plan.Plan{Write: []tree.File{f}}); err != nil {
			fmt.Fprintln(os.Stderr, err)
			t.Fatal(err)
		}
	}
}
