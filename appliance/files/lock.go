package files

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// ErrLocked says that another process holds a lock.
var ErrLocked = errors.New("another process holds the lock")

// lockPause is between two tries: flock(2) that waits cannot be ended by a context.
const lockPause = 20 * time.Millisecond

// TryLock takes the lock on path, a file that is made where it is missing or a
// directory, and gives it back with unlock or the end of the process. It returns
// ErrLocked while another process, or another call in this one, holds it. A symbolic
// link is not followed.
func TryLock(path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|unix.O_NOFOLLOW, 0o600)
	if errors.Is(err, unix.EISDIR) {
		f, err = os.Open(path)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot lock %s: %w", path, Cause(err))
	}
	for {
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	switch {
	case err == nil:
		return func() { f.Close() }, nil
	case errors.Is(err, unix.EWOULDBLOCK):
		err = ErrLocked
	}
	f.Close()
	return nil, fmt.Errorf("cannot lock %s: %w", path, err)
}

// Lock waits for the lock on path until ctx ends; then its error is ErrLocked.
func Lock(ctx context.Context, path string) (unlock func(), err error) {
	for {
		unlock, err = TryLock(path)
		if !errors.Is(err, ErrLocked) {
			return unlock, err
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(lockPause):
		}
	}
}
