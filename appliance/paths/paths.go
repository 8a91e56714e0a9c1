// Package paths lists where the machine keeps its files, what its credentials are called,
// and whose they are.
package paths

// RegistryUser is who the registry runs as: root could do more than it. Its group has the
// same name, and may read what is rendered.
const RegistryUser = "redoubt-registry"

// What an apply renders, and a boot takes away.
const (
	Run         = "/run/redoubt"
	RegistryYML = Run + "/registry.yml"
	Htpasswd    = Run + "/htpasswd"
	RedisConf   = Run + "/redis.conf"
	// Retention has the rules of what stays, as JSON.
	Retention   = Run + "/retention.json"
	Maintenance = Run + "/maintenance.json"
	// The client CAs of the configuration, and their lists.
	ClientCAs  = Run + "/client-cas.pem"
	ClientCRLs = Run + "/client-crls.pem"
	// The CAs that a bucket's service and a Redis elsewhere are checked with.
	S3CA    = Run + "/s3-ca.pem"
	RedisCA = Run + "/redis-ca.pem"
	// The CA that a syslog server is checked with, and those of who reads the metrics.
	SyslogCA   = Run + "/syslog-ca.pem"
	MetricsCAs = Run + "/metrics-cas.pem"
	// Notifications has the endpoints that are told of pushes, with their secrets, as JSON.
	Notifications = Run + "/notifications.json"
	// FirewallOpen is there when any process may reach the metadata service.
	FirewallOpen = Run + "/firewall-open"
	// Credentials has what systemd hands to the units that use a bucket or a Redis
	// elsewhere, under the names of the credentials; root alone reads it. Each is a JSON
	// document with the login; none means no login.
	Credentials     = Run + "/credentials"
	S3Credential    = "redoubt.s3"
	RedisCredential = "redoubt.redis"
	LDAPCredential  = "redoubt.ldap"
	// OutboundCredential is not redoubt.…: an operator's own of such a name would be taken
	// for it by units that import those.
	OutboundCredential = "redoubt-outbound"
	OutboundFile       = Credentials + "/" + OutboundCredential
	S3Keys             = Credentials + "/" + S3Credential
	// What a terminal shows before and after a login.
	Issue = "/run/issue.d/50-redoubt.issue"
	MOTD  = "/run/motd.d/50-redoubt"
)

// What programs say of themselves until the next boot, and where they are reached.
const (
	Applied        = Run + "/applied.json"                   // what the units have read
	Alerts         = Run + "/alerts.json"                    // what was sent, and when
	ApplyLock      = Run + "/apply.lock"                     // held by the one apply that runs
	GC             = Run + "/gc.json"                        // what the configuration says of redoubt gc
	Collection     = "/run/redoubt-gc/last.json"             // what redoubt gc did last; every user may read it
	Renewal        = Run + "/renew.json"                     // the last renewal; every user may read it
	StorageFull    = "/run/redoubt-health/full"              // when the disk of the storage was last full
	StorageState   = "/run/redoubt-health/storage.json"      // the grade of the storage
	Neighbours     = "/run/redoubt-health/machines.json"     // which other machines use the storage
	Deliveries     = "/run/redoubt-registry/deliveries.json" // what the registry cannot hand on
	DeliveriesTold = "/run/redoubt-health/deliveries.json"   // what of it was told
	RedisSocket    = "/run/redoubt-redis/redis.sock"         // the machine's own Redis
	// AccessJournal takes the access log: the streams of systemd-journald@access.service.
	AccessJournal = "/run/systemd/journal.access/stdout"
	// AuditJournal takes the audit log: the streams of systemd-journald@audit.service.
	AuditJournal = "/run/systemd/journal.audit/stdout"
	RoleSocket   = "/run/redoubt-credentials/socket" // the credentials of the instance's role
)

// What the machine keeps.
const (
	state = "/var/lib/redoubt"
	// StorageRoot is where images lie unless the configuration says otherwise.
	// The registry's unit may write there without a drop-in.
	StorageRoot = state + "/registry"
	// StorageRecord remembers which file system the storage is: it is on another one, or
	// at least above the root.
	StorageRecord = state + "/health/storage.json"

	CA           = state + "/ca" // the server's own
	Certificates = state + "/certificates"
	Current      = Certificates + "/current" // the one that is shown
	Certificate  = Current + "/tls.crt"
	Key          = Current + "/tls.key"
	ACME         = state + "/acme"
	Challenges   = state + "/challenges" // the answers to those of an ACME CA

	ClientCA            = state + "/client-ca" // the machine's own
	ClientCACertificate = ClientCA + "/ca.crt"
	ClientCACRL         = ClientCA + "/crl.pem"

	// Audit has the audit log as a file, and what is on its way to a syslog server. In
	// AuditInbox other processes leave events for the registry.
	Audit      = state + "/audit"
	AuditInbox = Audit + "/inbox"

	// NotificationSpools has what waits for endpoints, a directory for each of their names.
	NotificationSpools = state + "/notifications"

	// Tokens has the keys of tokens, and the robots, where machines do not share them.
	Tokens = state + "/tokens"

	// Backup says how the last backup went; every user may read it.
	Backup = state + "/backup/last.json"
	// Restoring has what a restore unpacks, and what it replaces, until it ends.
	Restoring = state + "/restoring"
	// RestoringImages names the snapshot whose images are being restored.
	RestoringImages = state + "/restoring-images"
	// Restored is the configuration of the machine that this one was restored from.
	Restored = state + "/config/restored.yaml"

	// Secrets are those that the machine makes itself, for root alone.
	Secrets    = state + "/secrets"
	HTTPSecret = Secrets + "/http-secret"
	Hashes     = Secrets + "/password-hashes.json"

	LastGood    = state + "/config/last-good.sealed"
	Generations = state + "/generations"
	Hold        = state + "/config/hold.sealed" // the machine went back to a generation
	Trial       = state + "/config/trial.json"  // a configuration waits to be confirmed
)

// What people write, and what the image brings.
const (
	Operator     = "/etc/redoubt"
	OperatorFile = Operator + "/config.yaml"
	OperatorDir  = Operator + "/config.d"
	Image        = "/usr/lib/redoubt" // it is on machines alone
	ImageDir     = Image + "/config.d"
)

// MachineID is systemd's name of the machine: machine-id(5).
const MachineID = "/etc/machine-id"
