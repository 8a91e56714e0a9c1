package secrets

import (
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"

	"github.com/redoubt-registry/redoubt/appliance/certificates/cert"
	"github.com/redoubt-registry/redoubt/appliance/configuration/config"
	"github.com/redoubt-registry/redoubt/appliance/configuration/render"
)

// bucket finds what a bucket is reached with.
func (r Resolver) bucket(cfg config.Config, facts *render.Facts, errs *[]error) {
	s3 := cfg.Storage.S3
	if s3 == nil {
		return
	}
	if !s3.IAMRole {
		facts.S3.Access = r.word(s3.AccessKey, "storage.s3.accessKey", errs)
		facts.S3.Secret = r.word(s3.SecretKey, "storage.s3.secretKey", errs)
	}
	facts.S3CAs = r.cas(s3.CABundle, "storage.s3.caBundle", errs)
}

// redis finds what a Redis elsewhere is reached with.
func (r Resolver) redis(cfg config.Config, facts *render.Facts, errs *[]error) {
	c := cfg.Cache.Redis
	if cfg.Cache.Type != "redis" || c.Address == "" {
		return
	}
	if c.Password != "" {
		password, err := r.Value(c.Password)
		if err != nil {
			*errs = append(*errs, Problem{"cache.redis.password", err})
		}
		facts.RedisPassword = password
	}
	facts.RedisCAs = r.cas(c.CABundle, "cache.redis.caBundle", errs)
}

// word is a secret that is one word: what was copied with more around it would
// only be refused by somebody far away.
func (r Resolver) word(value config.Secret, path string, errs *[]error) string {
	text, err := r.Value(value)
	if err == nil && strings.ContainsFunc(text, func(c rune) bool { return unicode.IsSpace(c) || unicode.IsControl(c) }) {
		err = errors.New("must be the key alone, without a space or a line break")
	}
	if err != nil {
		*errs = append(*errs, Problem{path, err})
	}
	return text
}

// cas reads and checks a bundle of CAs, if there is one. Whether they are in
// force is seen when they are used.
func (r Resolver) cas(bundle, path string, errs *[]error) []byte {
	if bundle == "" {
		return nil
	}
	data, err := r.PEM(config.Secret(bundle))
	if err == nil {
		data, err = cert.CheckCAs(data, time.Time{})
	}
	if err != nil {
		*errs = append(*errs, Problem{path, err})
	}
	return data
}

// watchers finds the CAs of a syslog server and of who reads the metrics.
func (r Resolver) watchers(cfg config.Config, facts *render.Facts, errs *[]error) {
	facts.SyslogCAs = r.cas(cfg.Audit.Syslog.CABundle, "audit.syslog.caBundle", errs)
	for i, bundle := range cfg.Metrics.Auth.ClientCAs {
		facts.MetricsCAs = append(facts.MetricsCAs, r.cas(bundle, fmt.Sprintf("metrics.auth.clientCAs[%d]", i), errs)...)
	}
}

func (r Resolver) directory(cfg config.Config, facts *render.Facts, errs *[]error) {
	l := cfg.Auth.LDAP
	if len(l.Servers) == 0 {
		return
	}
	if l.Password != "" {
		password, err := r.Value(l.Password)
		if err != nil {
			*errs = append(*errs, Problem{"auth.ldap.password", err})
		}
		facts.LDAPPassword = password
	}
	facts.LDAPCAs = r.cas(l.CABundle, "auth.ldap.caBundle", errs)
}

// proxy finds what the way out is reached with.
func (r Resolver) proxy(cfg config.Config, facts *render.Facts, errs *[]error) {
	p := cfg.Proxy
	if p.URL == "" {
		return
	}
	if p.Password != "" {
		password, err := r.Value(p.Password)
		if err != nil {
			*errs = append(*errs, Problem{"proxy.password", err})
		}
		facts.ProxyPassword = password
	}
	facts.ProxyCAs = r.cas(p.CABundle, "proxy.caBundle", errs)
}
