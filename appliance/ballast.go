package appliance

import (
	"crypto/rand"
	"os"
	"path/filepath"

	"github.com/redoubt-registry/redoubt/appliance/files"
	"github.com/redoubt-registry/redoubt/appliance/storage/storagecheck"
)

// ballast is a file beside the images of a directory that goes first when the disk is full:
// to free space, too, something must be written.
const (
	ballast     = "redoubt/ballast"
	ballastSize = 256 << 10
)

// dropBallast makes the room that a process needs which frees space.
func dropBallast(root string) {
	if full, err := storagecheck.Full(root); err == nil && full {
		_ = os.Remove(filepath.Join(root, ballast)) // what fails then says so
	}
}

// keepBallast makes it again, once there is room.
func keepBallast(root string) {
	name := filepath.Join(root, ballast)
	if info, err := os.Stat(name); err == nil && info.Size() == ballastSize {
		return
	}
	data := make([]byte, ballastSize)
	_, _ = rand.Read(data) // which no file system makes smaller; it never fails
	if os.MkdirAll(filepath.Dir(name), 0o750) != nil || files.Write(name, data, 0o640, -1) != nil {
		_ = os.Remove(name) // the next process tries again
	}
}
