package config

import (
	"net/netip"
	"regexp"
	"strconv"
	"strings"
)

// tokenHash is a SHA-256 hash in our form.
var tokenHash = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)

func (m Metrics) validate(s spot, c Config) {
	m.Auth.validate(s.at("auth"), c)
	at := s.at("listen")
	address, err := netip.ParseAddrPort(strings.Replace(m.Listen, "localhost:", "127.0.0.1:", 1))
	switch {
	case err != nil || address.Port() == 0:
		at.fail("must be an address and a port, such as 127.0.0.1:5001")
	case !m.Auth.set() && !address.Addr().Unmap().IsLoopback():
		at.fail("must be a loopback address, such as 127.0.0.1:5001: for the network it needs metrics.auth, with tokenHash or clientCAs")
	case int(address.Port()) == c.Listen.HTTPSPort || int(address.Port()) == c.Listen.HTTPPort:
		at.fail("this port is taken by listen")
	case m.Auth.set() && address.Port() < 1024:
		at.fail("must have a port above 1023: the registry may open no other by itself")
	}
}

func (a MetricsAuth) set() bool { return a.TokenHash != "" || len(a.ClientCAs) > 0 }

func (a MetricsAuth) validate(s spot, c Config) {
	if a.TokenHash != "" && !tokenHash.MatchString(a.TokenHash) {
		s.at("tokenHash").fail("must be sha256: and 64 hexadecimal digits: printf %%s TOKEN | sha256sum prints them")
	}
	for i, bundle := range a.ClientCAs {
		validateCAs(bundle, s.at("clientCAs").item(i))
	}
	if a.set() && c.TLS.Mode == "off" {
		s.fail("needs TLS: tls.mode is off")
	}
}

func (a Audit) validate(s spot) {
	file := s.at("file")
	validateSize(a.File.Size, file.at("size"))
	file.at("keep").between(a.File.Keep, 1, 1000)
	syslog := s.at("syslog")
	validateSize(a.Syslog.Spool, syslog.at("spool"))
	validateCAs(a.Syslog.CABundle, syslog.at("caBundle"))
	if a.Syslog.Address == "" {
		if a.Syslog.CABundle != "" {
			syslog.at("caBundle").fail("needs audit.syslog.address")
		}
		return
	}
	if _, problem := redisHost(a.Syslog.Address); problem != "" {
		syslog.at("address").fail("must be host:port, such as logs.example.com:6514")
	}
}

// sizeForm is a size in bytes as people write it.
var sizeForm = regexp.MustCompile(`^([0-9]{1,6})(MiB|GiB|TiB)$`)

// Bytes is a size such as 100MiB in bytes. It returns 0 for what is none.
func Bytes(size string) int64 {
	m := sizeForm.FindStringSubmatch(size)
	if m == nil {
		return 0
	}
	n, _ := strconv.ParseInt(m[1], 10, 64) // six digits
	return n << map[string]int{"MiB": 20, "GiB": 30, "TiB": 40}[m[2]]
}

func validateSize(size string, at spot) {
	if n := Bytes(size); n < 1<<20 || n > 10<<30 {
		at.fail("must be 1MiB to 10GiB, such as 100MiB")
	}
}
