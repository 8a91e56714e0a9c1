package foreign

import (
	"path"
	"regexp"
	"strconv"
	"strings"
)

// assignments takes a file of NAME=VALUE, as docker --env-file and Compose have it.
func (d *draft) assignments(f File) {
	source := d.source
	d.source = f.Name
	for name, value := range dotenv(string(f.Data)) {
		d.variable(name, value)
	}
	d.source = source
}

// variable takes one variable of the container.
func (d *draft) variable(name, value string) {
	switch name {
	case "VIRTUAL_HOST", "LETSENCRYPT_HOST":
		for host := range strings.SplitSeq(value, ",") {
			d.named(host)
		}
		d.acme = d.acme || name == "LETSENCRYPT_HOST"
	case "LETSENCRYPT_EMAIL":
		d.acme, d.mail = true, value
	case "AWS_ACCESS_KEY_ID":
		d.env = append(d.env, assignment{"REGISTRY_STORAGE_S3_ACCESSKEY", value, d.source})
	case "AWS_SECRET_ACCESS_KEY":
		d.env = append(d.env, assignment{"REGISTRY_STORAGE_S3_SECRETKEY", value, d.source})
	case "AWS_REGION", "AWS_DEFAULT_REGION":
		d.env = append(d.env, assignment{"REGISTRY_STORAGE_S3_REGION", value, d.source})
	default:
		if strings.HasPrefix(name, "REGISTRY_") {
			d.env = append(d.env, assignment{name, value, d.source})
		} else if strings.HasPrefix(name, "OTEL_") || name == "GODEBUG" || name == "GOGC" {
			d.left("registry", name, "it has no effect here")
		}
	}
}

// value is what an earlier file says of a variable.
func (d *draft) value(name string) string {
	for _, v := range d.env {
		if v.name == name {
			return v.value
		}
	}
	return ""
}

// dotenv reads NAME=VALUE lines, with quotes taken off.
func dotenv(text string) map[string]string {
	out := map[string]string{}
	for line := range strings.Lines(text) {
		line = strings.TrimPrefix(strings.TrimSpace(line), "export ")
		name, value, ok := strings.Cut(line, "=")
		if !ok || strings.HasPrefix(line, "#") {
			continue
		}
		value = strings.TrimSpace(value)
		switch {
		case len(value) > 1 && value[0] == '\'' && strings.HasSuffix(value, "'"):
			value = value[1 : len(value)-1]
		case len(value) > 1 && value[0] == '"' && strings.HasSuffix(value, `"`):
			if whole, err := strconv.Unquote(value); err == nil {
				value = whole
			} else {
				value = value[1 : len(value)-1]
			}
		default:
			if i := strings.Index(value, " #"); i >= 0 {
				value = strings.TrimSpace(value[:i])
			}
		}
		out[strings.TrimSpace(name)] = value
	}
	return out
}

// dotenv reads the .env beside a Compose file, which sets the variables of that.
func (d *draft) dotenv(dir string) map[string]string {
	data, ok := d.beside(dir, ".env")
	if !ok {
		return map[string]string{}
	}
	return dotenv(string(data))
}

// beside reads a file that a Compose file names: one of the FILEs, or one that is there.
func (d *draft) beside(dir, name string) ([]byte, bool) {
	whole := name
	if !path.IsAbs(name) {
		whole = path.Join(dir, name)
	}
	for _, f := range d.given {
		if f.Name == whole || path.Base(f.Name) == path.Base(name) {
			return f.Data, true
		}
	}
	if d.open == nil {
		return nil, false
	}
	data, err := d.open(whole)
	return data, err == nil
}

func envFiles(v any) []string {
	list, ok := v.([]any)
	if !ok {
		return texts(v)
	}
	var out []string
	for _, item := range list {
		if name := text(item, "path"); name != "" {
			out = append(out, name)
		} else if name := text(item); name != "" {
			out = append(out, name)
		}
	}
	return out
}

var variableUse = regexp.MustCompile(`\$(?:\$|([A-Za-z_][A-Za-z0-9_]*)|\{([A-Za-z_][A-Za-z0-9_]*)(?:(:?[-?+])([^}]*))?\})`)

// interpolate puts the values of variables into text as Compose does; $$ is a dollar.
// whole is false when one of them has no value.
func interpolate(s string, vars map[string]string) (out string, whole bool) {
	whole = true
	out = variableUse.ReplaceAllStringFunc(s, func(use string) string {
		if use == "$$" {
			return "$"
		}
		m := variableUse.FindStringSubmatch(use)
		name, operator, word := m[1]+m[2], m[3], m[4]
		value, set := vars[name]
		there := set && (value != "" || !strings.HasPrefix(operator, ":"))
		switch {
		case strings.HasSuffix(operator, "+"):
			if there {
				return word
			}
			return ""
		case there:
			return value
		case strings.HasSuffix(operator, "-"):
			return word
		}
		whole = false
		return ""
	})
	return out, whole
}

var portForm = regexp.MustCompile(`^(?:(.*):)?(\d+):(\d+)(?:/tcp)?$`)

// ports takes the published port of a container, which clients name.
func (d *draft) ports(v any, expand func(string) (string, bool)) {
	list, _ := v.([]any)
	for _, item := range list {
		address, published := "", ""
		if long, ok := item.(map[string]any); ok {
			address, published = text(long, "host_ip"), text(long, "published")
		} else {
			s, _ := expand(text(item))
			m := portForm.FindStringSubmatch(s)
			if m == nil {
				continue
			}
			address, published = m[1], m[2]
		}
		port, err := strconv.Atoi(published)
		switch {
		case err != nil || port == 443 || d.port != 0:
		case strings.HasPrefix(address, "127.") || address == "localhost" || address == "[::1]" || address == "::1":
			d.note("listen", "port %d was open on the loopback alone, for a proxy in front: this machine answers clients itself, on 443", port)
		case port == 80:
			d.note("listen", "port 80 had no TLS: here it leads to 443")
		default:
			d.port = port
		}
	}
}
