package render

import (
	"encoding/json"
	"fmt"
	"io/fs"

	"github.com/redoubt-registry/redoubt/appliance/configuration/config"
	"github.com/redoubt-registry/redoubt/appliance/configuration/tree"
	"github.com/redoubt-registry/redoubt/appliance/outbound"
	"github.com/redoubt-registry/redoubt/appliance/paths"
	"github.com/redoubt-registry/redoubt/units"
)

func credentialPath(name string) string { return paths.Credentials + "/" + name }

// hasRedisPassword tells whether the registry logs in to a Redis elsewhere.
func hasRedisPassword(cfg config.Config) bool {
	return cfg.Cache.Type == "redis" && cfg.Cache.Redis.Address != "" && cfg.Cache.Redis.Password != ""
}

// hasLDAPPassword tells whether the registry logs in to a directory to search there.
func hasLDAPPassword(cfg config.Config) bool {
	return len(cfg.Auth.LDAP.Servers) > 0 && cfg.Auth.LDAP.Password != ""
}

// credentials are the files that systemd hands to the units as credentials. A
// unit gets them when it starts, so that a change restarts the registry; the check of the
// storage is a new process each time.
func credentials(cfg config.Config, facts Facts) ([]tree.File, error) {
	var files []tree.File
	add := func(name string, content any) error {
		data, err := json.Marshal(content)
		if err != nil {
			return fmt.Errorf("cannot render %s: %w", credentialPath(name), err)
		}
		files = append(files, tree.File{
			Path: credentialPath(name), Mode: 0o600, Data: append(data, '\n'),
			Readers: []tree.Reader{{Unit: units.Registry, Verb: tree.Restart}},
		})
		return nil
	}
	if s3 := cfg.Storage.S3; s3 != nil {
		var content any = map[string]bool{"role": true}
		if !s3.IAMRole {
			content = map[string]string{"accessKey": facts.S3.Access, "secretKey": facts.S3.Secret}
		}
		if err := add(paths.S3Credential, content); err != nil {
			return nil, err
		}
	}
	if hasRedisPassword(cfg) {
		content := map[string]string{"password": facts.RedisPassword}
		if cfg.Cache.Redis.Username != "" {
			content["username"] = cfg.Cache.Redis.Username
		}
		if err := add(paths.RedisCredential, content); err != nil {
			return nil, err
		}
	}
	if hasLDAPPassword(cfg) {
		if err := add(paths.LDAPCredential, map[string]string{"password": facts.LDAPPassword}); err != nil {
			return nil, err
		}
	}
	if cfg.Proxy.URL != "" {
		if err := add(paths.OutboundCredential, proxy(cfg, facts)); err != nil {
			return nil, err
		}
	}
	if files != nil {
		files = append(files, tree.File{Path: paths.Credentials, Mode: fs.ModeDir | 0o700})
	}
	return files, nil
}

// proxy is the way out. The machine's own names are never asked of it.
func proxy(cfg config.Config, facts Facts) outbound.Proxy {
	p := cfg.Proxy
	own := append([]string{cfg.Hostname}, cfg.Aliases...)
	return outbound.Proxy{URL: p.URL, Username: p.Username, Password: facts.ProxyPassword, CAs: string(facts.ProxyCAs), NoProxy: append(own, p.NoProxy...)}
}

// trust is the CAs of what the registry speaks to, and of who reads its metrics.
func trust(cfg config.Config, facts Facts) []tree.File {
	restart := tree.Reader{Unit: units.Registry, Verb: tree.Restart}
	var files []tree.File
	if s3 := cfg.Storage.S3; s3 != nil && s3.CABundle != "" {
		files = append(files, private(paths.S3CA, facts.S3CAs, restart))
	}
	if usesRedisCAs(cfg) {
		files = append(files, private(paths.RedisCA, facts.RedisCAs, restart))
	}
	reload := tree.Reader{Unit: units.Registry, Verb: tree.Reload}
	if cfg.Audit.Syslog.CABundle != "" {
		files = append(files, private(paths.SyslogCA, facts.SyslogCAs, reload))
	}
	if len(cfg.Metrics.Auth.ClientCAs) > 0 {
		files = append(files, private(paths.MetricsCAs, facts.MetricsCAs, reload))
	}
	return files
}

func usesRedisCAs(cfg config.Config) bool {
	r := cfg.Cache.Redis
	return cfg.Cache.Type == "redis" && r.Address != "" && r.TLS && r.CABundle != ""
}

// firewall is the file whose presence lets any process reach the metadata service.
func firewall(cfg config.Config) []tree.File {
	if cfg.Firewall.Metadata != "open" {
		return nil
	}
	return []tree.File{{
		Path: paths.FirewallOpen, Mode: 0o644, Data: []byte(header),
		Readers: []tree.Reader{{Unit: units.Firewall, Verb: tree.Restart}},
	}}
}

// unread removes the readers: no running unit needs to act.
func unread(files []tree.File) []tree.File {
	for i := range files {
		files[i].Readers = nil
	}
	return files
}
