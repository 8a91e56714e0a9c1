// Package units holds the systemd units that Redoubt adds to a machine, and
// their names. The image gets the files by butane/appliance.bu; the agent
// names them when it plans what must start, reload or restart.
package units

import "embed"

// The names of the units. A test holds that each is a file here and that each
// file here has a name.
const (
	// Apply reads the configuration at boot, writes what follows from it and
	// starts the rest.
	Apply = "redoubt-apply.service"
	// RegistrySocket holds the ports, so that a restart refuses no connection.
	RegistrySocket = "redoubt-registry.socket"
	// Registry serves the registry, or says why it cannot.
	Registry = "redoubt-registry.service"
	// Redis is the blob-descriptor cache.
	Redis = "redoubt-redis.service"
	// Renew obtains and renews the server's certificate.
	Renew = "redoubt-renew.service"
	// RenewTimer starts Renew.
	RenewTimer = "redoubt-renew.timer"
	// Confirm takes back a configuration that was not confirmed, and ConfirmTimer
	// starts it.
	Confirm      = "redoubt-confirm.service"
	ConfirmTimer = "redoubt-confirm.timer"
	// Alert alerts people that the unit in its instance name failed.
	Alert = "redoubt-alert@.service"
	// Health checks the storage, and HealthTimer starts it.
	Health      = "redoubt-health.service"
	HealthTimer = "redoubt-health.timer"
	// GC frees the space of what no image needs, and GCTimer starts it.
	GC      = "redoubt-gc.service"
	GCTimer = "redoubt-gc.timer"
	// GCPath starts it when the disk is full.
	GCPath = "redoubt-gc.path"
	// Backup backs the machine up, and BackupTimer starts it.
	Backup      = "redoubt-backup.service"
	BackupTimer = "redoubt-backup.timer"
	// CertificateFiles starts Renew when a file changes that the configuration
	// names.
	CertificateFiles = "redoubt-files.path"
	// CredentialsSocket is where the registry gets the credentials of the
	// instance's role, and Credentials gets them from the cloud.
	CredentialsSocket = "redoubt-credentials.socket"
	Credentials       = "redoubt-credentials.service"
	// Firewall blocks the metadata service of the cloud for all users but root.
	Firewall = "redoubt-firewall.service"
	// EtcMount binds /etc/redoubt from the data partition.
	EtcMount = "etc-redoubt.mount"
)

// Sandbox is the drop-in that every service of Redoubt gets: the directives that
// are the same in all of them. It is no unit.
const Sandbox = "redoubt-.service.d/10-sandbox.conf"

// ReloadRefused begins what Registry says of itself (STATUS= of sd_notify(3)) after a
// reload that it refuses. The reason follows.
const ReloadRefused = "reload refused: "

// Files holds the unit files under their names, and Sandbox.
//
//go:embed *.service *.socket *.mount *.path *.timer redoubt-.service.d/*.conf
var Files embed.FS
