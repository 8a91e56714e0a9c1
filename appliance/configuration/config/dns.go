package config

import (
	"encoding/base64"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/redoubt-registry/redoubt/appliance/hostname"
)

// maxDNSWait leaves a renewal the time for the CA.
const maxDNSWait = 3 * time.Minute

// InUse says whether names are proven by records of the DNS.
func (d DNS01) InUse() bool { return d.RFC2136.Server != "" || d.Hook.URL != "" }

func (d DNS01) validate(s spot) {
	d.RFC2136.validate(s.at("rfc2136"))
	d.Hook.validate(s.at("hook"))
	if d.RFC2136.Server != "" && d.Hook.URL != "" {
		s.at("hook").fail("must be left out with rfc2136: one of them makes the records")
	}
	s.at("wait").lasts(d.Wait, 0, maxDNSWait)
	for i, server := range d.Nameservers {
		if problem := serverProblem(server); problem != "" {
			s.at("nameservers").item(i).fail("%s", problem)
		}
	}
}

func (r RFC2136) validate(s spot) {
	r.Secret.validate(s.at("secret"))
	s.at("algorithm").oneOf(r.Algorithm, "hmac-sha256", "hmac-sha224", "hmac-sha384", "hmac-sha512")
	if literal, ok := r.Secret.literal(); ok && literal != "" {
		if _, err := base64.StdEncoding.DecodeString(literal); err != nil {
			s.at("secret").fail("must be base64, as tsig-keygen and keymgr print it")
		}
	}
	for key, name := range map[string]string{"zone": r.Zone, "keyName": r.KeyName} {
		if name = strings.ReplaceAll(strings.TrimSuffix(name, "."), "_", "x"); name != "" && hostname.DNSProblem(name) != "" {
			s.at(key).fail("must be a DNS name")
		}
	}
	if r.Server == "" {
		if (r.Zone != "" || r.KeyName != "" || r.Secret != "") && s.known("server") {
			s.at("server").fail("required: the name server that takes updates, such as ns1.example.com")
		}
		return
	}
	if problem := serverProblem(r.Server); problem != "" {
		s.at("server").fail("%s", problem)
	}
	if r.KeyName == "" && s.known("keyName") {
		s.at("keyName").fail("required with server: without a key anybody could change the zone")
	}
	if r.Secret == "" && s.known("secret") {
		s.at("secret").fail("required with server: without a key anybody could change the zone")
	}
}

// serverProblem says why text is no host or host:port of a name server, or is empty.
func serverProblem(text string) string {
	const rule = "must be a host or host:port, such as ns1.example.com or 192.0.2.53:53"
	if hostname.Problem(text) == "" { // an IPv6 address has colons too
		return ""
	}
	u, err := url.Parse("dns://" + text)
	if err != nil || u.Host != text || hostname.Problem(u.Hostname()) != "" {
		return rule
	}
	if n, err := strconv.Atoi(u.Port()); err != nil || n < 1 || n > 65535 {
		return rule
	}
	return ""
}

func (h DNSHook) validate(s spot) {
	h.Password.validate(s.at("password"))
	validateCAs(h.CABundle, s.at("caBundle"))
	if h.URL == "" {
		if (h.Username != "" || h.Password != "" || h.CABundle != "") && s.known("url") {
			s.at("url").fail("required: where the records are asked for, such as https://dns.example.com/acme")
		}
		return
	}
	u, err := url.Parse(h.URL)
	switch {
	case err != nil || u.Hostname() == "" || u.Scheme != "https" && u.Scheme != "http":
		s.at("url").fail("must be a URL, such as https://dns.example.com/acme")
	case u.User != nil:
		s.at("url").fail("must have no login in it, which would be shown: put it into username and password")
	case u.RawQuery != "" || u.Fragment != "":
		s.at("url").fail("must end with its path: /present and /cleanup are added to it")
	case u.Scheme == "http" && !isLoopback(u.Hostname()):
		s.at("url").fail("must be https: who reads along could make records too")
	}
}

// aliasProblem says why alias is no name of this machine, or is empty.
func (c Config) aliasProblem(alias string) string {
	rest, wildcard := strings.CutPrefix(alias, "*.")
	switch {
	case !wildcard:
		return hostname.Problem(alias)
	case c.TLS.Mode != "acme" || !c.TLS.ACME.DNS.InUse():
		return "a wildcard needs tls.mode acme with tls.acme.dns"
	case !strings.Contains(rest, "."):
		return "a wildcard needs two labels after it, such as *.example.com"
	}
	return hostname.DNSProblem(rest)
}
