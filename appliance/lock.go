package appliance

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

const (
	lockPath     = "/run/redoubt/apply.lock"
	lockPatience = 2 * time.Minute
	lockPause    = 200 * time.Millisecond
)

// lock makes sure that only one apply runs. The lock goes with the process.
func (m *Machine) lock() (unlock func(), err error) {
	path := filepath.Join(m.Root, lockPath)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("cannot lock %s: %w", lockPath, err)
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("cannot lock %s: %w", lockPath, err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, errors.New("cannot apply: another redoubt apply is running; wait for it and try again")
		}
		return nil, fmt.Errorf("cannot lock %s: %w", lockPath, err)
	}
	return func() { f.Close() }, nil
}

// lockInTime waits for an apply that runs, if it does not take too long: it may
// have started this renewal.
func (m *Machine) lockInTime(ctx context.Context) (unlock func(), err error) {
	for deadline := time.Now().Add(lockPatience); ; {
		unlock, err = m.lock()
		if err == nil || time.Now().After(deadline) {
			return unlock, err
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(lockPause):
		}
	}
}

// flock waits for the lock on path.
func flock(path string) (unlock func(), err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("cannot lock %s: %w", path, err)
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("cannot lock %s: %w", path, err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		f.Close()
		return nil, fmt.Errorf("cannot lock %s: %w", path, err)
	}
	return func() { f.Close() }, nil
}
