package registry

import (
	"github.com/redoubt-registry/redoubt/appliance/registry/metrics"
	"github.com/redoubt-registry/redoubt/appliance/storage/backup"
)

// backupSamples are how the backups of this machine go; all zero before the first.
func (s *server) backupSamples() []metrics.Sample {
	of := func(f func(backup.Last) float64) func() float64 {
		return func() float64 { return f(backup.ReadLast(s.opts.Backup)) }
	}
	return []metrics.Sample{
		{Name: "redoubt_backup_last_run_seconds", Help: "When the last backup of this machine began, Unix time.", Value: of(func(l backup.Last) float64 { return unix(l.Began) })},
		{Name: "redoubt_backup_last_success_seconds", Help: "When the newest whole snapshot was taken, Unix time.", Value: of(func(l backup.Last) float64 { return unix(l.Good) })},
		{Name: "redoubt_backup_last_verified_seconds", Help: "When a snapshot was last read with a key on this machine, Unix time.", Value: of(func(l backup.Last) float64 { return unix(l.Verified) })},
		{Name: "redoubt_backup_failures", Help: "Failed backups in a row.", Value: of(func(l backup.Last) float64 { return float64(l.Failures) })},
		{Name: "redoubt_backup_duration_seconds", Help: "How long the last backup took.", Value: of(func(l backup.Last) float64 { return l.Seconds })},
		{Name: "redoubt_backup_snapshots", Help: "Snapshots at the place of the backup.", Value: of(func(l backup.Last) float64 { return float64(l.Snapshots) })},
		{Name: "redoubt_backup_bytes", Help: "Bytes of the images of the newest snapshot.", Value: of(func(l backup.Last) float64 { return float64(l.Bytes) })},
	}
}
