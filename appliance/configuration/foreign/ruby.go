package foreign

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

var (
	rubyAssign = regexp.MustCompile(`(?m)^[ \t]*(registry|gitlab_rails|registry_nginx|nginx|letsencrypt)\[['":](\w+)['"]?\]\s*=\s*`)
	rubyURL    = regexp.MustCompile(`(?m)^[ \t]*registry_external_url[\s(]+['"]([^'"]+)['"]`)
	rubyToken  = regexp.MustCompile(`^(?:'((?:[^'\\]|\\.)*)'|"((?:[^"\\]|\\.)*)"|:?(\w+)\b|(=>|[{}\[\],:]))`)
	rubySpace  = regexp.MustCompile(`^(?:\s+|#[^\n]*)+`)
)

// gitlab takes gitlab.rb, as far as its registry goes.
func (d *draft) gitlab(script string) error {
	d.describes("/var/opt/gitlab/gitlab-rails/shared/registry")
	if m := rubyURL.FindStringSubmatch(script); m != nil {
		d.named(m[1])
	}
	for _, m := range rubyAssign.FindAllStringSubmatchIndex(script, -1) {
		group, key := script[m[2]:m[3]], script[m[4]:m[5]]
		r := ruby{rest: script[m[1]:]}
		value, err := r.value(0)
		if err != nil {
			d.left("registry", group+"['"+key+"']", "it is not written out in the file")
			continue
		}
		switch group + "." + key {
		case "registry.storage":
			if s, ok := value.(map[string]any); ok {
				put(d.stock, s, "storage")
			}
		case "gitlab_rails.registry_path":
			if at(d.stock, "storage", "s3") == nil {
				put(d.stock, value, "storage", "filesystem", "rootdirectory")
			}
		case "registry.log_level":
			put(d.stock, value, "log", "level")
		case "registry.log_formatter":
			put(d.stock, value, "log", "formatter")
		case "registry.debug_addr":
			put(d.stock, value, "http", "debug", "addr")
		case "registry.notifications":
			put(d.stock, value, "notifications", "endpoints")
		case "registry.middleware":
			put(d.stock, value, "middleware")
		case "registry_nginx.ssl_certificate":
			put(d.stock, value, "http", "tls", "certificate")
		case "registry_nginx.ssl_certificate_key":
			put(d.stock, value, "http", "tls", "key")
		case "letsencrypt.enable":
			d.acme, _ = truth(value)
		case "letsencrypt.contact_emails":
			if mails := texts(value); len(mails) > 0 {
				d.mail = mails[0]
			}
		case "registry.database":
			d.left("storage", "registry['database']", "GitLab keeps what belongs to which repository in its database: migrate it back to the storage first, or push the images again")
		case "registry.enable", "gitlab_rails.registry_enabled", "gitlab_rails.registry_host", "gitlab_rails.registry_port":
		default:
			if group == "registry" {
				d.left("registry", "registry['"+key+"']", "it has no counterpart here")
			}
		}
	}
	d.gitlabKept()
	return nil
}

var errRuby = errors.New("not a literal")

// ruby reads a literal: a hash, an array, text, a number or a truth value.
type ruby struct{ rest string }

func (r *ruby) next() (token, literal string, isText bool) {
	r.rest = strings.TrimPrefix(r.rest, rubySpace.FindString(r.rest))
	m := rubyToken.FindStringSubmatchIndex(r.rest)
	if m == nil {
		return "", "", false
	}
	at := func(i int) string {
		if m[2*i] < 0 {
			return ""
		}
		return r.rest[m[2*i]:m[2*i+1]]
	}
	single, double, bare, mark := at(1), at(2), at(3), at(4)
	isText = m[2] >= 0 || m[4] >= 0
	if m[4] >= 0 && strings.Contains(double, "#{") {
		return "", "", false
	}
	r.rest = r.rest[m[1]:]
	unescape := strings.NewReplacer(`\\`, `\`, `\'`, `'`, `\"`, `"`)
	return mark, unescape.Replace(single + double + bare), isText
}

func (r *ruby) value(depth int) (any, error) {
	if depth > 20 {
		return nil, errRuby
	}
	mark, literal, isText := r.next()
	switch {
	case mark == "{":
		return r.hash(depth)
	case mark == "[":
		return r.array(depth)
	case mark != "":
		return nil, errRuby
	case isText:
		return literal, nil
	case literal == "true" || literal == "false":
		return literal == "true", nil
	case literal == "nil":
		return nil, nil
	}
	number, err := strconv.Atoi(literal)
	if err != nil {
		return nil, errRuby
	}
	return number, nil
}

func (r *ruby) hash(depth int) (any, error) {
	out := map[string]any{}
	for {
		mark, key, _ := r.next()
		if mark == "}" {
			return out, nil
		}
		if mark == "," {
			continue
		}
		if mark != "" || key == "" {
			return nil, errRuby
		}
		if arrow, _, _ := r.next(); arrow != "=>" && arrow != ":" {
			return nil, errRuby
		}
		value, err := r.value(depth + 1)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", key, err)
		}
		out[key] = value
	}
}

func (r *ruby) array(depth int) (any, error) {
	var out []any
	for {
		before := r.rest
		switch mark, _, _ := r.next(); mark {
		case "]":
			return out, nil
		case ",":
			continue
		}
		r.rest = before
		value, err := r.value(depth + 1)
		if err != nil {
			return nil, err
		}
		out = append(out, value)
	}
}
