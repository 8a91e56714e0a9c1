package builder

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/hashicorp/packer-plugin-sdk/multistep"

	"github.com/redoubt-registry/redoubt/packer/debian"
	"github.com/redoubt-registry/redoubt/packer/disk"
	"github.com/redoubt-registry/redoubt/packer/sbom"
)

// prepareBase copies the base's files in, enables its units, and gives the
// root its name.
func (b *build) prepareBase(ctx context.Context, _ multistep.StateBag) error {
	if b.config.Files != "" {
		out, err := exec.CommandContext(ctx, "cp", "-RP", "--no-preserve=ownership", "--preserve=mode,links",
			b.config.Files+"/.", b.root()).CombinedOutput()
		if err != nil {
			return fmt.Errorf("cannot copy %s: %w: %s", b.config.Files, err, strings.TrimSpace(string(out)))
		}
	}
	modules := "# What the builder's initrd_modules names.\n" + strings.Join(b.config.InitrdModules, "\n") + "\n"
	if err := os.WriteFile(filepath.Join(b.root(), "etc/initramfs-tools/modules"), []byte(modules), 0o644); err != nil {
		return fmt.Errorf("cannot name the initrd's modules (is initramfs-tools among the packages?): %w", err)
	}
	release, err := os.OpenFile(filepath.Join(b.root(), "usr/lib/os-release"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return fmt.Errorf("cannot name the image: %w", err)
	}
	_, err = fmt.Fprintf(release, "IMAGE_ID=%s\nIMAGE_VERSION=%s\n", b.config.Image, b.config.Version)
	if err := errors.Join(err, release.Close()); err != nil {
		return fmt.Errorf("cannot name the image: %w", err)
	}
	if len(b.config.Enable) == 0 {
		return nil
	}
	if err := b.command(ctx, `systemctl enable "$@"`, b.config.Enable...); err != nil {
		return fmt.Errorf("cannot enable units: %w", err)
	}
	return nil
}

// initrd makes the initrd of the one kernel and takes both out of the root:
// boot loaders read them from the EFI system partition.
func (b *build) initrd(ctx context.Context, _ multistep.StateBag) error {
	kernels, err := filepath.Glob(filepath.Join(b.root(), "boot/vmlinuz-*"))
	if err != nil || len(kernels) != 1 {
		return fmt.Errorf("cannot choose a kernel: the root has %d of them; name one kernel package", len(kernels))
	}
	b.version = strings.TrimPrefix(filepath.Base(kernels[0]), "vmlinuz-")
	if err := b.command(ctx, `mkinitramfs -o /tmp/initrd "$1"`, b.version); err != nil {
		return fmt.Errorf("cannot make the initrd: %w", err)
	}
	for from, to := range map[string]string{kernels[0]: "kernel", filepath.Join(b.work, "tmp/initrd"): "initrd"} {
		if err := os.Rename(from, filepath.Join(b.work, to)); err != nil {
			return fmt.Errorf("cannot take the %s out of the root: %w", to, err)
		}
	}
	return nil
}

func (b *build) seal(context.Context, multistep.StateBag) error {
	if err := debian.Seal(b.root()); err != nil {
		return err
	}
	return disk.ClampTimes(b.root(), b.epoch())
}

func (b *build) disk(ctx context.Context, _ multistep.StateBag) error {
	_, err := disk.Build(ctx, disk.Spec{
		Tools: filepath.Join(b.work, "tools"), Work: b.work, Definitions: b.config.Partitions,
		Name: b.config.Image, Title: b.config.Title, Version: b.config.Version,
		Options: b.config.KernelOptions, Size: b.config.DiskSize << 30, Epoch: b.epoch(),
	})
	return err
}

// describe writes the list of packages and the SBOM.
func (b *build) describe(context.Context, multistep.StateBag) error {
	packages, err := debian.Installed(b.root())
	if err != nil {
		return err
	}
	var list strings.Builder
	for _, p := range packages {
		fmt.Fprintf(&list, "%s %s %s\n", p.Name, p.Version, p.Architecture)
	}
	if err := os.WriteFile(filepath.Join(b.work, "disk.packages"), []byte(list.String()), 0o644); err != nil {
		return fmt.Errorf("cannot write the list of packages: %w", err)
	}
	f, err := os.Create(filepath.Join(b.work, "disk.spdx.json"))
	if err != nil {
		return fmt.Errorf("cannot write the SBOM: %w", err)
	}
	err = sbom.Write(f, sbom.Image{
		Name: b.config.Image, Version: b.config.Version, Created: b.state.Date, Root: b.root(),
		Distribution: "debian-" + b.config.Suite, Packages: packages, Programs: b.config.Programs,
	})
	return errors.Join(err, f.Close())
}

// publish moves what was made into the output directory, the image last.
func (b *build) publish(context.Context, multistep.StateBag) error {
	out := b.config.OutputDirectory
	if err := os.MkdirAll(out, 0o755); err != nil {
		return fmt.Errorf("cannot make the output directory: %w", err)
	}
	base := filepath.Join(out, b.config.Image+"-"+b.config.Version+"-"+architecture)
	for _, suffix := range []string{".packages", ".spdx.json", ".qcow2"} {
		if err := move(filepath.Join(b.work, "disk"+suffix), base+suffix); err != nil {
			return err
		}
		b.files = append([]string{base + suffix}, b.files...)
	}
	return nil
}

// move renames src to dst, by a copy beside dst where they are on two disks.
func move(src, dst string) error {
	if os.Rename(src, dst) == nil {
		return nil
	}
	tmp := dst + ".part"
	out, err := exec.Command("cp", "--", src, tmp).CombinedOutput()
	if err == nil {
		err = os.Rename(tmp, dst)
	}
	if err != nil {
		os.Remove(tmp)
		return fmt.Errorf("cannot write %s: %w %s", dst, err, strings.TrimSpace(string(out)))
	}
	return nil
}
