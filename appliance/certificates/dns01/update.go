package dns01

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/miekg/dns"
)

// fudge is how much the clocks may differ, in seconds (RFC 8945, 10).
const fudge = 300

// Update is a name server that takes updates (RFC 2136), signed with a key (RFC 8945).
type Update struct {
	Server    string // host or host:port; empty: none
	Zone      string // empty: the server is asked
	KeyName   string
	Algorithm string // such as hmac-sha256
	Secret    string // base64
}

// zone is the zone that name is in, as the server has it.
func (u Update) zone(ctx context.Context, name string) (string, error) {
	if u.Zone != "" {
		zone := dns.Fqdn(u.Zone)
		if !dns.IsSubDomain(zone, name) {
			return "", fmt.Errorf("tls.acme.dns.rfc2136.zone: %s is not in the zone %s", name, zone)
		}
		return zone, nil
	}
	for at, end := 0, false; !end; at, end = dns.NextLabel(name, at) {
		answer, err := ask(ctx, address(u.Server), name[at:], dns.TypeSOA, false)
		if err != nil {
			return "", fmt.Errorf("tls.acme.dns.rfc2136.server: %w", err)
		}
		for _, rr := range answer.Answer {
			if soa, ok := rr.(*dns.SOA); ok && dns.CanonicalName(soa.Hdr.Name) == dns.CanonicalName(name[at:]) {
				return soa.Hdr.Name, nil
			}
		}
	}
	return "", fmt.Errorf("tls.acme.dns.rfc2136.server: %s has no zone that %s is in: set tls.acme.dns.rfc2136.zone, or correct the server", u.Server, name)
}

// send adds a record, or takes it away.
func (u Update) send(ctx context.Context, m made, add bool) error {
	rr := &dns.TXT{Hdr: dns.RR_Header{Name: m.Name, Rrtype: dns.TypeTXT, Class: dns.ClassINET, Ttl: ttl}, Txt: []string{m.Value}}
	msg := new(dns.Msg)
	msg.SetUpdate(m.zone)
	if add {
		msg.Insert([]dns.RR{rr})
	} else {
		msg.Remove([]dns.RR{rr})
	}
	key := dns.CanonicalName(dns.Fqdn(u.KeyName))
	msg.SetTsig(key, dns.Fqdn(u.Algorithm), fudge, time.Now().Unix())
	client := &dns.Client{Net: "tcp", Timeout: askTimeout, TsigSecret: map[string]string{key: u.Secret}}
	answer, _, err := client.ExchangeContext(ctx, msg, address(u.Server))
	return u.judge(answer, err)
}

// judge says which key of the configuration an answer is about. A refusal for the key may
// be signed by nobody, so that the library reports that instead of it.
func (u Update) judge(answer *dns.Msg, err error) error {
	code := dns.RcodeSuccess
	if answer != nil {
		code = answer.Rcode
		if t := answer.IsTsig(); t != nil && t.Error != 0 {
			code = int(t.Error)
		}
	}
	switch {
	case code == dns.RcodeBadKey:
		return fmt.Errorf("tls.acme.dns.rfc2136.keyName: the name server %s does not know the key, or not with this algorithm", u.Server)
	case code == dns.RcodeBadSig, code == dns.RcodeNotAuth && errors.Is(err, dns.ErrSig):
		return fmt.Errorf("tls.acme.dns.rfc2136.secret: the name server %s refuses the signature: the secret is not that of the key", u.Server)
	case code == dns.RcodeBadTime:
		return fmt.Errorf("the clocks of this machine and of the name server %s differ: let this machine's be set (timedatectl)", u.Server)
	case code == dns.RcodeRefused:
		return fmt.Errorf("tls.acme.dns.rfc2136.keyName: the name server %s does not let this key update the record (REFUSED): allow it TXT records of _acme-challenge", u.Server)
	case code == dns.RcodeNotAuth, code == dns.RcodeNotZone:
		return fmt.Errorf("tls.acme.dns.rfc2136.zone: the name server %s does not answer for the zone, or not with this key (%s)", u.Server, dns.RcodeToString[code])
	case code != dns.RcodeSuccess:
		return fmt.Errorf("the name server %s refuses the update: %s", u.Server, dns.RcodeToString[code])
	case err != nil:
		return fmt.Errorf("tls.acme.dns.rfc2136.server: the update of %s fails: %w", u.Server, err)
	}
	return nil
}
