package foreign

import (
	"errors"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
)

var (
	registryImage = regexp.MustCompile(`(^|/)(registry|distribution|docker-registry)(:|@|$)`)
	traefikHost   = regexp.MustCompile(`Host\(([^)]*)\)`)
	acmeMail      = regexp.MustCompile(`acme\.email=([^\s'"]+)`)
	variableName  = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_.-]{0,80}$`)
	backticked    = regexp.MustCompile("[`'\"]([^`'\"]+)[`'\"]")
)

// configPaths are where the image of the stock registry has its file: versions 2 and 3.
var configPaths = []string{"/etc/docker/registry/config.yml", "/etc/distribution/config.yml"}

// compose takes a Compose file (compose-spec.io), of which the service that is a registry
// counts.
func (d *draft) compose(doc map[string]any) error {
	services, _ := doc["services"].(map[string]any)
	name, others := pick(services)
	if name == "" {
		return errors.New("none of its services is a registry: there is no image registry, and no REGISTRY_* in an environment")
	}
	d.describes(stockImages)
	service := services[name].(map[string]any)
	source, dir := d.source, path.Dir(d.source)
	vars := d.dotenv(dir)
	expand := func(s string) (string, bool) { return interpolate(s, vars) }

	d.composeMounts(doc, service, dir, expand)
	for _, file := range envFiles(service["env_file"]) {
		file, _ = expand(file)
		data, found := d.beside(dir, file)
		if !found {
			d.missing("registry", "env_file", file+" cannot be read: give it as a FILE too")
			continue
		}
		d.assignments(File{Name: file, Data: data})
	}
	d.environment(service["environment"], expand)
	d.ports(service["ports"], expand)
	d.labels(service["labels"])
	d.labels(at(service, "deploy", "labels"))
	if host := text(service, "hostname"); strings.Contains(host, ".") {
		d.named(host)
	}
	for _, other := range others {
		d.neighbour(other, services[other])
	}
	if err := d.mountedConfig(service); err != nil {
		return err
	}
	d.source = source
	return nil
}

// pick finds the service that is a registry, and not one that only caches another.
func pick(services map[string]any) (name string, others []string) {
	best := 0
	for _, key := range slices.Sorted(maps.Keys(services)) {
		s, ok := services[key].(map[string]any)
		if !ok {
			continue
		}
		score := 0
		if registryImage.MatchString(text(s, "image")) {
			score += 4
		}
		for _, v := range pairs(s["environment"]) {
			if strings.HasPrefix(v.name, "REGISTRY_PROXY_") {
				score -= 1
			} else if strings.HasPrefix(v.name, "REGISTRY_STORAGE") || strings.HasPrefix(v.name, "REGISTRY_HTTP_") || strings.HasPrefix(v.name, "REGISTRY_AUTH") {
				score += 1
			}
		}
		if score > best {
			name, best = key, score
		}
	}
	for _, key := range slices.Sorted(maps.Keys(services)) {
		if key != name {
			others = append(others, key)
		}
	}
	return name, others
}

// neighbour says what becomes of another service.
func (d *draft) neighbour(name string, service any) {
	image := text(service, "image")
	for _, word := range texts(at(service, "command")) {
		if m := acmeMail.FindStringSubmatch(word); m != nil {
			d.acme, d.mail = true, m[1]
		}
	}
	for _, v := range pairs(at(service, "environment")) {
		if v.name == "LETSENCRYPT_EMAIL" || v.name == "DEFAULT_EMAIL" {
			d.acme, d.mail = true, v.value
		}
	}
	switch {
	case strings.Contains(image, "redis") || strings.Contains(image, "valkey"):
		d.left("cache", "service "+name, "the machine has a Redis of its own")
	case strings.Contains(image, "letsencrypt") || strings.Contains(image, "acme") || strings.Contains(image, "certbot"):
		d.acme = true
		d.left("tls", "service "+name, "the machine obtains its certificates itself (tls.mode acme)")
	case strings.Contains(image, "nginx") || strings.Contains(image, "traefik") || strings.Contains(image, "caddy") || strings.Contains(image, "haproxy") || strings.Contains(image, "httpd"):
		if strings.Contains(image, "caddy") {
			d.acme = true
		}
		d.left("listen", "service "+name, "the machine needs no proxy in front: it has TLS itself; listen.proxy is for one that stays")
	case registryImage.MatchString(image):
		d.left("registry", "service "+name, "a machine is one registry: import the other one for a machine of its own")
	default:
		d.left("registry", "service "+name, "a machine is a registry and nothing else")
	}
}

func (d *draft) composeMounts(doc, service map[string]any, dir string, expand func(string) (string, bool)) {
	add := func(from, at string) {
		from, _ = expand(from)
		at, _ = expand(at)
		if from != "" && at != "" {
			if !path.IsAbs(from) && !strings.HasPrefix(from, "~") {
				from = path.Join(dir, from)
			}
			d.mounts = append(d.mounts, mount{from, path.Clean(at)})
		}
	}
	volumes, _ := service["volumes"].([]any)
	for _, v := range volumes {
		if long, ok := v.(map[string]any); ok {
			if kind := text(long, "type"); kind == "bind" || kind == "" {
				add(text(long, "source"), text(long, "target"))
			} else if kind == "volume" {
				d.volume(text(long, "source"), text(long, "target"))
			}
			continue
		}
		parts := splitMount(text(v))
		if len(parts) > 1 && strings.ContainsAny(parts[0], "/.~$") {
			add(parts[0], parts[1])
		} else if len(parts) > 1 {
			d.volume(parts[0], parts[1])
		}
	}
	for _, kind := range []string{"configs", "secrets"} {
		list, _ := service[kind].([]any)
		for _, item := range list {
			name, target := text(item), ""
			if name == "" {
				name, target = text(item, "source"), text(item, "target")
			}
			if target == "" {
				target = name
			}
			if kind == "secrets" && !path.IsAbs(target) {
				target = "/run/secrets/" + target
			} else if !path.IsAbs(target) {
				target = "/" + target
			}
			add(text(doc, kind, name, "file"), target)
			if content := text(doc, kind, name, "content"); content != "" {
				d.given = append(d.given, File{Name: "/compose/" + kind + "/" + name, Data: []byte(content)})
				add("/compose/"+kind+"/"+name, target)
			}
		}
	}
}

func (d *draft) volume(name, at string) {
	if d.volumes == nil {
		d.volumes = map[string]string{}
	}
	d.volumes[path.Clean(at)] = name
}

// splitMount splits host:container:options; a ${NAME:-default} has colons of its own.
func splitMount(s string) []string {
	var parts []string
	depth, start := 0, 0
	for i, r := range s {
		switch {
		case r == '{':
			depth++
		case r == '}':
			depth--
		case r == ':' && depth == 0:
			parts, start = append(parts, s[start:i]), i+1
		}
	}
	return append(parts, s[start:])
}

// environment takes a map or a list of NAME=VALUE.
func (d *draft) environment(v any, expand func(string) (string, bool)) {
	for _, v := range pairs(v) {
		value, whole := expand(v.value)
		if v.name == "REGISTRY_HTTP_SECRET" { // which no file needs to have
			v.bare, whole = false, true
		}
		if v.bare || !whole {
			if !variableName.MatchString(v.name) {
				v.name = "a variable"
			}
			d.left("registry", v.name, "its value comes from a variable that no file sets: write it out, and import again")
			continue
		}
		d.variable(v.name, value)
	}
}

type pair struct {
	name, value string
	bare        bool // without a value
}

func pairs(v any) []pair {
	var out []pair
	switch v := v.(type) {
	case map[string]any:
		for _, name := range slices.Sorted(maps.Keys(v)) {
			out = append(out, pair{name, text(v[name]), v[name] == nil})
		}
	case []any:
		for _, item := range v {
			if m, ok := item.(map[string]any); ok { // Kubernetes
				out = append(out, pair{text(m, "name"), text(m, "value"), m["value"] == nil})
				continue
			}
			name, value, ok := strings.Cut(text(item), "=")
			out = append(out, pair{name, value, !ok})
		}
	}
	return out
}

func (d *draft) labels(v any) {
	for _, l := range pairs(v) {
		if strings.Contains(l.name, "certresolver") {
			d.acme = true
		}
		for _, m := range traefikHost.FindAllStringSubmatch(l.value, -1) {
			for _, host := range backticked.FindAllStringSubmatch(m[1], -1) {
				d.named(host[1])
			}
		}
	}
}

// mountedConfig reads the config.yml that a container sees.
func (d *draft) mountedConfig(service any) error {
	where := slices.Clone(configPaths)
	for _, word := range append(texts(at(service, "command")), d.value("REGISTRY_CONFIGURATION_PATH")) {
		for _, part := range strings.Fields(word) {
			if strings.HasSuffix(part, ".yml") || strings.HasSuffix(part, ".yaml") {
				where = append(where, part)
			}
		}
	}
	for _, p := range where {
		mounted := slices.ContainsFunc(d.mounts, func(m mount) bool { return p == m.at || strings.HasPrefix(p, m.at+"/") })
		if !mounted {
			continue
		}
		data, name, ok := d.file(p)
		if !ok {
			d.missing("registry", p, name+" cannot be read: give it as a FILE too")
			continue
		}
		if slices.ContainsFunc(d.given, func(f File) bool { return f.Name == name }) && !strings.HasPrefix(name, "/compose/") {
			continue // it is read as a FILE
		}
		d.source = name
		if list, err := documents(string(data)); err != nil {
			return err
		} else if len(list) == 1 {
			d.config(list[0])
		}
	}
	return nil
}
