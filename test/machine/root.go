package machine

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"unicode/utf16"
)

// Root is a root file system to boot: a directory, or an ext4 partition of a disk.
type Root struct {
	Dir          string
	Disk         string
	Offset, Size int64 // bytes
}

// rootEnv names a directory to boot in place of the image, for work on the tests
// and the units.
const rootEnv = "REDOUBT_MACHINE_ROOT"

// FindRoot returns the root partition of the newest image in dist/.
func FindRoot(repo string) (Root, error) {
	if dir := os.Getenv(rootEnv); dir != "" {
		return Root{Dir: dir}, nil
	}
	images, err := filepath.Glob(filepath.Join(repo, "dist", "redoubt-*-amd64.qcow2"))
	if err != nil {
		return Root{}, err
	}
	var image string
	var built int64
	for _, i := range images {
		if fi, err := os.Stat(i); err == nil && fi.ModTime().UnixNano() > built {
			image, built = i, fi.ModTime().UnixNano()
		}
	}
	if image == "" {
		return Root{}, errors.New("no dist/redoubt-*-amd64.qcow2: build it with: make image")
	}
	raw := filepath.Join(repo, ".cache", "machine", fmt.Sprintf("%d.raw", built))
	if _, err := os.Stat(raw); err != nil {
		if err := unpack(image, raw); err != nil {
			return Root{}, err
		}
	}
	return Partition(raw, "root_")
}

// unpack makes a raw disk of image, and takes away those of earlier images.
func unpack(image, raw string) error {
	dir := filepath.Dir(raw)
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	out, err := exec.Command("qemu-img", "convert", "-O", "raw", image, raw+".part").CombinedOutput()
	if err != nil {
		return fmt.Errorf("cannot unpack %s (apt install qemu-utils): %w: %s", image, err, out)
	}
	return os.Rename(raw+".part", raw)
}

// Partition finds the partition whose name begins with prefix in a GUID partition
// table (UEFI 2.10, 5.3) of 512-byte sectors.
func Partition(disk, prefix string) (Root, error) {
	f, err := os.Open(disk)
	if err != nil {
		return Root{}, err
	}
	defer f.Close()
	const sector = 512
	header := make([]byte, sector)
	if _, err := f.ReadAt(header, sector); err != nil {
		return Root{}, fmt.Errorf("cannot read the partition table of %s: %w", disk, err)
	}
	if !bytes.HasPrefix(header, []byte("EFI PART")) {
		return Root{}, fmt.Errorf("cannot use %s: it has no GUID partition table", disk)
	}
	le := binary.LittleEndian
	count, size := int64(le.Uint32(header[80:])), int64(le.Uint32(header[84:]))
	entries := io.NewSectionReader(f, int64(le.Uint64(header[72:]))*sector, count*size)
	entry := make([]byte, size)
	for range count {
		if _, err := io.ReadFull(entries, entry); err != nil {
			return Root{}, fmt.Errorf("cannot read the partition table of %s: %w", disk, err)
		}
		name := make([]uint16, 36)
		for i := range name {
			name[i] = le.Uint16(entry[56+2*i:])
		}
		if strings.HasPrefix(string(utf16.Decode(name)), prefix) {
			first, last := int64(le.Uint64(entry[32:])), int64(le.Uint64(entry[40:]))
			return Root{Disk: disk, Offset: first * sector, Size: (last - first + 1) * sector}, nil
		}
	}
	return Root{}, fmt.Errorf("cannot use %s: it has no partition named %s…", disk, prefix)
}
