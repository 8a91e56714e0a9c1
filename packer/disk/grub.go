// Package disk makes the disk image: what is on its EFI system partition, the
// partitions, the boot code for BIOS machines, and the qcow2.
package disk

import (
	"encoding/binary"
	"fmt"
	"io"
)

const (
	sectorSize = 512
	// Where GRUB keeps the numbers that grub-install would patch (GRUB's
	// include/grub/i386/pc/boot.h and the end of diskboot.S).
	bootKernelSector = 0x5c  // boot.img: first sector of core.img, 64 bit
	bootDriveCheck   = 0x66  // boot.img: a jump, two bytes, for floppy disks only
	bootCodeEnd      = 440   // from here on the MBR has signature and partitions
	coreNextSector   = 0x1f4 // core.img: second sector of core.img, 64 bit
)

// EmbedGRUB writes GRUB's boot.img into the MBR code area of disk and core.img
// to byte offset core of it, where room bytes are free, as grub-install does
// for a BIOS boot partition.
func EmbedGRUB(disk io.WriterAt, bootImg, coreImg []byte, core, room int64) error {
	if len(bootImg) != sectorSize || len(coreImg) < sectorSize {
		return fmt.Errorf("cannot use GRUB's images: boot.img has %d bytes and core.img %d", len(bootImg), len(coreImg))
	}
	if core%sectorSize != 0 || int64(len(coreImg)) > room {
		return fmt.Errorf("cannot put GRUB's core.img of %d bytes at %d: %d bytes are free there", len(coreImg), core, room)
	}
	lba := uint64(core / sectorSize)
	boot := append([]byte(nil), bootImg[:bootCodeEnd]...)
	binary.LittleEndian.PutUint64(boot[bootKernelSector:], lba)
	boot[bootDriveCheck], boot[bootDriveCheck+1] = 0x90, 0x90 // trust the BIOS's drive number
	img := append([]byte(nil), coreImg...)
	binary.LittleEndian.PutUint64(img[coreNextSector:], lba+1)
	if _, err := disk.WriteAt(boot, 0); err != nil {
		return fmt.Errorf("cannot write GRUB's boot code: %w", err)
	}
	if _, err := disk.WriteAt(img, core); err != nil {
		return fmt.Errorf("cannot write GRUB's core: %w", err)
	}
	return nil
}
