package disk

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/redoubt-registry/redoubt/packer/sandbox"
)

// Packages are Debian's packages whose programs and boot code Build uses: the
// tools tree must hold them, unpacked but not configured.
func Packages() []string {
	return []string{
		"base-files", // has the links /bin and /lib64
		"coreutils", "dash", "tar", "zstd",
		"systemd-repart", "e2fsprogs", "dosfstools", "mtools", "qemu-utils",
		"grub-common", "grub-pc-bin",
		"systemd-boot-efi", "systemd-boot-efi-amd64-signed", "shim-signed",
	}
}

// Spec is a disk to be made.
type Spec struct {
	Tools       string // the tools tree
	Work        string // a directory with root/ (the root's files), kernel and initrd in it; Build adds to it
	Definitions string // a directory of systemd-repart definitions; @VERSION@ is replaced, sources are /build/root and /build/esp
	Name        string // directory on the ESP and name of the boot entry
	Title       string // what a boot menu shows
	Version     string
	Options     string // kernel command line, after root=
	Size        int64  // of the disk, in bytes
	Epoch       int64  // every time stamp, in seconds
}

// Build makes the disk as Work/disk.qcow2.
func Build(ctx context.Context, s Spec) (string, error) {
	for _, step := range []func(context.Context, Spec) error{stageESP, partition, compress} {
		if err := step(ctx, s); err != nil {
			return "", err
		}
	}
	return filepath.Join(s.Work, "disk.qcow2"), nil
}

// tool runs a program of the tools tree and returns its standard output.
func (s Spec) tool(ctx context.Context, argv ...string) ([]byte, error) {
	box := sandbox.Sandbox{
		Root:  s.Tools,
		Binds: []sandbox.Bind{{Source: s.Work, Target: "/build"}},
		Env: []string{
			"SOURCE_DATE_EPOCH=" + strconv.FormatInt(s.Epoch, 10),
			"TMPDIR=/build/tmp",
			// The directory hash would be seeded at random.
			"SYSTEMD_REPART_MKFS_OPTIONS_EXT4=-E hash_seed=" + s.uuid("hash"),
		},
	}
	var out, errs bytes.Buffer
	if err := box.Run(ctx, sandbox.Streams{Out: &out, Err: &errs}, argv...); err != nil {
		return nil, fmt.Errorf("cannot run %s: %w: %s", argv[0], err, lastLines(errs.String(), 3))
	}
	return out.Bytes(), nil
}

// uuid derives a UUID (RFC 9562, version 8) for a purpose.
func (s Spec) uuid(purpose string) string {
	b := sha256.Sum256([]byte(s.Name + "\x00" + s.Version + "\x00" + purpose))
	b[6], b[8] = b[6]&0x0f|0x80, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[0:4], b[4:6], b[6:8], b[8:10], b[10:16])
}

// part is a line of systemd-repart's JSON.
type part struct {
	File   string `json:"file"`
	Label  string `json:"label"`
	Offset int64  `json:"offset"`
	Size   int64  `json:"raw_size"`
}

func partition(ctx context.Context, s Spec) error {
	defs := filepath.Join(s.Work, "repart.d")
	if err := s.definitions(defs); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Join(s.Work, "tmp"), 0o755); err != nil {
		return fmt.Errorf("cannot make a directory: %w", err)
	}
	out, err := s.tool(ctx, "systemd-repart", "--empty=create", "--offline=yes", "--dry-run=no",
		"--sector-size=512", "--seed="+s.uuid("disk"), "--size="+strconv.FormatInt(s.Size, 10),
		"--definitions=/build/repart.d", "--json=short", "/build/disk.raw")
	if err != nil {
		return err
	}
	var parts []part
	if err := json.Unmarshal(out, &parts); err != nil || len(parts) == 0 {
		return fmt.Errorf("cannot read systemd-repart's answer %.80q: %w", out, err)
	}
	return s.embed(ctx, parts[0])
}

// definitions writes the partition definitions with the version filled in.
func (s Spec) definitions(dir string) error {
	files, err := filepath.Glob(filepath.Join(s.Definitions, "*.conf"))
	if err != nil || len(files) == 0 {
		return fmt.Errorf("cannot find partition definitions in %s: %w", s.Definitions, err)
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		return fmt.Errorf("cannot make a directory: %w", err)
	}
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			return fmt.Errorf("cannot read a partition definition: %w", err)
		}
		data = bytes.ReplaceAll(data, []byte("@VERSION@"), []byte(s.Version))
		if err := os.WriteFile(filepath.Join(dir, filepath.Base(f)), data, 0o644); err != nil {
			return fmt.Errorf("cannot write a partition definition: %w", err)
		}
	}
	return nil
}

// embed makes GRUB's core and puts it into bios, the first partition.
func (s Spec) embed(ctx context.Context, bios part) error {
	const dir = "/usr/lib/grub/i386-pc"
	// The prefix without a disk is the disk that the BIOS booted from.
	_, err := s.tool(ctx, "grub-mkimage", "-O", "i386-pc", "-d", dir, "-p", "(,gpt2)/grub", "-o", "/build/core.img",
		"biosdisk", "part_gpt", "fat", "linux", "normal", "configfile", "echo", "test", "serial", "terminal", "reboot", "sleep", "ls", "cat")
	if err != nil {
		return err
	}
	boot, err := os.ReadFile(filepath.Join(s.Tools, dir, "boot.img"))
	if err != nil {
		return fmt.Errorf("cannot read GRUB's boot code: %w", err)
	}
	core, err := os.ReadFile(filepath.Join(s.Work, "core.img"))
	if err != nil {
		return fmt.Errorf("cannot read GRUB's core: %w", err)
	}
	raw, err := os.OpenFile(filepath.Join(s.Work, "disk.raw"), os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("cannot open the disk: %w", err)
	}
	if err := EmbedGRUB(raw, boot, core, bios.Offset, bios.Size); err != nil {
		raw.Close()
		return err
	}
	return raw.Close()
}

// compress writes the qcow2: not preallocated, zstd, large clusters.
func compress(ctx context.Context, s Spec) error {
	_, err := s.tool(ctx, "qemu-img", "convert", "-f", "raw", "-O", "qcow2", "-c",
		"-o", "compat=1.1,compression_type=zstd,cluster_size=512k", "/build/disk.raw", "/build/disk.qcow2")
	return err
}

func lastLines(out string, n int) string {
	lines := strings.Split(strings.TrimSpace(out), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "; ")
}
