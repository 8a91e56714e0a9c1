package render

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/distribution/distribution/v3/configuration"
	"go.yaml.in/yaml/v2"

	"github.com/redoubt-registry/redoubt/appliance/configuration/config"
	"github.com/redoubt-registry/redoubt/appliance/hostname"
	"github.com/redoubt-registry/redoubt/appliance/paths"
	"github.com/redoubt-registry/redoubt/appliance/registryyml"
)

// A dead or hung cache may cost a request 50 ms at most, once: these are the
// dialling of it, and the waiting for its answer.
const (
	redisDial = 20 * time.Millisecond
	redisWait = 30 * time.Millisecond
)

// registryYAML is the registry's configuration in distribution's own type, with
// the overlays environment: and registry: merged last.
func registryYAML(cfg config.Config, facts Facts, htpasswd []byte) ([]byte, error) {
	base, err := yaml.Marshal(registryConfig(cfg, facts, htpasswd))
	if err != nil {
		return nil, fmt.Errorf("cannot render %s: %w", paths.RegistryYML, err)
	}
	var document map[any]any
	if err := yaml.Unmarshal(base, &document); err != nil {
		return nil, fmt.Errorf("cannot render %s: %w", paths.RegistryYML, err)
	}
	merged, err := yaml.Marshal(config.MergePatch(plain(document), cfg.Overlay()))
	if err != nil {
		return nil, fmt.Errorf("cannot render %s: %w", paths.RegistryYML, err)
	}
	final, err := parse(merged)
	if err != nil {
		return nil, fmt.Errorf("cannot use the registry: or environment: overlay: %w", err)
	}
	out, err := yaml.Marshal(final)
	if err != nil {
		return nil, fmt.Errorf("cannot render %s: %w", paths.RegistryYML, err)
	}
	return append([]byte(header), out...), nil
}

func registryConfig(cfg config.Config, facts Facts, htpasswd []byte) configuration.Configuration {
	var c configuration.Configuration
	c.Version = configuration.CurrentVersion
	c.Log.Level = configuration.Loglevel(cfg.Log.Level)
	c.Log.Formatter = cfg.Log.Format
	c.Log.AccessLog.Disabled = !cfg.Log.AccessLog
	for _, f := range cfg.Log.Fields {
		if c.Log.Fields == nil {
			c.Log.Fields = map[string]any{}
		}
		c.Log.Fields[f.Name] = f.Value
	}
	c.Storage = storage(cfg)
	c.Auth = configuration.Auth{"redoubt": auth(cfg, facts, htpasswd)}
	c.HTTP = http(cfg, facts)
	c.Health.StorageDriver = configuration.StorageDriver{
		Enabled:   true,
		Interval:  cfg.Health.Storage.Interval,
		Threshold: cfg.Health.Storage.Threshold,
	}
	if cfg.Cache.Type == "redis" {
		c.Redis = redis(cfg.Cache.Redis)
	}
	return c
}

// redis is the machine's own Redis, or the one elsewhere. What logs in to that
// is a credential and not here.
func redis(r config.Redis) configuration.Redis {
	out := configuration.Redis{Options: configuration.RedisOptions{
		Addrs:        []string{paths.RedisSocket},
		MaxRetries:   -1, // none
		DialTimeout:  redisDial,
		ReadTimeout:  redisWait,
		WriteTimeout: redisWait,
	}}
	if r.Address == "" {
		return out
	}
	out.Options.Addrs = []string{r.Address}
	switch {
	case r.TLS && r.CABundle != "":
		out.TLS.RootCAs = []string{paths.RedisCA}
	case r.TLS: // which distribution turns on by naming a file
		out.TLS.RootCAs = []string{systemCAs}
	}
	return out
}

// systemCAs is the bundle of the system, in Debian's place.
const systemCAs = "/etc/ssl/certs/ca-certificates.crt"

func storage(cfg config.Config) configuration.Storage {
	s := configuration.Storage{"delete": {"enabled": true}}
	if cfg.Storage.Filesystem != nil {
		s["filesystem"] = configuration.Parameters{"rootdirectory": cfg.Storage.Filesystem.Root}
	}
	if s3 := cfg.Storage.S3; s3 != nil {
		s["s3"] = bucket(s3)
		if !s3.Redirect {
			s["redirect"] = configuration.Parameters{"disable": true}
		}
	}
	switch cfg.Cache.Type {
	case "redis":
		s["cache"] = configuration.Parameters{"blobdescriptor": "redis"}
	case "memory":
		s["cache"] = configuration.Parameters{"blobdescriptor": "inmemory", "blobdescriptorsize": cfg.Cache.Size}
	}
	return s
}

// bucket is a bucket in the words of distribution's driver s3, and with
// cabundle, which is ours. The keys are a credential and not here.
func bucket(s3 *config.S3) configuration.Parameters {
	p := configuration.Parameters{"bucket": s3.Bucket, "region": cmp.Or(s3.Region, anyRegion)}
	if s3.Endpoint != "" {
		p["regionendpoint"] = strings.TrimRight(s3.Endpoint, "/")
		p["forcepathstyle"] = !hostname.OfAWS(s3.Endpoint) // at AWS a bucket's name belongs to the host
	}
	if s3.Root != "" {
		p["rootdirectory"] = s3.Root
	}
	if s3.Encrypt {
		p["encrypt"] = true
	}
	if s3.KMSKeyID != "" {
		p["keyid"] = s3.KMSKeyID
	}
	if s3.CABundle != "" {
		p["cabundle"] = paths.S3CA
	}
	return p
}

// anyRegion is what a service without regions expects in a signature.
const anyRegion = "us-east-1"

func http(cfg config.Config, facts Facts) configuration.HTTP {
	h := configuration.HTTP{
		Addr:         ":" + strconv.Itoa(Port(cfg)),
		Secret:       facts.HTTPSecret,
		DrainTimeout: cfg.Listen.DrainTimeout,
	}
	h.HTTP2.Disabled = !cfg.Listen.HTTP2
	h.Debug.Addr = cfg.Metrics.Listen
	for _, header := range cfg.Listen.Headers {
		if h.Headers == nil {
			h.Headers = map[string][]string{}
		}
		h.Headers[header.Name] = append(h.Headers[header.Name], header.Values...)
	}
	if cfg.TLS.Mode == "off" {
		// Whoever stands before the registry knows its outer name; links
		// without a name are right for all of them.
		h.RelativeURLs = true
		if len(cfg.Listen.Proxy.Trust) > 0 {
			h.Host = "https://" + authority(cfg.Hostname, 443)
		} else {
			h.Addr = "127.0.0.1" + h.Addr
		}
		return h
	}
	h.Host = "https://" + authority(cfg.Hostname, cfg.Listen.HTTPSPort)
	h.TLS.Certificate, h.TLS.Key = paths.Certificate, paths.Key
	h.TLS.MinimumTLS = "tls" + cfg.TLS.MinVersion
	if cfg.TLS.ClientAuth.Mode != "none" {
		h.TLS.ClientAuth = configuration.ClientAuthVerifyClientCertIfGiven
		if cfg.TLS.ClientAuth.Mode == "required" {
			h.TLS.ClientAuth = configuration.ClientAuthRequireAndVerifyClientCert
		}
		h.TLS.ClientCAs = []string{paths.ClientCACertificate}
		if len(cfg.TLS.ClientAuth.CAs) > 0 {
			h.TLS.ClientCAs = append(h.TLS.ClientCAs, paths.ClientCAs)
		}
	}
	return h
}

// auth is the options of our access controller. What distribution's own words
// cannot say of proxies, client certificates and several machines is here.
func auth(cfg config.Config, facts Facts, htpasswd []byte) configuration.Parameters {
	options := configuration.Parameters{"realm": cfg.Auth.Realm, "path": paths.Htpasswd}
	if trust := cfg.Listen.Proxy.Trust; len(trust) > 0 {
		options["proxies"] = trust
	}
	if cfg.Nodes > 1 {
		options["nodes"] = cfg.Nodes // for the look at who else uses the bucket
	}
	if cfg.Nodes > 1 && cfg.TLS.Mode == "acme" {
		options["challenges"] = "bucket" // whichever machine the CA asks
	}
	digest := sha256.Sum256(htpasswd)
	options["users"] = hex.EncodeToString(digest[:]) // those that the rules were written for
	options["state"] = paths.Tokens
	if cfg.Nodes > 1 {
		options["state"] = "bucket" // each machine takes the tokens of the others
	}
	rights(cfg.Auth, options)
	writtenOnce(cfg.Immutable, options)
	robots(cfg.Auth.Robots, options)
	quotas(cfg.Quotas, options)
	trusts(cfg.Auth.OIDC.Trust, facts.IssuerCAs, options)
	watched(cfg, options)
	directory(cfg.Auth.LDAP, facts.LDAPCAs, options)
	if cfg.TLS.ClientAuth.Mode == "none" {
		return options
	}
	crls := []string{paths.ClientCACRL}
	if len(cfg.TLS.ClientAuth.CRLs) > 0 {
		crls = append(crls, paths.ClientCRLs)
	}
	options["crls"] = crls
	var users []map[string]any
	for _, c := range cfg.Auth.ClientCertificates {
		user := map[string]any{"match": c.Match, "user": c.User}
		if len(c.Groups) > 0 {
			user["groups"] = c.Groups
		}
		users = append(users, user)
	}
	if users != nil {
		options["clientcertificates"] = users
	}
	return options
}

// Port is the port on which the registry itself answers. Without TLS that is
// the port for HTTP, or the one for HTTPS where there is no other.
func Port(cfg config.Config) int {
	if cfg.TLS.Mode == "off" && cfg.Listen.HTTPPort != 0 {
		return cfg.Listen.HTTPPort
	}
	return cfg.Listen.HTTPSPort
}

// authority is the host part of an https URL.
func authority(host string, port int) string {
	if ip, err := netip.ParseAddr(host); err == nil && ip.Is6() {
		host = "[" + host + "]"
	}
	if port == 443 {
		return host
	}
	return host + ":" + strconv.Itoa(port)
}

// plain is a document of package yaml with text for its keys, as MergePatch
// wants it.
func plain(document map[any]any) map[string]any {
	out := make(map[string]any, len(document))
	for k, v := range document {
		if below, ok := v.(map[any]any); ok {
			v = plain(below)
		}
		out[fmt.Sprint(k)] = v
	}
	return out
}

// parse reads a document as the registry itself will, and stricter: a key that
// distribution does not know is an error.
func parse(document []byte) (*configuration.Configuration, error) {
	c, err := registryyml.ReadStrict(document)
	switch {
	case err != nil:
		return nil, fmt.Errorf("the registry cannot read it: %w", err)
	case c.Version != configuration.CurrentVersion:
		return nil, fmt.Errorf("version must be %s", configuration.CurrentVersion)
	case c.Storage.Type() == "":
		return nil, errors.New("storage names no driver")
	case c.Tags.MaxTags < 0:
		return nil, errors.New("tags.maxtags must not be negative")
	}
	return c, nil
}
