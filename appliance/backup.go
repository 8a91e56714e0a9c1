package appliance

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"filippo.io/age"
	"github.com/sirupsen/logrus"

	"github.com/redoubt-registry/redoubt/appliance/configuration/config"
	"github.com/redoubt-registry/redoubt/appliance/files"
	"github.com/redoubt-registry/redoubt/appliance/paths"
	"github.com/redoubt-registry/redoubt/appliance/storage/backup"
	"github.com/redoubt-registry/redoubt/appliance/storage/progress"
	"github.com/redoubt-registry/redoubt/appliance/storage/sharedstate"
	"github.com/redoubt-registry/redoubt/appliance/system/imagestore"
)

// BackupOptions are what the caller of BackUp and of the others chooses.
type BackupOptions struct {
	Scheduled bool   // that there is no place to back up to is no failure
	From      string // a directory, or a file with backup.to; empty: what the machine has
	Snapshot  string // empty: the newest
	Identity  string // a file with private keys of age
	Parallel  int
	JSON      bool
	Output    *progress.Output
	Result    io.Writer
}

// BackUp takes a snapshot of the machine and its images, and removes old ones.
func (m *Machine) BackUp(ctx context.Context, finder imagestore.Finder, o BackupOptions) error {
	now := m.present()
	switch {
	case now.maintenance:
		return errors.New("cannot back up: the machine serves nothing yet; redoubt status says why")
	case !now.cfg.Backup.To.Set() && o.Scheduled:
		return nil
	case !now.cfg.Backup.To.Set():
		return errors.New("cannot back up: the configuration names no place; set backup.to and backup.recipients")
	}
	began := m.Now()
	taken, count, err := m.backUp(ctx, finder, now.target, o)
	if err == nil && len(taken.Faults) > 0 {
		err = fmt.Errorf("%d things of the images cannot be read, such as: %s; all else is backed up; redoubt storage scrub says what to do", len(taken.Faults), taken.Faults[0])
	}
	record := filepath.Join(m.Root, paths.Backup)
	last := backup.ReadLast(record)
	last.Began, last.Seconds = began.UTC(), m.Now().Sub(began).Seconds()
	if err != nil {
		last.Error, last.Failures = err.Error(), last.Failures+1
	} else {
		last.Error, last.Failures = "", 0
	}
	if count > 0 {
		last.Good, last.Snapshots, last.Bytes, last.NewBytes = taken.Taken, count, taken.Bytes(), taken.NewBytes
	}
	if err = errors.Join(err, last.Write(record)); err != nil {
		return err
	}
	if o.JSON {
		taken.Snapshot.Blobs = nil
		return json.NewEncoder(o.Result).Encode(taken)
	}
	_, err = fmt.Fprintf(o.Result, "snapshot %s: %d blobs (%s), of which %d (%s) are new; %d snapshots are kept\n",
		taken.Name, len(taken.Blobs), progress.Size(taken.Bytes()), taken.NewBlobs, progress.Size(taken.NewBytes), count)
	return err
}

// backUp returns how many snapshots there are then; none, if it could not finish.
func (m *Machine) backUp(ctx context.Context, finder imagestore.Finder, now target, o BackupOptions) (backup.Taken, int, error) {
	var taken backup.Taken
	recipients, err := age.ParseRecipients(strings.NewReader(strings.Join(now.cfg.Backup.Recipients, "\n")))
	if err != nil {
		return taken, 0, fmt.Errorf("cannot use backup.recipients: %w", err)
	}
	r, done, err := m.repository(ctx, finder, now.cfg.Backup.To, true)
	if err != nil {
		return taken, 0, err
	}
	defer done()
	r.Recipients = recipients
	source := backup.Source{Hostname: now.cfg.Hostname, Machine: m.machineName(), Now: m.Now(), State: m.stateOf(ctx, now), Parallel: o.Parallel,
		Meter: &progress.Meter{}, Fault: o.Output.Println}
	if now.cfg.Backup.Images {
		images, err := finder.Open(ctx, imagestore.Configured)
		if err != nil {
			return taken, 0, err
		}
		source.Images = images.Driver
	}
	stop := o.Output.Show(source.Meter)
	taken, err = r.Take(ctx, source)
	stop()
	if err != nil {
		return taken, 0, err
	}
	if _, err := r.Prune(ctx, now.cfg.Backup.Keep, m.Now()); err != nil {
		return taken, 0, err
	}
	list, err := r.List(ctx)
	return taken, len(list), err
}

// machineName tells this machine from others, and is no secret.
func (m *Machine) machineName() string {
	data, _ := os.ReadFile(filepath.Join(m.Root, paths.MachineID)) // none: it has no name
	return strings.TrimSpace(string(data))
}

const (
	backupLease     = "backup-lease"
	backupLeaseTime = 10 * time.Minute
)

// repository opens a place of backups until done is called. If changes is set nobody else
// may change it meanwhile.
func (m *Machine) repository(ctx context.Context, finder imagestore.Finder, to config.BackupPlace, changes bool) (r *backup.Repository, done func(), err error) {
	logrus.SetLevel(logrus.ErrorLevel) // upstream tells of each upload
	place, err := finder.Described(ctx, to.Storage())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, fmt.Errorf("cannot use the place of the backup: there is no directory %s; is its disk mounted? A new one is made with: install -d -m 0700 %s", to.Directory, to.Directory)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("cannot use the place of the backup: %s", strings.ReplaceAll(err.Error(), "storage.s3", "backup.to.s3"))
	}
	if !changes {
		return &backup.Repository{At: readOnly(place)}, func() {}, nil
	}
	at, end, err := targetOf(place)
	if err != nil {
		return nil, nil, fmt.Errorf("cannot use the place of the backup: %w", err)
	}
	r = &backup.Repository{At: at}
	if place.Root != "" {
		return r, func() { _ = end() }, nil // what is left there goes with the next run
	}
	host, _ := os.Hostname()
	lease, err := sharedstate.Take(ctx, place.State, backupLease, fmt.Sprintf("%s (process %d)", host, os.Getpid()), backupLeaseTime)
	if held, ok := errors.AsType[*sharedstate.Held](err); ok {
		return nil, nil, fmt.Errorf("cannot use the place of the backup, since another backup is under way: %w", held)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("cannot use the place of the backup: %w", err)
	}
	r.Beat = beating(lease.Extend)
	return r, func() { _ = lease.Release(context.WithoutCancel(ctx)) }, nil // else it ends by itself
}

// beating calls extend once a minute, however often and by whomever it is called.
func beating(extend func(context.Context, time.Duration) error) func(context.Context) error {
	var mu sync.Mutex
	last := time.Now()
	return func(ctx context.Context) error {
		mu.Lock()
		defer mu.Unlock()
		if ctx.Err() != nil || time.Since(last) < beatEvery {
			return ctx.Err()
		}
		last = time.Now()
		return extend(ctx, backupLeaseTime)
	}
}

// placeOf is where the backups are that a person means.
func (m *Machine) placeOf(from string) (config.BackupPlace, error) {
	if from == "" {
		to := m.present().cfg.Backup.To
		if !to.Set() {
			return to, errors.New("the configuration names no place of backups: name it with --from")
		}
		return to, nil
	}
	info, err := os.Stat(from)
	switch {
	case err != nil:
		return config.BackupPlace{}, fmt.Errorf("cannot use %s: %w", from, files.Cause(err))
	case info.IsDir():
		absolute, err := filepath.Abs(from)
		return config.BackupPlace{Directory: absolute}, err
	}
	place, err := imagestore.BackupPlace(from)
	if err != nil {
		return place, fmt.Errorf("cannot use %s: %w", from, err)
	}
	return place, nil
}

// identities are the keys in a file.
func identities(path string) ([]age.Identity, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("cannot read the identity %s: %w", path, files.Cause(err))
	}
	defer f.Close()
	list, err := age.ParseIdentities(io.LimitReader(f, 1<<20))
	if err != nil { // which may show a part of a key
		return nil, fmt.Errorf("cannot use the identity %s: it must have private keys of age alone, as age-keygen writes them: AGE-SECRET-KEY-1…", path)
	}
	return list, nil
}
