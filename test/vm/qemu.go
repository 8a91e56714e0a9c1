package vm

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// ovmf is where Debian's package ovmf puts the firmware.
const ovmf = "/usr/share/OVMF/"

// prepare makes what the machine's directory lacks: its copy of the image, its
// disk on top of that, and the firmware's variables.
func (m Machine) prepare(ctx context.Context) error {
	if err := os.MkdirAll(m.Dir, 0o755); err != nil {
		return err
	}
	if _, err := os.Stat(m.path(diskFile)); err != nil {
		// A copy, since a disk on top of an image that is built again would be garbage.
		if err := copyFile(m.path(baseFile), m.Image); err != nil {
			return fmt.Errorf("cannot copy the image: %w", err)
		}
		origin, err := Sum(m.path(baseFile))
		if err == nil {
			err = os.WriteFile(m.path(originFile), []byte(filepath.Base(m.Image)+" "+origin), 0o644)
		}
		if err != nil {
			return fmt.Errorf("cannot note the image: %w", err)
		}
		if err := qemuImg(ctx, m.Dir, "create", "-q", "-f", "qcow2", "-b", baseFile, "-F", "qcow2", diskFile); err != nil {
			return err
		}
	}
	vars := map[Firmware]string{UEFI: "OVMF_VARS_4M.fd", SecureBoot: "OVMF_VARS_4M.ms.fd"}[m.Firmware]
	if _, err := os.Stat(m.path(varsFile)); err == nil || vars == "" {
		return nil
	}
	if err := copyFile(m.path(varsFile), ovmf+vars); err != nil {
		return fmt.Errorf("cannot copy the firmware's variables: %w: run make bootstrap", err)
	}
	return nil
}

// Resize makes the disk of a machine that is off bigger, to a size such as "20G".
func (m Machine) Resize(ctx context.Context, size string) error {
	return qemuImg(ctx, m.Dir, "resize", "-q", diskFile, size)
}

// command is QEMU's command line.
func (m Machine) command() (*exec.Cmd, error) {
	dir, err := filepath.Abs(m.Dir)
	if err != nil {
		return nil, err
	}
	machine, cpu := "pc", "qemu64"
	if m.Firmware == UEFI || m.Firmware == SecureBoot {
		machine = "q35"
	}
	accel := "tcg,thread=multi"
	if m.Accel == KVM {
		accel, cpu = "kvm", "host"
	}
	cache := "writeback"
	if m.Volatile {
		cache = "unsafe"
	}
	args := []string{
		"-name", "redoubt", "-nodefaults", "-display", "none", "-no-user-config",
		"-accel", accel, "-cpu", cpu,
		"-smp", fmt.Sprint(or(m.CPUs, 2)), "-m", fmt.Sprint(or(m.Memory, 1024)),
		"-drive", "if=virtio,format=qcow2,file=" + diskFile + ",discard=unmap,cache=" + cache,
		"-netdev", "user,id=net0" + m.forwards(), "-device", "virtio-net-pci,netdev=net0,romfile=",
		"-device", "virtio-rng-pci",
		"-chardev", "file,id=serial,append=on,path=" + serialFile, "-serial", "chardev:serial",
		"-qmp", "unix:" + monitorSock + ",server=on,wait=off",
	}
	if _, err := os.Stat(m.path(seedFile)); err == nil {
		args = append(args, "-drive", "media=cdrom,format=raw,readonly=on,file="+seedFile)
	}
	if m.Shell {
		args = append(args, "-chardev", "socket,id=shell,path="+shellSock+",server=on,wait=off", "-serial", "chardev:shell")
		for name, text := range shellCredentials() {
			args = append(args, "-smbios", "type=11,value=io.systemd.credential.binary:"+name+"="+
				base64.StdEncoding.EncodeToString([]byte(text)))
		}
	}
	switch m.Firmware {
	case UEFI:
		args = append(args, pflash("OVMF_CODE_4M.fd")...)
	case SecureBoot:
		// Only code in system management mode may write the variables: without it Secure
		// Boot would be for show.
		machine += ",smm=on"
		args = append(args, "-global", "driver=cfi.pflash01,property=secure,value=on")
		args = append(args, pflash("OVMF_CODE_4M.ms.fd")...)
	}
	cmd := exec.Command("qemu-system-x86_64", append(args, "-machine", machine)...)
	cmd.Dir = dir // file names are relative: a socket's path may have 107 bytes at most
	return cmd, nil
}

func pflash(code string) []string {
	return []string{
		"-drive", "if=pflash,unit=0,format=raw,readonly=on,file=" + ovmf + code,
		"-drive", "if=pflash,unit=1,format=raw,file=" + varsFile,
	}
}

func (m Machine) forwards() string {
	var s strings.Builder
	for _, f := range m.Forwards {
		fmt.Fprintf(&s, ",hostfwd=tcp:127.0.0.1:%d-:%d", f.Host, f.Guest)
	}
	return s.String()
}

func qemuImg(ctx context.Context, dir string, args ...string) error {
	cmd := exec.CommandContext(ctx, "qemu-img", args...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("cannot run qemu-img %s: %w: %s", args[0], err, strings.TrimSpace(string(out)))
	}
	return nil
}

// copyFile copies under another name first, so that a full disk leaves no half a
// file that the next start takes for whole.
func copyFile(to, from string) error {
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	if err := os.WriteFile(to+".new", data, 0o644); err != nil {
		os.Remove(to + ".new")
		return err
	}
	return os.Rename(to+".new", to)
}

func or(n, otherwise int) int {
	if n == 0 {
		return otherwise
	}
	return n
}

// IsNew tells whether the machine has no disk yet.
func (m Machine) IsNew() bool {
	_, err := os.Stat(m.path(diskFile))
	return err != nil
}

// Origin is the image that the machine's disk was made from, and its SHA-256. They are
// empty if nobody knows.
func (m Machine) Origin() (name, sum string) {
	data, _ := os.ReadFile(m.path(originFile))
	name, sum, _ = strings.Cut(string(data), " ")
	return name, sum
}

// Sum is the SHA-256 of a file.
func Sum(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	_, err = io.Copy(h, f)
	return hex.EncodeToString(h.Sum(nil)), err
}

// Forget removes the machine's disk and what belongs to it, but for what its
// console printed.
func (m Machine) Forget() error {
	var errs []error
	for _, name := range []string{diskFile, baseFile, originFile, seedFile, varsFile, pidFile} {
		if err := os.Remove(m.path(name)); err != nil && !os.IsNotExist(err) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
