package debian

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func plant(t *testing.T, root, path, text string) {
	t.Helper()
	p := filepath.Join(root, path)
	if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(p, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestSeal(t *testing.T) {
	root := t.TempDir()
	gone := []string{
		"etc/ssh/ssh_host_rsa_key", "etc/hostname", "etc/shadow-", "root/.ssh/id", "root/.bash_history",
		"var/lib/systemd/random-seed", "var/log/dpkg.log", "var/log/journal/1/system.journal", "var/cache/apt/pkgcache.bin",
		"var/lib/apt/lists/x_InRelease", "var/lib/dpkg/status-old", "tmp/script.sh", "var/tmp/x", "boot/config-6", "var/lib/cloud/instance/id",
	}
	kept := []string{"etc/ssh/sshd_config", "etc/shadow", "var/lib/dpkg/status", "usr/bin/true", "root/.profile"}
	for _, p := range append(slices.Clone(gone), kept...) {
		plant(t, root, p, "x")
	}
	plant(t, root, "etc/machine-id", "0123456789abcdef0123456789abcdef\n")
	if err := Seal(root); err != nil {
		t.Fatal(err)
	}
	for _, p := range gone {
		if _, err := os.Lstat(filepath.Join(root, p)); !os.IsNotExist(err) {
			t.Errorf("%s is still there (%v)", p, err)
		}
	}
	for _, p := range append(kept, "var/log/journal", "etc/.updated", "var/.updated") {
		if _, err := os.Lstat(filepath.Join(root, p)); err != nil {
			t.Errorf("%s is gone: %v", p, err)
		}
	}
	if info, err := os.Stat(filepath.Join(root, "etc/machine-id")); err != nil || info.Size() != 0 || info.Mode() != 0o444 {
		t.Errorf("the machine's identity: %v, %v", info, err)
	}
}

func TestInstalled(t *testing.T) {
	root := t.TempDir()
	plant(t, root, "var/lib/dpkg/status", strings.TrimPrefix(`
Package: zlib1g
Status: install ok installed
Architecture: amd64
Source: zlib (1:1.3)
Version: 1:1.3+b1
Maintainer: M <m@m.test>
Description: x
 Version: no field

Package: gone
Status: deinstall ok config-files
Version: 1

Package: apt
Status: install ok installed
Architecture: amd64
Version: 3.0
`, "\n"))
	got, err := Installed(root)
	want := []Package{
		{Name: "apt", Version: "3.0", Architecture: "amd64", Source: "apt", SourceVersion: "3.0"},
		{Name: "zlib1g", Version: "1:1.3+b1", Architecture: "amd64", Source: "zlib", SourceVersion: "1:1.3", Maintainer: "M <m@m.test>"},
	}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("got %+v, %v", got, err)
	}
}
