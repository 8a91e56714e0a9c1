package foreign

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"path"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v3"
)

var (
	login      = regexp.MustCompile(`^[^:\s=]+:\S+$`)
	setting    = regexp.MustCompile(`^(export\s+)?[A-Za-z_][A-Za-z0-9_.-]*=`)
	gitlabRB   = regexp.MustCompile(`(?m)^\s*(registry\[|registry_external_url|registry_nginx\[|external_url\s)`)
	dockerRun  = regexp.MustCompile(`(?m)^[^#\n]*\b(docker|podman|nerdctl)\s+(container\s+)?(run|create)\b`)
	yamlLine   = regexp.MustCompile(`line (\d+)`)
	cloudInit  = regexp.MustCompile(`(?m)^redoubt\s*:`)
	storageKey = regexp.MustCompile(`^(s3|s3aws|s3_v2|filesystem|azure|azure_v2|gcs|swift|oss|inmemory|redirect|cache|delete|maintenance|tag)$`)
)

const formats = "config.yml, a Compose file, docker run, Kubernetes manifests, htpasswd, PEM, an env file, " +
	"values of the charts docker-registry, harbor and gitlab, harbor.yml or gitlab.rb"

// read takes a file by what is in it.
func (d *draft) read(f File) error {
	text := strings.TrimPrefix(string(f.Data), "\ufeff")
	switch {
	case bytes.IndexByte(f.Data, 0) >= 0:
		return errors.New("it is not text; it takes " + formats)
	case strings.Contains(text, "-----BEGIN ") && !strings.Contains(strings.SplitN(text, "-----BEGIN ", 2)[0], ":\n"):
		d.pems = append(d.pems, f)
		return nil
	case every(text, setting):
		d.describes(stockImages)
		d.assignments(f)
		return nil
	case every(text, login), strings.Contains(strings.ToLower(path.Base(f.Name)), "htpasswd"):
		d.htpasswd(f.Data)
		return nil
	case dockerRun.MatchString(text):
		return d.dockerRun(text)
	case gitlabRB.MatchString(text):
		return d.gitlab(text)
	case cloudInit.MatchString(text):
		return errors.New("it has a redoubt: key already; redoubt validate judges it")
	}
	return d.yaml(text)
}

// every tells whether each line that says something is of a form.
func every(text string, form *regexp.Regexp) bool {
	some := false
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		if !form.MatchString(line) {
			return false
		}
		some = true
	}
	return some
}

// documents reads the documents of a YAML file, each a group. Its errors quote nothing.
func documents(text string) ([]map[string]any, error) {
	var list []map[string]any
	for decoder := yaml.NewDecoder(strings.NewReader(text)); ; {
		var document any
		err := decoder.Decode(&document)
		if errors.Is(err, io.EOF) {
			return list, nil
		}
		if err != nil {
			where := ""
			if m := yamlLine.FindStringSubmatch(err.Error()); m != nil {
				where = " at line " + m[1]
			}
			return nil, fmt.Errorf("it is not valid YAML%s; it takes %s", where, formats)
		}
		switch document := plain(document).(type) {
		case nil:
		case map[string]any:
			list = append(list, document)
		default:
			return nil, errors.New("it is neither a group of keys nor another form that is known; it takes " + formats)
		}
	}
}

// yaml takes a YAML file by its keys.
func (d *draft) yaml(text string) error {
	list, err := documents(text)
	if err != nil {
		return err
	}
	if len(list) == 0 {
		return errors.New("it is empty")
	}
	if _, ok := list[0]["apiVersion"]; ok {
		return d.kubernetes(list)
	}
	if len(list) > 1 {
		return errors.New("it has more than one document, which only Kubernetes manifests have")
	}
	return d.group(list[0])
}

func (d *draft) group(doc map[string]any) error {
	has := func(keys ...string) bool { return at(doc, keys...) != nil }
	switch {
	case has("services"):
		return d.compose(doc)
	case has("configData"), has("secrets", "htpasswd"), has("secrets", "s3"), has("secrets", "haSharedSecret"), has("persistence") && has("service"):
		return d.twuni(doc)
	case has("expose"), has("externalURL"), has("persistence", "imageChartStorage"):
		return d.harborChart(doc)
	case has("harbor_admin_password"), has("data_volume"), has("storage_service"):
		return d.harbor(doc)
	case has("global", "hosts"), has("global", "registry"), has("registry", "storage", "secret"):
		return d.gitlabChart(doc)
	case has("version") && (has("storage") || has("http")), has("storage") && (has("http") || has("log") || has("auth")), has("http", "addr"), has("proxy", "remoteurl"):
		d.config(doc)
		return nil
	case composeV1(doc):
		return d.compose(map[string]any{"services": doc})
	case onlyStorage(doc):
		d.config(map[string]any{"storage": doc})
		return nil
	}
	return errors.New("it is of no form that is known; it takes " + formats)
}

// composeV1 has its services at the top.
func composeV1(doc map[string]any) bool {
	for _, v := range doc {
		if s, ok := v.(map[string]any); ok && (s["image"] != nil || s["build"] != nil) {
			return true
		}
	}
	return false
}

// onlyStorage is the section of a storage alone, as the GitLab chart keeps it in a secret.
func onlyStorage(doc map[string]any) bool {
	for key := range doc {
		if !storageKey.MatchString(key) {
			return false
		}
	}
	return len(doc) > 0
}

// config takes a config.yml of the stock registry.
func (d *draft) config(doc map[string]any) {
	d.describes(stockImages)
	d.stock = mergeMaps(d.stock, doc)
}

// nameOf is a host of a URL, or of a name with a port; port is 0 without one.
func nameOf(text string) (host string, port int) {
	_, rest, ok := strings.Cut(text, "://")
	if !ok {
		rest = text
	}
	rest, _, _ = strings.Cut(rest, "/")
	host = rest
	if i := strings.LastIndexByte(rest, ':'); i >= 0 && !strings.HasSuffix(rest, "]") && strings.Count(rest, ":") == 1+2*strings.Count(rest, "[") || strings.Contains(rest, "]:") {
		if _, err := fmt.Sscanf(rest[strings.LastIndexByte(rest, ':')+1:], "%d", &port); err == nil {
			host = rest[:strings.LastIndexByte(rest, ':')]
		}
	}
	return strings.Trim(host, "[]"), port
}

// named adds a URL or a name that clients use.
func (d *draft) named(text string) {
	host, port := nameOf(strings.TrimSpace(text))
	if host == "" || strings.ContainsAny(host, "${}*") || host == "localhost" {
		return
	}
	d.names = append(d.names, host)
	if port != 0 && d.port == 0 && port != 443 && port != 80 {
		d.port = port
	}
}
