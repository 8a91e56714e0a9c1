package disk

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

func TestUUID(t *testing.T) {
	s := Spec{Name: "redoubt", Version: "1.0.0"}
	u := s.uuid("disk")
	if !regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`).MatchString(u) {
		t.Errorf("%s is not a UUID of version 8", u)
	}
	if u != s.uuid("disk") || u == s.uuid("hash") || u == (Spec{Name: "redoubt", Version: "1.0.1"}).uuid("disk") {
		t.Error("a UUID must follow from name, version and purpose, and from each of them")
	}
}

// definition reads the values of a repart.d file.
func definition(t *testing.T, path string) map[string]string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	values := make(map[string]string)
	for line := range strings.Lines(string(data)) {
		if key, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok && key[0] != '#' {
			values[key] = value
		}
	}
	return values
}

// TestDefinitions holds that the machine at its first boot knows the
// partitions that the image was built with, in the same order and of the same
// size: systemd-repart would make a missing one again.
func TestDefinitions(t *testing.T) {
	built, err := filepath.Glob("../repart.d/*.conf")
	if err != nil || len(built) != 3 {
		t.Fatal(built, err)
	}
	guest, err := filepath.Glob("../base/usr/lib/repart.d/*.conf")
	if err != nil || len(guest) != 5 {
		t.Fatal(guest, err)
	}
	for i := range built {
		b, g := definition(t, built[i]), definition(t, guest[i])
		for _, key := range []string{"Type", "SizeMinBytes", "SizeMaxBytes"} {
			if b[key] != g[key] || b[key] == "" {
				t.Errorf("%s: %s is %q in the image and %q on the machine", guest[i], key, b[key], g[key])
			}
		}
	}
	a, b, data := definition(t, guest[2]), definition(t, guest[3]), definition(t, guest[4])
	if a["SizeMaxBytes"] != b["SizeMinBytes"] || a["SizeMaxBytes"] != b["SizeMaxBytes"] || a["Type"] != b["Type"] || b["Label"] != "_empty" {
		t.Errorf("slot B must be as slot A, and empty: %v, %v", a, b)
	}
	if data["Label"] != "data" || data["SizeMaxBytes"] != "" || data["Format"] != "ext4" {
		t.Errorf("data must take the rest of the disk: %v", data)
	}
}

func TestDefinitionsNameTheVersion(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "repart.d")
	if err := (Spec{Definitions: "../repart.d", Version: "1.2.3"}).definitions(dir); err != nil {
		t.Fatal(err)
	}
	if got := definition(t, filepath.Join(dir, "30-root.conf"))["Label"]; got != "root_1.2.3" {
		t.Errorf("the root's label is %q", got)
	}
	if err := (Spec{Definitions: t.TempDir()}).definitions(filepath.Join(dir, "none")); err == nil {
		t.Error("an empty directory of definitions was taken")
	}
}

func TestClampTimes(t *testing.T) {
	dir := t.TempDir()
	epoch := time.Unix(1_700_000_000, 0)
	for name, mtime := range map[string]time.Time{"old": epoch.Add(-time.Hour), "new": epoch.Add(time.Hour), "sub/x": epoch} {
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, nil, 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(p, mtime, mtime); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("nowhere", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	if err := ClampTimes(dir, epoch.Unix()); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]time.Time{"old": epoch.Add(-time.Hour), "new": epoch, "sub": epoch, "link": epoch, ".": epoch} {
		info, err := os.Lstat(filepath.Join(dir, name))
		if err != nil || !info.ModTime().Equal(want) {
			t.Errorf("%s: got %v, want %v (%v)", name, info.ModTime(), want, err)
		}
	}
}

func TestStageESP(t *testing.T) {
	tools, work := t.TempDir(), t.TempDir()
	for _, p := range []string{
		tools + "/usr/lib/shim/shimx64.efi.signed", tools + "/usr/lib/shim/mmx64.efi.signed",
		tools + "/usr/lib/systemd/boot/efi/systemd-bootx64.efi.signed", work + "/kernel", work + "/initrd",
	} {
		if err := writeFile(p, filepath.Base(p)); err != nil {
			t.Fatal(err)
		}
	}
	s := Spec{Tools: tools, Work: work, Name: "redoubt", Title: "Redoubt 1.0", Version: "1.0", Options: "rw quiet", Epoch: 1}
	if err := stageESP(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"EFI/BOOT/BOOTX64.EFI": "shimx64.efi.signed", "EFI/BOOT/grubx64.efi": "systemd-bootx64.efi.signed",
		"redoubt/linux_1.0": "kernel", "redoubt/initrd_1.0": "initrd",
		"loader/entries/redoubt_1.0.conf": "title Redoubt 1.0\nversion 1.0\nsort-key redoubt\nlinux /redoubt/linux_1.0\ninitrd /redoubt/initrd_1.0\noptions root=PARTLABEL=root_1.0 rw quiet\n",
	} {
		if data, err := os.ReadFile(filepath.Join(work, "esp", name)); err != nil || string(data) != want {
			t.Errorf("%s: %q, %v", name, data, err)
		}
	}
	grub, err := os.ReadFile(filepath.Join(work, "esp/grub/grub.cfg"))
	if err != nil || !strings.Contains(string(grub), "if linux /redoubt/linux_1.0 root=PARTLABEL=root_1.0 rw quiet; then\n  initrd /redoubt/initrd_1.0\n") {
		t.Errorf("grub.cfg: %s, %v", grub, err)
	}
	if err := os.Remove(work + "/initrd"); err != nil {
		t.Fatal(err)
	}
	if err := stageESP(t.Context(), s); err == nil || !strings.Contains(err.Error(), "initrd") {
		t.Errorf("a missing initrd: %v", err)
	}
}
