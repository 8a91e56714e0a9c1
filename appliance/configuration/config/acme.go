package config

import (
	"encoding/base64"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
)

var (
	mail    = regexp.MustCompile(`^[^\s@:,;<>]+@[^\s@:,;<>]+\.[^\s@:,;<>]+$`)
	profile = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)
)

// validateACME checks tls.acme, and that the CA can ask on port 80.
func (c Config) validateACME(s spot) {
	c.TLS.ACME.validate(s.at("tls").at("acme"))
	if c.TLS.Mode != "acme" {
		c.TLS.ACME.unused(s.at("tls").at("acme"))
		return
	}
	switch dns := c.TLS.ACME.DNS.InUse(); {
	case dns || c.Listen.HTTPPort == 80:
	case c.Listen.HTTPPort == 0:
		s.at("listen").at("httpPort").fail("must not be off with tls.mode acme: the CA asks for its answers there (http-01), unless tls.acme.dns is set")
	default:
		s.at("listen").at("httpPort").warn("the CA asks on port 80 (http-01): something in front must pass that on to this port")
	}
	c.validateAddresses(s)
	for i, name := range append([]string{c.Hostname}, c.Aliases...) {
		if isLoopback(name) || isPrivate(name) && c.TLS.ACME.public() {
			at := s.at("hostname")
			if i > 0 {
				at = s.at("aliases").item(i - 1)
			}
			at.warn("no public CA gives a certificate for this name, nor for the others beside it: leave it out, or use tls.mode internal-ca")
		}
	}
}

// validateAddresses holds that an address can be proven: records of the DNS prove names.
func (c Config) validateAddresses(s spot) {
	isAddress := func(name string) bool { _, err := netip.ParseAddr(name); return err == nil }
	if c.TLS.ACME.DNS.InUse() && c.Listen.HTTPPort == 0 && slices.ContainsFunc(append([]string{c.Hostname}, c.Aliases...), isAddress) {
		s.at("listen").at("httpPort").fail("must not be off: the CA asks there for addresses, which tls.acme.dns cannot prove")
	}
}

// public tells whether the CA is one of the internet, which certifies only what it can
// reach there.
func (a ACME) public() bool {
	u, err := url.Parse(a.Directory)
	return a.Directory == "" || err == nil && !isPrivate(u.Hostname()) && a.CABundle == ""
}

// unused warns of what has no effect without tls.mode acme.
func (a ACME) unused(s spot) {
	for _, key := range []struct{ name, value string }{{"email", a.Email}, {"directory", a.Directory}, {"profile", a.Profile},
		{"eab", a.EAB.KeyID}, {"caBundle", a.CABundle}, {"dns", a.DNS.RFC2136.Server + a.DNS.Hook.URL}} {
		if key.value != "" {
			s.at(key.name).warn("not used: tls.mode is not acme")
		}
	}
}

func (a ACME) validate(s spot) {
	if a.Email != "" && !mail.MatchString(a.Email) {
		s.at("email").fail("must be an email address, such as ops@example.com")
	}
	if u, err := url.Parse(a.Directory); a.Directory != "" && (err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil) {
		s.at("directory").fail("must be an https URL, such as https://acme-v02.api.letsencrypt.org/directory")
	}
	if a.Profile != "" && !profile.MatchString(a.Profile) {
		s.at("profile").fail("must be the name of a profile: letters, digits and . _ -")
	}
	validateCAs(a.CABundle, s.at("caBundle"))
	s.at("fallback").oneOf(a.Fallback, "internal-ca")
	a.EAB.validate(s.at("eab"))
	a.DNS.validate(s.at("dns"))
}

func (e EAB) validate(s spot) {
	switch {
	case e.KeyID == "" && e.HMACKey == "":
		return
	case e.KeyID == "" && !s.wanting[s.path+".keyID"]:
		s.at("keyID").fail("required with hmacKey: the CA gives both")
	case e.HMACKey == "" && !s.wanting[s.path+".hmacKey"]:
		s.at("hmacKey").fail("required with keyID: the CA gives both")
	}
	e.HMACKey.validate(s.at("hmacKey"))
	literal, ok := e.HMACKey.literal()
	if !ok || literal == "" {
		return
	}
	if _, err := base64.RawURLEncoding.DecodeString(literal); err != nil {
		s.at("hmacKey").fail("must be base64url without padding, as the CA gives it")
	}
}
