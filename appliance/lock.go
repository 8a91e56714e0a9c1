package appliance

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/redoubt-registry/redoubt/appliance/files"
	"github.com/redoubt-registry/redoubt/appliance/paths"
)

const lockPatience = 2 * time.Minute

var errApplying = errors.New("cannot apply: another redoubt apply is running; wait for it and try again")

// lock makes sure that only one apply runs. The kernel releases it with the process.
func (m *Machine) lock() (unlock func(), err error) {
	return m.lockFor(func(path string) (func(), error) { return files.TryLock(path) })
}

// lockInTime waits for an apply that runs, if it does not take too long: it may
// have started this renewal.
func (m *Machine) lockInTime(ctx context.Context) (unlock func(), err error) {
	ctx, cancel := context.WithTimeout(ctx, lockPatience)
	defer cancel()
	return m.lockFor(func(path string) (func(), error) { return files.Lock(ctx, path) })
}

func (m *Machine) lockFor(take func(path string) (func(), error)) (unlock func(), err error) {
	path := filepath.Join(m.Root, paths.ApplyLock)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("cannot lock %s: %w", paths.ApplyLock, err)
	}
	unlock, err = take(path)
	if errors.Is(err, files.ErrLocked) {
		return nil, errApplying
	}
	return unlock, err
}
