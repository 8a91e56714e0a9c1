package render

import (
	"github.com/redoubt-registry/redoubt/appliance/configuration/config"
	"github.com/redoubt-registry/redoubt/appliance/paths"
	"github.com/redoubt-registry/redoubt/units"
)

// unitBackup is the time of redoubt-backup.timer itself.
const unitBackup = "01:30"

// backupTimerDropIn sets when the machine is backed up where that is not the unit's own
// time.
func backupTimerDropIn(cfg config.Config) string {
	return calendarDropIn(cfg.Backup.Schedule, unitBackup)
}

// backupDropIn lets the backup reach its place, and the images where they are elsewhere.
func backupDropIn(cfg config.Config) string {
	var d dropInText
	to := cfg.Backup.To
	if !to.Set() {
		return ""
	}
	if to.Directory != "" { // of plain characters: nothing here needs quotes
		d.unit("RequiresMountsFor=" + to.Directory)
		d.service("ReadWritePaths=-" + to.Directory)
	}
	if fs := cfg.Storage.Filesystem; fs != nil && fs.Root != paths.StorageRoot {
		d.unit("RequiresMountsFor=" + fs.Root)
	}
	if s3 := cfg.Storage.S3; to.S3.Bucket != "" && to.S3.IAMRole || s3 != nil && s3.IAMRole {
		d.unit("Wants=" + units.CredentialsSocket)
		d.unit("After=" + units.CredentialsSocket)
	}
	return d.String()
}
