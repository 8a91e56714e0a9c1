package config

import (
	"net/netip"
	"strconv"
	"strings"

	"github.com/redoubt-registry/redoubt/appliance/certificates/cert"
	"github.com/redoubt-registry/redoubt/appliance/hostname"
)

func (c Cache) validate(s spot) {
	s.at("type").oneOf(c.Type, "redis", "memory", "none")
	s.at("size").between(c.Size, 100, 10_000_000)
	c.Redis.validate(s.at("redis"), c.Type)
}

func (r Redis) validate(s spot, cacheType string) {
	r.Password.validate(s.at("password"))
	validateCAs(r.CABundle, s.at("caBundle"))
	if r.Address == "" {
		r.needAddress(s)
		return
	}
	if cacheType != "redis" {
		s.at("address").fail("needs cache.type redis")
	}
	host, problem := redisHost(r.Address)
	if problem != "" {
		s.at("address").fail("%s", problem)
		return
	}
	if r.Username != "" && r.Password == "" && s.known("password") {
		s.at("password").fail("required with username")
	}
	if strings.ContainsAny(r.Username, " \t\r\n") {
		s.at("username").fail("must have no space and no line break")
	}
	if r.CABundle != "" && !r.TLS && s.known("tls") {
		s.at("caBundle").fail("needs cache.redis.tls: true")
	}
	if r.Password != "" && !r.TLS && !isPrivate(host) {
		s.at("password").warn("goes over the network in the clear: set cache.redis.tls: true")
	}
}

// needAddress refuses what is only for a Redis elsewhere.
func (r Redis) needAddress(s spot) {
	if !s.known("address") {
		return
	}
	for _, key := range []struct {
		name string
		set  bool
	}{{"username", r.Username != ""}, {"password", r.Password != ""}, {"tls", r.TLS}, {"caBundle", r.CABundle != ""}} {
		if key.set {
			s.at(key.name).fail("needs cache.redis.address: the machine's own Redis has no port and no password")
		}
	}
}

// redisHost is the host of an address, or why it is none.
func redisHost(address string) (host, problem string) {
	const form = ", such as redis.example.com:6379 or [2001:db8::7]:6379"
	if i := strings.Index(address, "://"); i >= 0 {
		if strings.HasPrefix(address, "rediss:") {
			return "", "must be host:port alone, not a URL: for rediss: set cache.redis.tls: true"
		}
		return "", "must be host:port alone, not a URL"
	}
	i := strings.LastIndexByte(address, ':')
	_, bare := netip.ParseAddr(address)
	switch {
	case strings.ContainsAny(address, "/@"):
		return "", "must be host:port alone" + form
	case bare == nil && strings.Contains(address, ":"):
		return "", "an IPv6 address needs brackets and a port" + form
	case i < 0 || strings.HasSuffix(address, "]"):
		return "", "must have a port: " + "host:port" + form
	}
	host, number := address[:i], address[i+1:]
	if n, err := strconv.ParseUint(number, 10, 16); err != nil || n < 1 {
		return "", "the port must be from 1 to 65535"
	}
	if inner, ok := strings.CutPrefix(host, "["); ok {
		inner, ok = strings.CutSuffix(inner, "]")
		if a, err := netip.ParseAddr(inner); !ok || err != nil || !a.Is6() {
			return "", "must be host:port" + form
		}
		host = inner
	} else if strings.Contains(host, ":") {
		return "", "an IPv6 address needs brackets" + form
	}
	if host == "" || hostname.Problem(host) != "" || unreachable(host) {
		return "", "the host must be a DNS name or an IP address" + form
	}
	return host, ""
}

// validateCAs checks a bundle of CAs, if it is given and in the document.
func validateCAs(bundle string, at spot) {
	if bundle == "" {
		return
	}
	if data, ok := validatePEM(Secret(bundle), at); ok {
		if _, err := cert.CheckCAs(data, noClock); err != nil {
			at.fail("%s", err)
		}
	}
}
