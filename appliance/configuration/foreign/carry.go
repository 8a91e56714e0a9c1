package foreign

import (
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/redoubt-registry/redoubt/appliance/configuration/config"
	"github.com/redoubt-registry/redoubt/appliance/hostname"
)

// carry turns the stock registry's settings into the appliance's. What has no key of its
// own goes below registry:.
func (d *draft) carry() {
	d.take("version")
	d.carryLog()
	d.carryStorage()
	d.carryCache()
	d.carryAuth()
	d.carryHTTP()
	d.carryTLS()
	d.carryLogins()
	d.carryHealth()
	d.carryFork()
	d.carryNames()
	d.refuse(d.stock, "")
	if len(d.stock) > 0 {
		d.out.set(ordered(d.stock), "registry")
	}
}

// carryNames sets the hostname and the port that clients name.
func (d *draft) carryNames() {
	var names []string
	for _, name := range d.names {
		if hostname.Problem(name) == "" && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	if len(names) > 0 {
		d.out.set(names[0], "hostname")
		if others := names[1:]; len(others) > 0 && len(others) <= 20 {
			d.out.set(list(others), "aliases")
		}
	}
	if d.port != 0 && d.port != 443 && d.port != 80 && d.port != 22 {
		d.out.set(d.port, "listen", "httpsPort")
		if d.port == 5001 { // that of metrics
			d.out.set("127.0.0.1:5002", "metrics", "listen")
		}
		d.note("listen", "clients name port %d, so the registry answers there; without a port it is 443", d.port)
	}
}

func (d *draft) carryLog() {
	for _, keys := range [][]string{{"loglevel"}, {"log", "level"}} {
		if level := strings.ToLower(text(d.take(keys...))); level != "" {
			d.out.set(level, "log", "level")
		}
	}
	switch format := text(d.stock, "log", "formatter"); format {
	case "json", "text":
		d.out.set(format, "log", "format")
		d.take("log", "formatter")
	}
	if off, ok := truth(d.take("log", "accesslog", "disabled")); ok {
		d.out.set(!off, "log", "accessLog")
	}
	if fields, ok := d.take("log", "fields").(map[string]any); ok {
		var items []any
		for _, name := range slices.Sorted(maps.Keys(fields)) {
			items = append(items, pairsOf("name", name, "value", text(fields[name])))
		}
		d.out.set(items, "log", "fields")
	}
}

func (d *draft) carryCache() {
	for _, key := range []string{"blobdescriptor", "layerinfo"} {
		if text(d.take("storage", "cache", key)) == "inmemory" {
			d.out.set("memory", "cache", "type")
		}
	}
	if size, err := strconv.Atoi(text(d.take("storage", "cache", "blobdescriptorsize"))); err == nil && size >= 100 {
		d.out.set(size, "cache", "size")
	}
	if redis := d.take("redis"); redis != nil {
		d.left("cache", "redis", "the machine has a Redis of its own; one elsewhere is cache.redis.address, and worth it only for several machines")
	}
}

func (d *draft) carryAuth() {
	if name, ok := d.stock["auth"].(string); ok {
		d.stock["auth"] = map[string]any{name: map[string]any{}}
	}
	if realm := text(d.take("auth", "htpasswd", "realm")); realm != "" {
		d.out.set(realm, "auth", "realm")
	}
	if file := text(d.take("auth", "htpasswd", "path")); file != "" {
		data, name, ok := d.file(file)
		named := slices.ContainsFunc(d.given, func(f File) bool { return f.Name == name })
		switch {
		case ok && !named:
			source := d.source
			d.source = name
			d.htpasswd(data)
			d.source = source
		case !ok && len(d.logins) == 0:
			d.missing("auth", "auth.htpasswd.path", name+" cannot be read: give it as a FILE too; without it nobody can log in")
			d.loginTold = true
		}
	}
	d.take("auth", "htpasswd")
	auth, _ := d.take("auth").(map[string]any)
	for _, kind := range slices.Sorted(maps.Keys(auth)) {
		d.noLogin = true
		why := "the appliance has its own access control: use auth.users or auth.htpasswd"
		if kind == "token" {
			why = "a token server (" + "GitLab, Harbor, docker_auth) cannot log in here: give its users and robots a login of their own in auth.users or auth.htpasswd"
		}
		d.left("auth", "auth."+kind, why)
	}
}

// carryLogins sets the logins, after all files have been read.
func (d *draft) carryLogins() {
	if len(d.logins) > 0 {
		seen := map[string]bool{}
		var lines []string
		for _, line := range d.logins {
			name, _, _ := strings.Cut(line, ":")
			if !seen[name] {
				lines = append(lines, line)
			}
			seen[name] = true
		}
		d.out.set(block(strings.Join(lines, "\n")+"\n"), "auth", "htpasswd")
	} else if d.loginTold || d.out.get("auth", "clientCertificates") != nil {
		return
	} else if d.noLogin {
		d.note("auth", "nobody can log in: add a login to auth.users, with a passwordHash as htpasswd -nBC 10 NAME prints it")
	} else {
		d.note("auth", "the stock registry let everybody in, and nobody can log in here: add a login to auth.users, with a passwordHash as htpasswd -nBC 10 NAME prints it")
	}
}

func (d *draft) carryHealth() {
	check := []string{"health", "storagedriver"}
	if on, ok := truth(at(d.stock, append(check, "enabled")...)); ok && on {
		d.take("health", "storagedriver", "enabled")
	}
	for _, key := range []string{"interval", "threshold"} {
		if v := d.take("health", "storagedriver", key); v != nil && text(v) != map[string]string{"interval": "10s", "threshold": "3"}[key] {
			d.out.set(v, "health", "storage", key)
		}
	}
}

// carryFork says what becomes of what GitLab's fork of the registry has.
func (d *draft) carryFork() {
	if on, _ := truth(at(d.stock, "database", "enabled")); on {
		d.left("storage", "database", "GitLab keeps what belongs to which repository in its database: push the images again, or migrate them back to the storage first")
	}
	d.take("database")
	for _, key := range []string{"gc", "migration", "rate_limiter"} {
		if d.take(key) != nil {
			d.left("registry", key, "GitLab's own registry alone has it")
		}
	}
}

// refuse takes out what an overlay may not set, with the reason as a note.
func (d *draft) refuse(m map[string]any, above string) {
	for _, key := range slices.Sorted(maps.Keys(m)) {
		where := key
		if above != "" {
			where = above + "." + key
		}
		below, isGroup := m[key].(map[string]any)
		switch why := config.Advice(where); {
		case m[key] == nil || isGroup && len(below) == 0:
			delete(m, key)
		case why != "":
			delete(m, key)
			d.left(sectionOf(where), where, why)
		case isGroup:
			if d.refuse(below, where); len(below) == 0 {
				delete(m, key)
			}
		}
	}
}

// sectionOf is the key of the document that a setting would belong to.
func sectionOf(where string) string {
	top, rest, _ := strings.Cut(where, ".")
	switch {
	case top == "http" && strings.HasPrefix(rest, "tls"):
		return "tls"
	case top == "http":
		return "listen"
	case top == "loglevel" || top == "reporting":
		return "log"
	case top == "redis":
		return "cache"
	case top == "log" || top == "auth" || top == "storage" || top == "health":
		return top
	}
	return "registry"
}

// loopback tells whether an address is one that metrics may be on.
func loopback(address string) bool {
	a, err := netip.ParseAddrPort(strings.Replace(address, "localhost:", "127.0.0.1:", 1))
	return err == nil && a.Addr().IsLoopback() && a.Port() != 0
}
