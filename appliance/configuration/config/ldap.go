package config

import (
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/go-ldap/ldap/v3"
)

// inUse says whether there is a directory.
func (l LDAP) inUse() bool { return len(l.Servers) > 0 }

var ldapAttribute = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9-]{0,63}$`) // RFC 4512, 2.5

func (l LDAP) validate(s spot) {
	s.at("groups").oneOf(l.Groups, "none", "memberOf", "groupOfNames", "activeDirectory")
	s.at("timeout").lasts(l.Timeout, time.Second, 30*time.Second)
	s.at("cache").lasts(l.Cache, 10*time.Second, time.Hour)
	l.Password.validate(s.at("password"))
	validateCAs(l.CABundle, s.at("caBundle"))
	for i, server := range l.Servers {
		l.validateServer(server, s.at("servers").item(i))
	}
	l.validateNames(s)
	switch {
	case !l.inUse() && s.known("servers"):
		if l.BindDN != "" || l.Password != "" || l.UserBase != "" {
			s.at("servers").fail("required: URLs, such as [\"ldaps://ldap.example.com\"]")
		}
		return
	case l.UserBase == "" && s.known("userBase"):
		s.at("userBase").fail("required: the DN below which users are, such as ou=people,dc=example,dc=com")
	}
	if (l.Groups == "groupOfNames" || l.Groups == "activeDirectory") && l.GroupBase == "" && s.known("groupBase") {
		s.at("groupBase").fail("required with groups: %s: the DN below which groups are", l.Groups)
	}
	if l.BindDN != "" && l.Password == "" && s.known("password") {
		s.at("password").fail("required with bindDN: a login without a password is one of nobody")
	}
	if l.BindDN == "" && l.Password != "" {
		s.at("bindDN").fail("required with password: whose password it is")
	}
}

func (l LDAP) validateServer(server string, at spot) {
	u, err := url.Parse(server)
	switch {
	case err != nil || u.Hostname() == "" || u.Scheme != "ldap" && u.Scheme != "ldaps":
		at.fail("must be a URL, such as ldaps://ldap.example.com or ldap://ldap.example.com:389")
	case u.User != nil || u.Path != "" && u.Path != "/" || u.RawQuery != "":
		at.fail("must have nothing but a host and a port: the rest belongs in bindDN, userBase and userFilter")
	case u.Scheme == "ldap" && !l.StartTLS && !isLoopback(u.Hostname()):
		at.fail("needs ldaps:// or startTLS: true: passwords would go over the network in the clear")
	}
}

// validateNames checks what the directory will read: DNs (RFC 4514), filters (RFC 4515)
// and an attribute.
func (l LDAP) validateNames(s spot) {
	for key, text := range map[string]string{"userBase": l.UserBase, "groupBase": l.GroupBase} {
		if _, err := ldap.ParseDN(text); err != nil {
			s.at(key).fail("not a DN, such as ou=people,dc=example,dc=com")
		}
	}
	if _, err := ldap.ParseDN(l.BindDN); err != nil && !strings.Contains(l.BindDN, "@") {
		s.at("bindDN").fail("not a DN, such as cn=search,dc=example,dc=com, and not user@domain")
	}
	if !ldapAttribute.MatchString(l.UserAttribute) {
		s.at("userAttribute").fail("not an attribute, such as uid or sAMAccountName")
	}
	if _, err := ldap.CompileFilter(l.UserFilter); l.UserFilter != "" && err != nil {
		s.at("userFilter").fail("not a filter, such as (objectClass=person)")
	}
}
