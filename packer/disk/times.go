package disk

import (
	"fmt"
	"io/fs"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// ClampTimes sets the time stamps of all in dir so that two builds are equal:
// a file's modification time is at most epoch (seconds), for .pyc files hold
// that of their source; a directory's is epoch; every access time is epoch.
func ClampTimes(dir string, epoch int64) error {
	access := unix.Timespec{Sec: epoch}
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		mtime := access
		if st, ok := info.Sys().(*syscall.Stat_t); ok && !d.IsDir() && info.ModTime().Before(time.Unix(epoch, 0)) {
			mtime = unix.Timespec{Sec: st.Mtim.Sec, Nsec: 0}
		}
		return unix.UtimesNanoAt(unix.AT_FDCWD, p, []unix.Timespec{access, mtime}, unix.AT_SYMLINK_NOFOLLOW)
	})
	if err != nil {
		return fmt.Errorf("cannot set time stamps: %w", err)
	}
	return nil
}
