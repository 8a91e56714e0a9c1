package main

import (
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/crypto/bcrypt"

	"github.com/redoubt-registry/redoubt/appliance/certificates/cert"
)

// cost is bcrypt's, as htpasswd -B -C 10 makes it.
const cost = 10

// configure writes the registry's configuration: the same for all, but for who checks
// the passwords.
func (v *server) configure(dir, address string) error {
	hash, err := bcrypt.GenerateFromPassword([]byte(password), cost)
	if err != nil {
		return err
	}
	htpasswd := filepath.Join(dir, "htpasswd")
	if err := os.WriteFile(htpasswd, fmt.Appendf(nil, "%s:%s\n", user, hash), 0o600); err != nil {
		return err
	}
	text := ""
	if v.kind == zot {
		text, err = v.forZot(dir, address, htpasswd)
	} else {
		text = v.forDistribution(dir, address, htpasswd)
	}
	if err != nil {
		return err
	}
	return os.WriteFile(v.config, []byte(text), 0o600)
}

// forDistribution is registry.yml.
func (v *server) forDistribution(dir, address, htpasswd string) string {
	tls := ""
	if v.setup.tls {
		tls = fmt.Sprintf(", tls: {certificate: %s/tls.crt, key: %[1]s/tls.key}", dir)
	}
	text := fmt.Sprintf(`version: 0.1
log: {level: error, accesslog: {disabled: true}}
http: {addr: %q, secret: bench, draintimeout: 60s%s}
health: {storagedriver: {enabled: true, interval: 10s, threshold: 3}}
`, address, tls)
	cache := ""
	if v.setup.redis != "" {
		cache = "\n  cache: {blobdescriptor: redis}"
		text += fmt.Sprintf("redis: {addrs: [%q]%s}\n", v.setup.redis, map[kind]string{
			redoubt: ", maxretries: -1, dialtimeout: 20ms, readtimeout: 30ms, writetimeout: 30ms",
		}[v.kind])
	}
	text += fmt.Sprintf("storage:\n%s  delete: {enabled: true}\n  redirect: {disable: true}%s\n", v.setup.store.section(dir), cache)
	switch {
	case v.kind == redoubt:
		text += fmt.Sprintf("auth: {redoubt: {realm: bench, path: %s}}\n", htpasswd)
	case v.setup.login:
		text += fmt.Sprintf("auth: {htpasswd: {realm: bench, path: %s}}\n", htpasswd)
	}
	return text
}

// forZot is zot's config.json. It collects no garbage meanwhile, and, as by default,
// asks the disk for nothing: what it has acknowledged may be lost with the power.
func (v *server) forZot(dir, address, htpasswd string) (string, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return "", err
	}
	type object = map[string]any
	http := object{"address": host, "port": port}
	if v.setup.tls {
		http["tls"] = object{"cert": dir + "/tls.crt", "key": dir + "/tls.key"}
	}
	if v.setup.login {
		http["auth"] = object{"htpasswd": object{"path": htpasswd}}
	}
	text, err := json.Marshal(object{
		"distSpecVersion": "1.1.1",
		"storage":         object{"rootDirectory": dir + "/data", "gc": false},
		"http":            http,
		"log":             object{"level": "error"},
	})
	return string(text), err
}

// certify makes the server's certificate, and answers who trusts it.
func certify(dir string) (*x509.CertPool, error) {
	chain, key, err := cert.SelfSigned([]string{"127.0.0.1"}, time.Now(), rand.Reader)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(chain) {
		return nil, errors.New("cannot read the certificate that was made just now")
	}
	return roots, errors.Join(
		os.WriteFile(filepath.Join(dir, "tls.crt"), chain, 0o644), os.WriteFile(filepath.Join(dir, "tls.key"), key, 0o600))
}
