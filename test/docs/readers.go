package docs

import (
	"fmt"
	"slices"
	"strings"

	"github.com/redoubt-registry/redoubt/appliance/configuration/config"
	"github.com/redoubt-registry/redoubt/appliance/configuration/render"
	"github.com/redoubt-registry/redoubt/appliance/configuration/tree"
	"github.com/redoubt-registry/redoubt/appliance/paths"
)

// samples are documents that together have every file rendered.
var samples = []string{
	"hostname: a.example.com\nnodes: 2\nhttpSecret: 0123456789abcdef0123\nlisten: {httpsPort: 8443, drainTimeout: 10m}\nhealth: {storage: {interval: 1m}}\ngc: {schedule: weekly}\nbackup: {to: {directory: /mnt/backup}, schedule: weekly}\n" +
		"firewall: {metadata: open}\nretention: {rules: [{repositories: ['**'], tags: ['*'], keep: 9}]}\ntls: {clientAuth: {mode: required, cas: ['file:/ca.pem'], crls: ['file:/crl.pem']}}\n" +
		"storage: {s3: {bucket: images, endpoint: 'https://s3.example.com', region: r, accessKey: a, secretKey: b, caBundle: 'file:/ca.pem'}}\n" +
		"cache: {redis: {address: 'redis.example.com:6379', username: u, password: p, tls: true, caBundle: 'file:/ca.pem'}}\n" +
		"audit: {syslog: {address: 'logs.example.com:6514', caBundle: 'file:/ca.pem'}}\nmetrics: {auth: {clientCAs: ['file:/ca.pem']}}\n" +
		"notifications: [{name: ci, url: 'https://ci.example.com', secret: 0123456789abcdef}]\n" +
		"proxy: {url: 'http://proxy.example.com:3128'}\n" +
		"auth: {ldap: {servers: ['ldaps://ldap.example.com'], bindDN: cn=x, password: p, userBase: dc=x}}\n",
	"hostname: a.example.com\n",
}

// Readers returns a table of the files that an apply renders, and of the unit that
// acts when one of them changes.
func Readers() (string, error) {
	readers := map[string]string{}
	note := func(t tree.Tree) {
		for _, f := range t {
			var units []string
			for _, r := range f.Readers {
				units = append(units, fmt.Sprintf("`%s`: %v", r.Unit, r.Verb))
			}
			if f.Mode.IsRegular() {
				readers[f.Path] = strings.Join(units, ", ")
			}
		}
	}
	some := []byte("PEM")
	for _, sample := range samples {
		cfg, _, _ := config.Parse([]config.Layer{{Name: "sample", Data: []byte(sample)}}) // what is rendered counts, not whether it is valid
		t, err := render.Tree(cfg, render.Facts{ClientCAs: some, ClientCRLs: some, S3CAs: some, RedisCAs: some, SyslogCAs: some, MetricsCAs: some, RedisPassword: "p"})
		if err != nil {
			return "", err
		}
		note(t)
	}
	t, err := render.Maintenance("a.example.com", config.Report{})
	if err != nil {
		return "", err
	}
	note(t)
	var b strings.Builder
	b.WriteString("| file | unit that acts when it changes |\n|---|---|\n")
	for _, path := range slices.Sorted(slices.Values(render.Paths())) {
		units, rendered := readers[path]
		switch {
		case !rendered && path == paths.Credentials:
			continue
		case !rendered:
			return "", fmt.Errorf("no sample has %s rendered: add one", path)
		case units == "":
			units = "none: it is read at each use, or again when it has changed"
		}
		fmt.Fprintf(&b, "| `%s` | %s |\n", path, units)
	}
	return b.String(), nil
}
