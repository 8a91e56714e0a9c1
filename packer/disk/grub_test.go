package disk

import (
	"bytes"
	"encoding/binary"
	"strings"
	"testing"
)

type memory []byte

func (m memory) WriteAt(p []byte, off int64) (int, error) { return copy(m[off:], p), nil }

func TestEmbedGRUB(t *testing.T) {
	boot := bytes.Repeat([]byte{0xb0}, 512)
	core := bytes.Repeat([]byte{0xc0}, 512+100)
	disk := make(memory, 4096)
	if err := EmbedGRUB(disk, boot, core, 2048, 1024); err != nil {
		t.Fatal(err)
	}
	if got := binary.LittleEndian.Uint64(disk[0x5c:]); got != 4 {
		t.Errorf("boot.img looks for the core in sector %d, not 4", got)
	}
	if disk[0x66] != 0x90 || disk[0x67] != 0x90 || disk[0x65] != 0xb0 || disk[0x68] != 0xb0 {
		t.Errorf("the drive check is % x", disk[0x65:0x69])
	}
	if disk[439] != 0xb0 || disk[440] != 0 {
		t.Error("the boot code must end before the disk's signature at 440")
	}
	if got := binary.LittleEndian.Uint64(disk[2048+0x1f4:]); got != 5 {
		t.Errorf("core.img continues in sector %d, not 5", got)
	}
	if disk[2047] != 0 || disk[2048] != 0xc0 || disk[2048+611] != 0xc0 || disk[2048+612] != 0 {
		t.Error("core.img is not where it belongs")
	}
	if boot[0x66] != 0xb0 || core[0x1f4] != 0xc0 {
		t.Error("the caller's images were changed")
	}
}

func TestEmbedGRUBRefuses(t *testing.T) {
	sector := make([]byte, 512)
	for want, err := range map[string]error{
		"boot.img has 100 bytes": EmbedGRUB(memory{}, make([]byte, 100), sector, 512, 512),
		"511 bytes are free":     EmbedGRUB(memory{}, sector, sector, 512, 511),
		"at 100":                 EmbedGRUB(memory{}, sector, sector, 100, 512),
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}
