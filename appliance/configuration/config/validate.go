package config

import (
	"net/netip"
	"path"
	"regexp"
	"strings"
	"time"

	"github.com/redoubt-registry/redoubt/appliance/hostname"
)

func (c Config) validate(s spot) {
	c.validateNames(s)
	c.HTTPSecret.validate(s.at("httpSecret"))
	if literal, ok := c.HTTPSecret.literal(); ok && literal != "" && len(literal) < 16 {
		s.at("httpSecret").fail("too short: at least 16 characters, such as openssl rand -hex 32 prints")
	}
	c.Listen.validate(s.at("listen"))
	c.validateOrigins(s)
	c.TLS.validate(s.at("tls"), append([]string{c.Hostname}, c.Aliases...), c.Listen.Proxy)
	c.Listen.Proxy.validatePlain(s.at("listen").at("proxy"), c.TLS.Mode)
	c.validateACME(s)
	c.Auth.validate(s.at("auth"), c.TLS.ClientAuth.Mode)
	c.Alerts.validate(s.at("alerts"))
	c.Proxy.validate(s.at("proxy"))
	c.Storage.validate(s.at("storage"))
	c.validateNodes(s)
	c.Cache.validate(s.at("cache"))
	c.validateFirewall(s.at("firewall").at("metadata"))
	c.Health.Storage.validate(s.at("health").at("storage"))
	c.GC.validate(s.at("gc"))
	c.Backup.validate(s.at("backup"), c.Storage)
	c.Log.validate(s.at("log"))
	for i, r := range c.Retention.Rules {
		r.validate(s.at("retention").at("rules").item(i))
	}
	for i, r := range c.Immutable {
		r.validate(s.at("immutable").item(i))
	}
	c.validateQuotas(s.at("quotas"))
	c.Metrics.validate(s.at("metrics"), c)
	c.Audit.validate(s.at("audit"))
	validateNotifications(c.Notifications, s.at("notifications"))
}

func (c Config) validateNames(s spot) {
	switch problem := hostname.Problem(c.Hostname); {
	case c.Hostname == "":
		s.at("hostname").fail("required: the name or the IP address that clients use")
	case problem != "":
		s.at("hostname").fail("%s", problem)
	case !strings.ContainsAny(c.Hostname, ".:") && c.Hostname != "localhost":
		s.at("hostname").warn("docker takes a name without a dot for a repository of its hub unless a port follows")
	}
	if len(c.Aliases) > 100 {
		s.at("aliases").fail("too many: at most 100")
	}
	seen := map[string]bool{canonical(c.Hostname): true}
	for i, alias := range c.Aliases {
		if problem := c.aliasProblem(alias); problem != "" {
			s.at("aliases").item(i).fail("%s", problem)
		} else if seen[canonical(alias)] {
			s.at("aliases").item(i).fail("this name was given before")
		}
		seen[canonical(alias)] = true
	}
}

// canonical is a name as it is compared with others.
func canonical(name string) string {
	if address, err := netip.ParseAddr(name); err == nil {
		return address.Unmap().String()
	}
	return strings.ToLower(name)
}

func isLoopback(name string) bool {
	if address, err := netip.ParseAddr(name); err == nil {
		return address.Unmap().IsLoopback()
	}
	name = strings.ToLower(name)
	return name == "localhost" || strings.HasSuffix(name, ".localhost")
}

var (
	credential = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]{0,254}$`)
	safePath   = regexp.MustCompile(`^/[A-Za-z0-9._/@+-]+$`)
)

// literal is the secret itself; false when it is kept elsewhere.
func (s Secret) literal() (string, bool) {
	if strings.HasPrefix(string(s), "file:") || strings.HasPrefix(string(s), "cred:") {
		return "", false
	}
	return string(s), true
}

func (s Secret) validate(at spot) {
	if name, ok := strings.CutPrefix(string(s), "file:"); ok && (!safePath.MatchString(name) || path.Clean(name) != name) {
		at.fail("file: takes an absolute path, such as file:/etc/redoubt/secret")
	}
	if name, ok := strings.CutPrefix(string(s), "cred:"); ok && !credential.MatchString(name) {
		at.fail("cred: takes the name of a systemd credential, such as cred:redoubt.secret")
	}
	if strings.TrimSpace(string(s)) != string(s) {
		at.fail("must not begin or end with a space or a line break")
	}
}

func (l Listen) validate(s spot) {
	s.at("httpsPort").between(l.HTTPSPort, 1, 65535)
	s.at("httpPort").between(l.HTTPPort, 0, 65535)
	if l.HTTPPort == l.HTTPSPort {
		s.at("httpPort").fail("must differ from listen.httpsPort; 0 is off")
	}
	for _, p := range []struct {
		key  string
		port int
	}{{"httpsPort", l.HTTPSPort}, {"httpPort", l.HTTPPort}} {
		if p.port == 22 {
			s.at(p.key).fail("port 22 is the machine's SSH server")
		}
	}
	s.at("drainTimeout").lasts(l.DrainTimeout, time.Second, time.Hour)
	l.Proxy.validate(s.at("proxy"))
	seen := map[string]bool{}
	for i, h := range l.Headers {
		at := s.at("headers").item(i)
		h.validate(at)
		if seen[strings.ToLower(h.Name)] {
			at.at("name").fail("this header was given before: put all its values in one item")
		}
		seen[strings.ToLower(h.Name)] = true
	}
}

var (
	token = regexp.MustCompile("^[A-Za-z0-9!#$%&'*+.^_`|~-]+$")
	// kept are the headers that the protocol itself needs.
	kept = regexp.MustCompile(`^(?i:connection|content-.*|date|docker-.*|location|oci-.*|range|set-cookie|trailer|transfer-encoding|upgrade|www-authenticate)$`)
)

// validate follows RFC 9110, 5.1 and 5.5.
func (h Header) validate(s spot) {
	switch {
	case h.Name == "":
		s.at("name").fail("required: the header's name")
	case !token.MatchString(h.Name):
		s.at("name").fail("not a header name: letters, digits and - without spaces or a colon")
	case kept.MatchString(h.Name):
		s.at("name").fail("the registry itself sets this header")
	}
	if len(h.Values) == 0 {
		s.at("values").fail("required: at least one value")
	}
	for i, v := range h.Values {
		if strings.ContainsAny(v, "\r\n") {
			s.at("values").item(i).fail("a header value has no line break")
		}
	}
}

func (t TLS) validate(s spot, names []string, proxy Proxy) {
	s.at("mode").oneOf(t.Mode, "internal-ca", "acme", "files", "off")
	s.at("minVersion").oneOf(t.MinVersion, "1.2", "1.3")
	s.at("internalCA").at("leafValidity").lasts(t.InternalCA.LeafValidity, time.Hour, 19800*time.Hour)
	t.validatePairs(s, names)
	t.ClientAuth.validate(s.at("clientAuth"), t.Mode)
	if t.Mode != "off" || len(proxy.Trust) > 0 {
		return
	}
	for _, name := range names {
		if name != "" && !isLoopback(name) {
			s.at("mode").fail("off needs a loopback hostname, such as localhost, or the address of the proxy that ends TLS in listen.proxy.trust: passwords would go over the network in the clear")
			break
		}
	}
}

func (h StorageHealth) validate(s spot) {
	s.at("interval").lasts(h.Interval, time.Second, time.Hour)
	s.at("threshold").between(h.Threshold, 1, 100)
}

// calendar is what a schedule may be, of what systemd.time(7) knows.
var calendar = regexp.MustCompile(`^(hourly|daily|weekly|monthly|(` + day + `((\.\.|,)` + day + `)* )?([01]?[0-9]|2[0-3]):[0-5][0-9])$`)

func (g GC) validate(s spot) {
	const most = 365 * 24 * time.Hour
	validateSchedule(g.Schedule, s.at("schedule"))
	s.at("grace").lasts(g.Grace, time.Hour, most)
	s.at("trash").lasts(g.Trash, time.Hour, most)
}

func validateSchedule(schedule string, at spot) {
	if !calendar.MatchString(schedule) {
		at.fail("must be hourly, daily, weekly or monthly, or a time with days of the week before it, such as 03:00, Sun 03:00 or Mon..Fri 01:30")
	}
}

const day = `(Mon|Tue|Wed|Thu|Fri|Sat|Sun)`

var fieldName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_.-]{0,63}$`)

func (l Log) validate(s spot) {
	s.at("level").oneOf(l.Level, "debug", "info", "warn", "error")
	s.at("format").oneOf(l.Format, "json", "text")
	seen := map[string]bool{"time": true, "level": true, "msg": true}
	for i, f := range l.Fields {
		at := s.at("fields").item(i).at("name")
		switch {
		case f.Name == "":
			at.fail("required: the field's name")
		case !fieldName.MatchString(f.Name):
			at.fail("must be letters, digits and _ . - with a letter or _ first, at most 64")
		case seen[f.Name]:
			at.fail("this field exists already")
		}
		seen[f.Name] = true
	}
}
