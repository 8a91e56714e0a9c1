package render

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/redoubt-registry/redoubt/appliance/configuration/config"
	"github.com/redoubt-registry/redoubt/appliance/paths"
	"github.com/redoubt-registry/redoubt/units"
)

// The values in the units themselves.
const (
	unitHTTPSPort   = 443
	unitHTTPPort    = 80
	unitStopTimeout = 75 * time.Second // of redoubt-registry.service
	stopMargin      = 15 * time.Second // after draining
	unitInterval    = 10 * time.Second // of redoubt-health.timer
)

// socketDropIn sets the ports where they are not the unit's own. Without TLS
// there is one port, and only this machine reaches it.
func socketDropIn(cfg config.Config) string {
	https, http := cfg.Listen.HTTPSPort, cfg.Listen.HTTPPort
	if cfg.TLS.Mode == "off" && len(cfg.Listen.Proxy.Trust) > 0 {
		// The registry answers its proxies and this machine, and refuses all others.
		return fmt.Sprintf("[Socket]\nListenStream=\nListenStream=%d\n", Port(cfg))
	}
	if cfg.TLS.Mode == "off" {
		port := Port(cfg)
		return fmt.Sprintf("[Socket]\nListenStream=\nListenStream=127.0.0.1:%d\nListenStream=[::1]:%d\n", port, port)
	}
	if https == unitHTTPSPort && http == unitHTTPPort {
		return ""
	}
	ports := fmt.Sprintf("[Socket]\nListenStream=\nListenStream=%d\n", https)
	if http != 0 {
		ports += fmt.Sprintf("ListenStream=%d\n", http)
	}
	return ports
}

// registryDropIn gives the registry its storage where that is not the unit's
// own, and the time to drain.
func registryDropIn(cfg config.Config) string {
	var d dropInText
	if fs := cfg.Storage.Filesystem; fs != nil && fs.Root != paths.StorageRoot {
		root := fs.Root // of plain characters: nothing here needs quotes
		d.unit("RequiresMountsFor=" + root)
		// A new disk belongs to root. The plus sign: the sandbox could not
		// make the directory that it is about to let the registry into.
		d.service(fmt.Sprintf("ExecStartPre=+/usr/bin/install -d -o %s -g %s -m 0750 %s", paths.RegistryUser, paths.RegistryUser, root))
		d.service("ReadWritePaths=-" + root)
	}
	if s3 := cfg.Storage.S3; s3 != nil {
		// Another bucket changes this line, and so restarts the registry: after a
		// reload, requests in flight would still use the old one.
		d.comment("Images are in " + place(s3))
	}
	d.loadBucket(cfg)
	d.loadRedis(cfg)
	d.loadProxy(cfg)
	if hasLDAPPassword(cfg) {
		d.load(paths.LDAPCredential)
	}
	if stop := cfg.Listen.DrainTimeout + stopMargin; stop > unitStopTimeout {
		d.service(fmt.Sprintf("TimeoutStopSec=%d", int(stop.Seconds())))
	}
	return d.String()
}

// healthDropIn lets the check of the storage reach it.
func healthDropIn(cfg config.Config) string {
	var d dropInText
	if fs := cfg.Storage.Filesystem; fs != nil && fs.Root != paths.StorageRoot {
		d.service("ReadWritePaths=-" + fs.Root)
	}
	d.loadBucket(cfg)
	d.loadProxy(cfg)
	return d.String()
}

// timerDropIn sets the time between two checks of the storage where it is not
// the unit's own. The empty line resets all of the unit's times.
func timerDropIn(cfg config.Config) string {
	interval := cfg.Health.Storage.Interval
	if interval == unitInterval {
		return ""
	}
	return fmt.Sprintf("[Timer]\nOnUnitInactiveSec=\nOnActiveSec=1s\nOnUnitInactiveSec=%gs\n", interval.Seconds())
}

// place names a bucket in one line.
func place(s3 *config.S3) string {
	at := "AWS"
	if s3.Endpoint != "" {
		at = s3.Endpoint
	}
	return strings.Join(strings.Fields(fmt.Sprintf("bucket %s %s at %s %s", s3.Bucket, s3.Root, at, s3.Region)), " ")
}

// dropInText is a drop-in while it is put together.
type dropInText struct{ comments, units, services []string }

func (d *dropInText) comment(line string) { d.comments = append(d.comments, "# "+line) }
func (d *dropInText) unit(line string)    { d.units = append(d.units, line) }
func (d *dropInText) service(line string) { d.services = append(d.services, line) }

// loadBucket hands the unit the credentials of the bucket.
func (d *dropInText) loadBucket(cfg config.Config) {
	s3 := cfg.Storage.S3
	if s3 == nil {
		return
	}
	if s3.IAMRole {
		d.unit("Wants=" + units.CredentialsSocket)
		d.unit("After=" + units.CredentialsSocket)
	}
	d.load(paths.S3Credential)
}

// loadRedis hands the unit the password of a Redis elsewhere.
func (d *dropInText) loadRedis(cfg config.Config) {
	if hasRedisPassword(cfg) {
		d.load(paths.RedisCredential)
	}
}

// loadProxy hands the unit the way out. Those of root read its file.
func (d *dropInText) loadProxy(cfg config.Config) {
	if cfg.Proxy.URL != "" {
		d.load(paths.OutboundCredential)
	}
}

func (d *dropInText) load(name string) {
	d.service("LoadCredential=" + name + ":" + credentialPath(name))
}

func (d *dropInText) String() string {
	lines := d.comments
	if len(d.units) > 0 {
		lines = append(append(lines, "[Unit]"), d.units...)
	}
	if len(d.services) > 0 {
		lines = append(append(lines, "[Service]"), d.services...)
	}
	if len(lines) == 0 {
		return ""
	}
	return strings.Join(lines, "\n") + "\n"
}

// watchDropIn names the watched files: a change takes effect at once, not at the next
// tick of the timer.
func watchDropIn(cfg config.Config) string {
	watched := Watched(cfg)
	if watched == nil {
		return ""
	}
	return "[Path]\nPathChanged=" + strings.Join(watched, "\nPathChanged=") + "\n"
}

// Watched are the paths of the operator's files with certificates, CAs and lists.
func Watched(cfg config.Config) []string {
	values := []config.Secret{config.Secret(cfg.TLS.InternalCA.Certificate), cfg.TLS.InternalCA.PrivateKey}
	if cfg.TLS.Mode == "files" {
		values = append(values, config.Secret(cfg.TLS.Files.Certificate), cfg.TLS.Files.PrivateKey)
	}
	if cfg.TLS.ClientAuth.Mode != "none" {
		for _, v := range slices.Concat(cfg.TLS.ClientAuth.CAs, cfg.TLS.ClientAuth.CRLs) {
			values = append(values, config.Secret(v))
		}
	}
	var found []string
	for _, v := range values {
		if path, ok := strings.CutPrefix(string(v), "file:"); ok && !slices.Contains(found, path) {
			found = append(found, path)
		}
	}
	slices.Sort(found)
	return found
}
