package storagecheck

import (
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/redoubt-registry/redoubt/appliance/files"
	"github.com/redoubt-registry/redoubt/appliance/storage/health"
)

// fullAgain is how often it is said that a disk is full.
const fullAgain = 10 * time.Minute

// askForRoom says that the disk of a directory is full, to whoever waits for the file: at
// once, and again while it stays full. The file stays: that it goes is a change too.
func (w Watch) askForRoom(place Place, before, look health.Look) error {
	if _, ok := place.(Directory); !ok || w.Full == "" || !isFull(look) {
		return nil
	}
	if info, err := os.Stat(w.Full); err == nil && isFull(before) && look.At.Sub(info.ModTime()).Abs() < fullAgain {
		return nil
	}
	if err := files.Write(w.Full, []byte(look.At.UTC().Format(time.RFC3339)+"\n"), fileMode, -1); err != nil {
		return fmt.Errorf("cannot note that the disk is full: %w", err)
	}
	return nil
}

func isFull(look health.Look) bool {
	return slices.ContainsFunc(look.Operations, func(o health.Operation) bool { return o.Reason == full })
}
