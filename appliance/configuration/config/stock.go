package config

import (
	"reflect"
	"strings"

	"github.com/distribution/distribution/v3/configuration"
	"go.yaml.in/yaml/v3"
)

// advice says for each setting of the stock registry, version 2 or 3, that an overlay
// may not set what to write instead. An entry counts for all that is below it, unless
// that has one of its own.
var advice = map[string]string{
	"loglevel":                          "use log.level, such as log: {level: debug}",
	"log.hooks":                         "this registry sends no mail: use alerts.webhook, which is told of every failure; the journal keeps the log",
	"reporting":                         "the stock registry has no bugsnag and newrelic since version 3: leave it out; alerts.webhook is told of failures",
	"compatibility":                     "the stock registry has no schema 1 since version 3: leave it out",
	"middleware":                        "there is no middleware here: leave it out",
	"middleware.storage":                "no CDN stands before the storage here: leave it out; with a bucket, storage: {s3: {redirect: true}} sends clients to the bucket itself",
	"auth":                              "use auth.users: the appliance has its own access control; leave this out",
	"auth.htpasswd":                     "use auth.htpasswd, which takes the lines of the file as they are, below htpasswd: |, or auth.users",
	"auth.htpasswd.realm":               "use auth.realm, such as auth: {realm: Registry}",
	"auth.htpasswd.path":                "use auth.htpasswd, which takes the lines of that file as they are, below htpasswd: |, or auth.users",
	"auth.token":                        "a token server cannot log in here: use auth.users, such as users: [{name: alice, passwordHash: \"$2y$…\"}]",
	"http.addr":                         "use listen.httpsPort, such as listen: {httpsPort: 5000}, where clients name a port; else leave it out: systemd holds the sockets",
	"http.net":                          "leave it out: systemd holds the sockets, which listen.httpsPort and listen.httpPort choose",
	"http.host":                         "use hostname, without https://, such as hostname: registry.example.com",
	"http.prefix":                       "the registry answers at the top of its name: leave it out, and give it a name of its own with hostname",
	"http.secret":                       "use httpSecret, of 16 characters or more; leave it out with one machine, which makes its own",
	"http.draintimeout":                 "use listen.drainTimeout, such as listen: {drainTimeout: 60s}: systemd's own limits follow it",
	"http.h2c":                          "leave it out: the registry speaks TLS, and HTTP/2 with it (listen.http2)",
	"http.debug":                        "use metrics.listen, such as metrics: {listen: \"127.0.0.1:5001\"}; metrics are always on, at /metrics",
	"http.tls":                          "use tls: {mode: files, files: {certificate: …, privateKey: …}}",
	"http.tls.certificate":              "use tls.files.certificate, such as tls: {mode: files, files: {certificate: file:/etc/redoubt/tls/server.crt, privateKey: file:/etc/redoubt/tls/server.key}}",
	"http.tls.key":                      "use tls.files.privateKey, such as file:/etc/redoubt/tls/server.key, beside tls.files.certificate and tls.mode files",
	"http.tls.clientcas":                "use tls.clientAuth, such as tls: {clientAuth: {mode: required, cas: [\"file:/etc/redoubt/tls/clients.crt\"]}}",
	"http.tls.clientauth":               "use tls.clientAuth.mode: required for require-and-verify-client-cert, optional for verify-client-cert-if-given",
	"http.tls.minimumtls":               "use tls.minVersion, \"1.2\" or \"1.3\"",
	"http.tls.ciphersuites":             "leave it out: Go chooses the cipher suites; tls.minVersion \"1.3\" leaves only the newest",
	"http.tls.letsencrypt":              "use tls.mode acme, such as tls: {mode: acme, acme: {email: ops@example.com}}",
	"http.tls.letsencrypt.hosts":        "use hostname, and aliases for further names, with tls.mode acme",
	"http.tls.letsencrypt.email":        "use tls.acme.email with tls.mode acme, such as tls: {mode: acme, acme: {email: ops@example.com}}",
	"http.tls.letsencrypt.cachefile":    "leave it out: the machine keeps the account and the certificate (tls.mode acme)",
	"http.tls.letsencrypt.directoryurl": "use tls.acme.directory with tls.mode acme, such as tls: {mode: acme, acme: {directory: \"https://acme.example.com/directory\"}}",
	"storage.filesystem.rootdirectory":  "leave it out, or use storage.filesystem.root, such as storage: {filesystem: {root: /var/lib/redoubt/registry}}: the registry may write nowhere else",
	"storage.inmemory":                  "every restart would lose all images; use storage.filesystem",
	"storage.azure":                     "there is no driver for it here: use storage.s3 or storage.filesystem, and copy the images there",
	"storage.gcs":                       "there is no driver for it here: use storage.s3 with endpoint https://storage.googleapis.com and an HMAC key of the bucket",
	"storage.oss":                       "there is no driver for it here, as in the stock registry since version 3: use storage.s3 or storage.filesystem, and copy the images there",
	"storage.swift":                     "there is no driver for it here, as in the stock registry since version 3: use storage.s3, which OpenStack's object store speaks as well, or storage.filesystem",
	"storage.cache.blobdescriptor":      "use cache.type: memory for inmemory; leave it out for redis, which the machine has",
	"storage.cache.layerinfo":           "use cache.type: memory for inmemory; leave it out for redis, which the machine has",
	"storage.s3.pathstyle":              "use forcepathstyle; with storage.s3.endpoint the bucket is in the path anyway, so that it can be left out",
	"storage.s3.loglevel":               "the bucket's client here has no log of its own: leave it out; log.level sets what the registry logs",
	"storage.s3.credentialsconfigpath":  "use storage.s3.accessKey and storage.s3.secretKey, which take file:PATH too, such as accessKey: file:/etc/redoubt/s3-key",
	"redis":                             "leave it out: the machine has a Redis of its own; only one elsewhere is cache.redis, such as cache: {redis: {address: \"redis.example.com:6379\"}}",
	"proxy":                             "this version is no pull-through cache: leave it out, and let the stock registry be the cache, under a name of its own",
	"configuration.path":                "no file of the stock registry is read: paste it below registry:, or let redoubt import write the user-data",
}

// natives are names that people write among our own keys, and what they meant: a path
// of advice, or the message itself after "=".
var natives = map[string]string{
	"health.storagedriver":     "=use health.storage, such as health: {storage: {interval: 10s, threshold: 3}}",
	"cache.blobdescriptor":     "storage.cache.blobdescriptor",
	"cache.layerinfo":          "storage.cache.layerinfo",
	"cache.blobdescriptorsize": "=use cache.size",
	"cache.redis.addr":         "=use cache.redis.address, such as address: \"redis.example.com:6379\"",
	"cache.redis.addrs":        "=use cache.redis.address, such as address: \"redis.example.com:6379\"",
	"log.formatter":            "=use log.format: json or text",
	"log.accesslog":            "=use log.accessLog: true or false",
	"listen.addr":              "http.addr",
	"listen.port":              "http.addr",
	"tls.certificate":          "http.tls.certificate",
	"tls.key":                  "http.tls.key",
	"tls.clientcas":            "http.tls.clientcas",
	"tls.clientauth":           "=use tls.clientAuth, with a capital A",
	"tls.minimumtls":           "http.tls.minimumtls",
	"tls.ciphersuites":         "http.tls.ciphersuites",
	"tls.letsencrypt":          "http.tls.letsencrypt",
	"tls.email":                "http.tls.letsencrypt.email",
	"tls.hosts":                "http.tls.letsencrypt.hosts",
	"auth.token":               "auth.token",
	"ldap":                     "=use auth.ldap, such as auth: {ldap: {servers: [\"ldaps://ldap.example.com\"], userBase: \"dc=example,dc=com\"}}",
	"oidc":                     "=use auth.oidc.trust, such as auth: {oidc: {trust: [{issuer: \"https://token.actions.githubusercontent.com\", audience: registry.example.com, user: ci}]}}",
	"version":                  "=leave it out: the version of a stock registry's file says nothing here",
	"http":                     "=leave it out: use hostname, listen and tls, such as listen: {httpsPort: 5000}",
}

// advise says what to write instead of a setting of the stock registry, given as its
// path in lower case; it is empty where an overlay may set it.
func advise(path string) string {
	for ; path != ""; path = parent(path) {
		if text := advice[path]; text != "" {
			return text
		}
	}
	return ""
}

// Advice says what to write instead of a setting of the stock registry that the
// appliance does not take, given as its path such as http.tls.certificate. It is empty
// for what registry: takes, and for a group of which only parts are refused.
func Advice(path string) string {
	path = strings.ToLower(path)
	if finer(path) {
		return ""
	}
	return advise(path)
}

// finer tells whether advice has more to say of what is below path.
func finer(path string) bool {
	for entry := range advice {
		if strings.HasPrefix(entry, path+".") {
			return true
		}
	}
	return false
}

// inOverlay is a path in the stock registry's own words, where it is one.
func inOverlay(path string) (string, bool) {
	top, rest, _ := strings.Cut(path, ".")
	return rest, top == "registry" || top == "environment"
}

// stockKey judges a key of an overlay. The message says what to write instead; skip
// is set for what says nothing.
func stockKey(path string, value *yaml.Node) (message string, skip bool) {
	null := value.Kind == yaml.ScalarNode && value.ShortTag() == "!!null"
	switch {
	case path == "version" && (value.Value == "0.1" || value.Value == "0"):
		return "", true
	case path == "version":
		return "must be 0.1, the only version of a stock registry's file; it can be left out", false
	case null && value.Value == "" && (advise(path) != "" || strings.Contains(holdsOwned, " "+path+" ")):
		return "", true // an empty key, which sets nothing
	case value.Kind == yaml.MappingNode && finer(path):
		return "", false
	}
	return advise(path), false
}

// stockName is a name of a stock registry that stands among our own keys, and what to
// write instead of it.
func stockName(path string) string {
	path = strings.ToLower(path)
	if entry := natives[path]; entry != "" {
		if message, ok := strings.CutPrefix(entry, "="); ok {
			return message
		}
		return advice[entry]
	}
	if option, ok := strings.CutPrefix(path, "storage.s3."); ok && lifted[option] != "" {
		return "use storage.s3." + lifted[option] + s3Examples[option]
	}
	if strings.HasPrefix(path, "auth.") || strings.Contains(path, "[") {
		return ""
	}
	if strings.HasPrefix(path, "proxy.") && !stockHas(path) {
		return "" // meant for our own
	}
	if text := advise(path); text != "" {
		return text
	}
	if stockHas(path) {
		return "this is the stock registry's: write it below registry:, as registry: {" + strings.ReplaceAll(path, ".", ": {") +
			": …" + strings.Repeat("}", strings.Count(path, ".")+1)
	}
	return ""
}

var s3Examples = map[string]string{
	"regionendpoint": ", such as endpoint: https://s3.example.com",
	"rootdirectory":  ", such as root: registry",
	"accesskey":      ", with a capital K",
	"secretkey":      ", with a capital K",
	"keyid":          ", with encrypt: true",
}

// stockHas tells whether distribution has a setting, or takes any, at a path.
func stockHas(path string) bool {
	t := reflect.TypeFor[configuration.Configuration]()
	for part := range strings.SplitSeq(path, ".") {
		t = checkedAs(t, "")
		if t.Kind() == reflect.Map {
			return true
		}
		if t.Kind() != reflect.Struct {
			return false
		}
		found := false
		for _, f := range fieldsOf(t) {
			if f.key == part {
				t, found = f.typ, true
				break
			}
		}
		if !found {
			return false
		}
	}
	return true
}

// typeGroup makes a group of a storage that is named by its type alone, as the stock
// registry takes it: "storage: s3" is "storage: {s3: {}}".
func typeGroup(n *yaml.Node, t reflect.Type) *yaml.Node {
	if n.Kind != yaml.ScalarNode || n.ShortTag() != "!!str" || t != reflect.TypeFor[storageOptions]() {
		return n
	}
	key := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: n.Value, Line: n.Line, Column: n.Column}
	empty := &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map", Line: n.Line, Column: n.Column}
	return &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map", Content: []*yaml.Node{key, empty}, Line: n.Line, Column: n.Column}
}

// aliases are other names of settings.
var aliases = map[string]string{"storage.s3aws": "s3"}
