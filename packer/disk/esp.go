package disk

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// stageESP lays out the EFI system partition in Work/esp: Debian's signed
// shim and systemd-boot under the names that firmware and shim look for, the
// kernel and initrd under the version's name, and an entry for each loader.
func stageESP(_ context.Context, s Spec) error {
	esp := filepath.Join(s.Work, "esp")
	kernel, initrd := "/"+s.Name+"/linux_"+s.Version, "/"+s.Name+"/initrd_"+s.Version
	options := "root=PARTLABEL=root_" + s.Version + " " + s.Options
	for dst, src := range map[string]string{
		"/EFI/BOOT/BOOTX64.EFI": filepath.Join(s.Tools, "usr/lib/shim/shimx64.efi.signed"),
		"/EFI/BOOT/mmx64.efi":   filepath.Join(s.Tools, "usr/lib/shim/mmx64.efi.signed"),
		// shim loads this name from its own directory.
		"/EFI/BOOT/grubx64.efi": filepath.Join(s.Tools, "usr/lib/systemd/boot/efi/systemd-bootx64.efi.signed"),
		kernel:                  filepath.Join(s.Work, "kernel"),
		initrd:                  filepath.Join(s.Work, "initrd"),
	} {
		if err := copyFile(esp+dst, src); err != nil {
			return err
		}
	}
	for dst, text := range map[string]string{
		"/loader/loader.conf": "timeout 0\nconsole-mode keep\neditor no\n",
		"/loader/entries/" + s.Name + "_" + s.Version + ".conf": fmt.Sprintf(
			"title %s\nversion %s\nsort-key %s\nlinux %s\ninitrd %s\noptions %s\n",
			s.Title, s.Version, s.Name, kernel, initrd, options),
		"/grub/grub.cfg": fmt.Sprintf(`# For machines with a BIOS; systemd-boot reads /loader. The root is this partition.
if serial --unit=0 --speed=115200; then
  terminal_output console serial
fi
if linux %s %s; then
  initrd %s
  boot
fi
echo "%s: cannot load the kernel from the EFI system partition; restarting in 30 s"
sleep 30
reboot
`, kernel, options, initrd, s.Title),
	} {
		if err := writeFile(esp+dst, text); err != nil {
			return err
		}
	}
	return ClampTimes(esp, s.Epoch)
}

func writeFile(dst, text string) error {
	if err := os.MkdirAll(filepath.Dir(dst), 0o755); err != nil {
		return fmt.Errorf("cannot stage the EFI system partition: %w", err)
	}
	if err := os.WriteFile(dst, []byte(text), 0o644); err != nil {
		return fmt.Errorf("cannot stage the EFI system partition: %w", err)
	}
	return nil
}

func copyFile(dst, src string) error {
	in, err := os.Open(src)
	if err != nil {
		return fmt.Errorf("cannot stage the EFI system partition: %w", err)
	}
	defer in.Close()
	if err := writeFile(dst, ""); err != nil {
		return err
	}
	out, err := os.OpenFile(dst, os.O_WRONLY, 0)
	if err != nil {
		return fmt.Errorf("cannot stage the EFI system partition: %w", err)
	}
	if _, err := io.Copy(out, in); err != nil {
		out.Close()
		return fmt.Errorf("cannot copy %s: %w", src, err)
	}
	return out.Close()
}
