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

// renewalPatience is how long a renewal or a backup waits for an apply, which may have
// started it.
const renewalPatience = 2 * time.Minute

var errApplying = errors.New("cannot apply: another redoubt apply is running; wait for it and try again")

// lock makes sure that only one apply runs. What runs is waited for as long as the
// registry is for an answer: most often it is the renewal that follows an apply. The
// kernel releases the lock with the process.
func (m *Machine) lock(ctx context.Context) (unlock func(), err error) {
	return m.lockWithin(ctx, m.Patience)
}

func (m *Machine) lockWithin(ctx context.Context, patience time.Duration) (unlock func(), err error) {
	path := filepath.Join(m.Root, paths.ApplyLock)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("cannot lock %s: %w", paths.ApplyLock, err)
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	unlock, err = files.Lock(ctx, path)
	if errors.Is(err, files.ErrLocked) {
		return nil, errApplying
	}
	return unlock, err
}
