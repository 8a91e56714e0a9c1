//go:build build

package build_test

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/redoubt-registry/redoubt/butane"
	"github.com/redoubt-registry/redoubt/test/machine"
)

// mount mounts the root partition of a qcow2, read-only, for the test.
func mount(t *testing.T, qcow2 string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "dist"), 0o755); err != nil {
		t.Fatal(err)
	}
	abs, err := filepath.Abs(qcow2)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(abs, filepath.Join(dir, "dist/redoubt-0-amd64.qcow2")); err != nil {
		t.Fatal(err)
	}
	t.Setenv("REDOUBT_MACHINE_ROOT", "")
	root, err := machine.FindRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	point := filepath.Join(dir, "root")
	if err := os.Mkdir(point, 0o755); err != nil {
		t.Fatal(err)
	}
	options := fmt.Sprintf("ro,noload,loop,offset=%d,sizelimit=%d", root.Offset, root.Size)
	if out, err := exec.Command("mount", "-o", options, root.Disk, point).CombinedOutput(); err != nil {
		t.Fatalf("cannot mount the root: %v: %s", err, out)
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", point).CombinedOutput(); err != nil {
			t.Errorf("cannot unmount the root: %v: %s", err, out)
		}
	})
	return point
}

// TestHygiene holds that the image knows no secret, no identity and no past.
func TestHygiene(t *testing.T) { clean(t, mount(t, image(t))) }

func clean(t *testing.T, root string) {
	t.Helper()
	for _, pattern := range []string{
		"etc/ssh/ssh_host_*", "etc/hostname", "root/.ssh", "root/.bash_history", "home/*",
		"var/lib/systemd/random-seed", "var/lib/systemd/credential.secret", "var/lib/dbus/machine-id",
		"var/lib/cloud/*", "var/lib/redoubt/*", "var/cache/apt/*.bin", "var/lib/apt/lists/*", "boot/*", "tmp/*", "var/tmp/*", "etc/*-",
	} {
		found, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil || len(found) > 0 {
			t.Errorf("in the image: %v (%v)", found, err)
		}
	}
	if info, err := os.Stat(filepath.Join(root, "etc/machine-id")); err != nil || info.Size() != 0 {
		t.Errorf("the machine's identity must be empty: %v, %v", info, err)
	}
	walk(t, root, func(path string, info fs.FileInfo) {
		if strings.HasPrefix(path, "/var/log/") && !info.IsDir() {
			t.Errorf("a log: %s", path)
		}
		if info.Mode().IsRegular() && info.Size() < 1<<20 {
			data, err := os.ReadFile(filepath.Join(root, path))
			if err != nil || bytes.HasPrefix(data, []byte("-----BEGIN")) && bytes.Contains(data, []byte("PRIVATE KEY-----")) {
				t.Errorf("a private key: %s (%v)", path, err)
			}
		}
	})
	shadow, err := os.ReadFile(filepath.Join(root, "etc/shadow"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(shadow)) {
		if f := strings.Split(line, ":"); f[1] != "*" && !strings.HasPrefix(f[1], "!") {
			t.Errorf("%s has a password", f[0])
		}
	}
}

func walk(t *testing.T, root string, visit func(path string, info fs.FileInfo)) {
	t.Helper()
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err == nil {
			visit(strings.TrimPrefix(p, root), info)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestDrivers holds that the kernel has the drivers of the clouds and hosts
// that the image is for.
func TestDrivers(t *testing.T) {
	root := mount(t, image(t))
	var known bytes.Buffer
	for _, list := range []string{"modules.dep", "modules.builtin"} {
		files, err := filepath.Glob(filepath.Join(root, "usr/lib/modules/*", list))
		if err != nil || len(files) != 1 {
			t.Fatal(files, err)
		}
		data, err := os.ReadFile(files[0])
		if err != nil {
			t.Fatal(err)
		}
		known.Write(data)
	}
	for _, module := range []string{
		"virtio_blk", "virtio_scsi", "virtio_net", "virtio_pci", "nvme", "ahci", "ata_piix", "sd_mod", "sr_mod", "isofs",
		"vfat", "vmw_pvscsi", "vmxnet3", "hv_storvsc", "hv_netvsc", "xen-blkfront", "xen-netfront", "ena", "gve", "nf_tables", "loop",
	} {
		if !bytes.Contains(known.Bytes(), []byte("/"+module+".ko")) {
			t.Errorf("the kernel has no %s", module)
		}
	}
}

// facts describes what the provisioners put at each path of a root.
func facts(t *testing.T, root string, paths []string) map[string]string {
	t.Helper()
	all := make(map[string]string)
	for _, p := range paths {
		full := filepath.Join(root, p)
		info, err := os.Lstat(full)
		if err != nil {
			all[p] = "not there"
			continue
		}
		st, ok := info.Sys().(*syscall.Stat_t)
		if !ok {
			t.Fatal("no owner")
		}
		content := ""
		switch {
		case info.Mode().IsRegular():
			content = digest(t, full)
		case info.Mode()&fs.ModeSymlink != 0:
			content, _ = os.Readlink(full)
		}
		all[p] = fmt.Sprintf("%v %d:%d %s", info.Mode(), st.Uid, st.Gid, content)
	}
	return all
}

// TestSameOverSSH builds in a booted machine, over SSH, and compares with the
// image what the provisioners did in both.
func TestSameOverSSH(t *testing.T) {
	for _, script := range []string{"scripts/image", "scripts/image-vm"} {
		if out, err := command(t, nil, script); err != nil {
			t.Fatal(out)
		}
	}
	native, booted := mount(t, image(t)), mount(t, filepath.Join(repo, ".cache/vm/redoubt-vm.qcow2"))
	bu, err := os.ReadFile(filepath.Join(repo, "butane/appliance.bu"))
	if err != nil {
		t.Fatal(err)
	}
	tree, err := butane.Tree(bu, repo)
	if err != nil {
		t.Fatal(err)
	}
	paths := append(tree.Paths(), "/etc/passwd", "/etc/group", "/etc/fstab", "/etc/machine-id",
		"/usr/lib/python3/dist-packages/cloudinit/config/schemas/schema-cloud-config-v1.json", "/var/lib/dpkg/diversions")
	// What is enabled, on either side.
	for _, root := range []string{native, booted} {
		walk(t, filepath.Join(root, "etc/systemd/system"), func(path string, _ fs.FileInfo) {
			paths = append(paths, "/etc/systemd/system"+path)
		})
	}
	slices.Sort(paths)
	want, got := facts(t, native, paths), facts(t, booted, paths)
	for p := range want {
		if want[p] != got[p] {
			t.Errorf("%s: natively %s, over SSH %s", p, want[p], got[p])
		}
	}
	if want["/usr/bin/redoubt"] == "not there" {
		t.Error("the program is in neither")
	}
	clean(t, booted)
}
