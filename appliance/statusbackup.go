package appliance

import (
	"context"
	"path/filepath"
	"time"

	"github.com/redoubt-registry/redoubt/appliance/configuration/config"
	"github.com/redoubt-registry/redoubt/appliance/paths"
	"github.com/redoubt-registry/redoubt/appliance/storage/backup"
	"github.com/redoubt-registry/redoubt/appliance/system/status"
	"github.com/redoubt-registry/redoubt/units"
)

// backupStatus is how the backups go; nil where the configuration names no place.
func (m *Machine) backupStatus(cfg config.Config) *status.Backup {
	b := cfg.Backup
	if !b.To.Set() {
		return nil
	}
	place := b.To.Directory
	if place == "" {
		place = bucketName(b.To.Storage().S3)
	}
	l := backup.ReadLast(filepath.Join(m.Root, paths.Backup))
	s := &status.Backup{Place: place, Taken: l.Good, Most: 2*b.Every() + 2*time.Hour, Verified: l.Verified,
		Snapshots: l.Snapshots, Bytes: l.Bytes, Error: l.Error, Failures: l.Failures}
	if !l.Good.IsZero() {
		s.Age = m.Now().Sub(l.Good)
	}
	return s
}

// backupCause is why redoubt-backup.service has failed.
func (m *Machine) backupCause() string {
	if l := backup.ReadLast(filepath.Join(m.Root, paths.Backup)); l.Error != "" {
		return "the backup fails: " + l.Error
	}
	return "the backup cannot run"
}

// backUpSoon starts a backup of what must not be lost, and does not wait for it.
func (m *Machine) backUpSoon(cfg config.Config) {
	if !cfg.Backup.To.Set() {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := m.Units.Begin(ctx, units.Backup); err != nil {
		m.warn("the backup does not know of it yet, run redoubt backup now: %v", err)
	}
}
