// Package render turns a configuration into the files that carry it out. It is
// pure: no clock, no environment, no disk. What the machine contributes, its
// secrets and the hashes of its passwords, comes in as Facts.
package render

import (
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/redoubt-registry/redoubt/appliance/configuration/config"
	"github.com/redoubt-registry/redoubt/appliance/configuration/tree"
	"github.com/redoubt-registry/redoubt/appliance/paths"
	"github.com/redoubt-registry/redoubt/units"
)

// unitsDir is where drop-ins lie until the next boot.
const unitsDir = "/run/systemd/system"

// Facts is what the machine contributes once and keeps.
type Facts struct {
	HTTPSecret     string            // signs the state of uploads
	PasswordHashes map[string]string // bcrypt, by user name
	ClientCAs      []byte            // PEM, of tls.clientAuth.cas
	ClientCRLs     []byte            // PEM, of tls.clientAuth.crls
	S3             Keys              // of storage.s3
	S3CAs          []byte            // PEM, of storage.s3.caBundle
	RedisPassword  string            // of cache.redis
	RedisCAs       []byte            // PEM, of cache.redis.caBundle
	LDAPPassword   string            // of auth.ldap
	LDAPCAs        []byte            // PEM, of auth.ldap.caBundle
	IssuerCAs      [][]byte          // PEM, of each item of auth.oidc.trust
	SyslogCAs      []byte            // PEM, of audit.syslog.caBundle
	ProxyPassword  string            // of proxy
	ProxyCAs       []byte            // PEM, of proxy.caBundle
	MetricsCAs     []byte            // PEM, of metrics.auth.clientCAs
	Endpoints      []Endpoint        // of each item of notifications
}

// Keys are the credentials of a bucket.
type Keys struct{ Access, Secret string }

// Paths is every file that this package may ever render: what an earlier apply
// left at one of them goes when the configuration no longer asks for it.
func Paths() []string {
	return []string{
		paths.RegistryYML, paths.Htpasswd, paths.RedisConf, paths.Retention, paths.Maintenance, paths.Issue, paths.MOTD,
		paths.ClientCAs, paths.ClientCRLs,
		paths.Credentials, credentialPath(paths.S3Credential), credentialPath(paths.RedisCredential), credentialPath(paths.LDAPCredential), paths.OutboundFile,
		paths.S3CA, paths.RedisCA, paths.SyslogCA, paths.MetricsCAs, paths.Notifications, paths.FirewallOpen,
		dropInPath(units.RegistrySocket), dropInPath(units.Registry), dropInPath(units.CertificateFiles),
		dropInPath(units.Health), dropInPath(units.HealthTimer),
		paths.GC, dropInPath(units.GC), dropInPath(units.GCTimer), dropInPath(units.Backup), dropInPath(units.BackupTimer),
	}
}

// WatchPath is the drop-in that is there when files are watched.
func WatchPath() string { return dropInPath(units.CertificateFiles) }

func dropInPath(unit string) string { return unitsDir + "/" + unit + ".d/50-redoubt.conf" }

// Tree returns every file that cfg asks for. cfg must be valid.
func Tree(cfg config.Config, facts Facts) (tree.Tree, error) {
	htpasswd, err := htpasswd(cfg.Auth.Users, facts.PasswordHashes)
	if err != nil {
		return nil, err
	}
	registry, err := registryYAML(cfg, facts, htpasswd)
	if err != nil {
		return nil, err
	}
	files := []tree.File{
		Registry(registry),
		private(paths.Htpasswd, htpasswd), // read again with registry.yml, which has its digest
	}
	if cfg.Cache.Type == "redis" && cfg.Cache.Redis.Address == "" {
		files = append(files, redisFile())
	}
	files = append(files, stays(cfg)...)
	files = append(files, ClientTrust(cfg, facts)...)
	handed, err := credentials(cfg, facts)
	if err != nil {
		return nil, err
	}
	files = append(files, handed...)
	files = append(files, trust(cfg, facts)...)
	told, err := notifications(cfg, facts)
	if err != nil {
		return nil, err
	}
	files = append(files, told...)
	files = append(files, firewall(cfg)...)
	files = append(files, DropIn(units.CertificateFiles, watchDropIn(cfg))...)
	files = append(files, DropIn(units.RegistrySocket, socketDropIn(cfg))...)
	files = append(files, DropIn(units.Registry, registryDropIn(cfg))...)
	files = append(files, DropIn(units.HealthTimer, timerDropIn(cfg))...)
	files = append(files, unread(DropIn(units.Health, healthDropIn(cfg)))...)
	files = append(files, collection(cfg))
	files = append(files, DropIn(units.GCTimer, scheduleDropIn(cfg))...)
	files = append(files, unread(DropIn(units.GC, healthDropIn(cfg)))...) // it reaches the same
	files = append(files, DropIn(units.BackupTimer, backupTimerDropIn(cfg))...)
	files = append(files, unread(DropIn(units.Backup, backupDropIn(cfg)))...)
	return tree.New(files...)
}

// redisFile is for everybody: it has no secret, and Redis is not in the registry's
// group.
func redisFile() tree.File {
	return tree.File{Path: paths.RedisConf, Mode: 0o644, Data: []byte(redisConf), Readers: []tree.Reader{{Unit: units.Redis, Verb: tree.Restart}}}
}

// Registry is the registry's configuration as a file.
func Registry(data []byte) tree.File {
	return private(paths.RegistryYML, data, tree.Reader{Unit: units.Registry, Verb: tree.Reload})
}

// ClientTrust is what the configuration adds to the client CA of the machine.
// The registry reads these files again by itself.
func ClientTrust(cfg config.Config, facts Facts) []tree.File {
	var files []tree.File
	if cfg.TLS.ClientAuth.Mode != "none" && len(facts.ClientCAs) > 0 {
		files = append(files, private(paths.ClientCAs, facts.ClientCAs))
	}
	if cfg.TLS.ClientAuth.Mode != "none" && len(facts.ClientCRLs) > 0 {
		files = append(files, private(paths.ClientCRLs, facts.ClientCRLs))
	}
	return files
}

// private is a file for the registry's group and nobody else.
func private(path string, data []byte, readers ...tree.Reader) tree.File {
	return tree.File{Path: path, Mode: 0o640, Group: paths.RegistryUser, Data: data, Readers: readers}
}

// DropIn is the drop-in of a unit with its directory, or nothing for no data.
func DropIn(unit, data string) []tree.File {
	if data == "" {
		return nil
	}
	file := dropInPath(unit)
	return []tree.File{
		{Path: path.Dir(file), Mode: fs.ModeDir | 0o755},
		{
			Path: file, Mode: 0o644, Unit: true, Data: []byte(header + data),
			Readers: []tree.Reader{{Unit: unit, Verb: tree.Restart}},
		},
	}
}

const header = "# Rendered by redoubt apply, which overwrites it.\n"

// htpasswd lists the users by name. Every user must have a hash.
func htpasswd(users []config.User, hashes map[string]string) ([]byte, error) {
	lines := map[string]string{}
	for _, u := range users {
		hash, ok := hashes[u.Name]
		if !ok {
			return nil, fmt.Errorf("cannot render the user %s: there is no hash of the password", u.Name)
		}
		lines[u.Name] = u.Name + ":" + hash + "\n"
	}
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(lines)) {
		b.WriteString(lines[name])
	}
	return []byte(b.String()), nil
}

// redisConf is the same on every machine. It is a cache alone: no port, nothing
// on disk, a bound on memory, and none of the commands with which a client could
// read files, load code or stop the server. FLUSHDB stays: garbage collection
// empties the cache. The commands are those of Redis 7 and 8, and of Valkey.
const redisConf = header + `port 0
protected-mode yes
unixsocket ` + paths.RedisSocket + `
unixsocketperm 770
dir /run/redoubt-redis
daemonize no
supervised auto
logfile ""
loglevel notice
databases 1
maxclients 1024
timeout 300
save ""
appendonly no
maxmemory 64mb
maxmemory-policy allkeys-lru
lazyfree-lazy-eviction yes
user default on nopass ~* resetchannels -@all +@read +@write +@connection +@transaction -@dangerous +info +flushdb
`
