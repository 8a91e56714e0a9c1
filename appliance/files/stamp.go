package files

import (
	"io/fs"
	"os"
	"syscall"
	"time"
)

// Stamp tells two versions of a file apart without reading them. Stamps are compared
// with ==; the zero Stamp is of no file.
type Stamp struct {
	Modified time.Time // when its content changed last
	Changed  time.Time // when anything of it changed last, its owner or name too
	Size     int64
	inode    uint64
}

// StampOf is the stamp of the file at path; symbolic links are followed. Two versions
// that were written within one tick of the file system's clock may have the same.
func StampOf(path string) (Stamp, error) {
	info, err := os.Stat(path)
	if err != nil {
		return Stamp{}, err
	}
	return stamp(info), nil
}

func stamp(info fs.FileInfo) Stamp {
	s := Stamp{Modified: info.ModTime(), Size: info.Size()}
	if sys, ok := info.Sys().(*syscall.Stat_t); ok {
		s.inode, s.Changed = sys.Ino, time.Unix(sys.Ctim.Unix())
	}
	return s
}
