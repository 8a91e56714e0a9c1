package config

import (
	"net/netip"
	"net/url"
	"strings"

	"github.com/redoubt-registry/redoubt/appliance/hostname"
)

func (o Outbound) validate(s spot) {
	o.Password.validate(s.at("password"))
	validateCAs(o.CABundle, s.at("caBundle"))
	for i, item := range o.NoProxy {
		if problem := noProxyProblem(item); problem != "" {
			s.at("noProxy").item(i).fail("%s", problem)
		}
	}
	if o.Username == "" && o.Password != "" && s.known("username") {
		s.at("username").fail("required with password: whose password it is")
	}
	if strings.Contains(o.Username, ":") {
		s.at("username").fail("must not hold a colon: HTTP Basic ends the name there")
	}
	if o.URL == "" {
		o.unused(s)
		return
	}
	o.validateURL(s.at("url"))
	if o.Password != "" && strings.HasPrefix(o.URL, "http://") && s.known("url") {
		if u, err := url.Parse(o.URL); err == nil && !isPrivate(u.Hostname()) && !isLoopback(u.Hostname()) {
			s.at("url").warn("the password goes to the proxy in the clear: use https:// where the proxy takes it")
		}
	}
}

// validateURL never quotes the URL: a password in it would be shown.
func (o Outbound) validateURL(at spot) {
	u, err := url.Parse(o.URL)
	switch {
	case err != nil || u.Hostname() == "" || !strings.Contains(o.URL, "://"):
		at.fail("must be a URL, such as http://proxy.example.com:3128")
	case strings.HasPrefix(u.Scheme, "socks"):
		at.fail("must be http:// or https://: SOCKS proxies are not supported")
	case u.Scheme != "http" && u.Scheme != "https":
		at.fail("must begin with http:// or https://")
	case u.User != nil:
		at.fail("must have no login in it, which would be shown: put it into proxy.username and proxy.password")
	case u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.Fragment != "":
		at.fail("must have nothing but a host and a port")
	case hostname.Problem(u.Hostname()) != "":
		at.fail("its host: %s", hostname.Problem(u.Hostname()))
	}
}

// unused warns of what has no effect without a proxy.
func (o Outbound) unused(s spot) {
	if !s.known("url") {
		return
	}
	for _, key := range []struct {
		name string
		set  bool
	}{{"username", o.Username != ""}, {"password", o.Password != ""}, {"caBundle", o.CABundle != ""}, {"noProxy", len(o.NoProxy) > 0}} {
		if key.set {
			s.at(key.name).warn("not used: proxy.url is empty")
		}
	}
}

// noProxyProblem says why an item is neither a name nor a network, or is empty.
func noProxyProblem(item string) string {
	switch {
	case item == "*":
		return "is everything: leave proxy.url empty instead"
	case strings.ContainsAny(item, ", \t"):
		return "must be one name or network: each is an item of its own"
	case strings.Contains(item, "://"):
		return "must be a name or a network, not a URL"
	}
	if strings.Contains(item, "/") {
		network, err := netip.ParsePrefix(item)
		switch {
		case err != nil:
			return "must be a network, such as 10.0.0.0/8"
		case network != network.Masked():
			return "has bits beyond its length: " + network.Masked().String() + " is the network"
		}
		return ""
	}
	if _, err := netip.ParseAddr(item); err == nil {
		return ""
	}
	name := strings.TrimPrefix(strings.TrimPrefix(item, "*"), ".")
	if strings.HasPrefix(item, "*") && !strings.HasPrefix(item, "*.") || strings.Contains(name, "*") {
		return "takes a * at the beginning alone, before a dot: *.example.com"
	}
	if strings.Count(item, ":") == 1 {
		return "must be without a port"
	}
	if hostname.DNSProblem(name) != "" {
		return "must be a name, *.example.com, an address, or a network such as 10.0.0.0/8"
	}
	return ""
}
