// Package dns01 makes the records of the DNS that prove names to an ACME CA (dns-01, RFC
// 8555, 8.4): by updates of a name server (RFC 2136), or by a web service.
package dns01

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/miekg/dns"

	"github.com/redoubt-registry/redoubt/appliance/outbound"
)

const (
	askTimeout = 5 * time.Second
	port       = "53"
	ttl        = 60 // seconds, of a record
	pause      = 2 * time.Second
)

// Settings say who makes the records: Update, or where that has no server Hook.
type Settings struct {
	Update      Update
	Hook        Hook
	Nameservers []string      // host or host:port, asked whether they have a record; none: those of the zone
	Wait        time.Duration // that these may take; 0: they are not asked
	Resolver    string        // host:port; empty: the machine's own
	Proxy       outbound.Proxy
}

// Record is one TXT record.
type Record struct{ Name, Value string }

// made is a record that is there, under the name at which it was made.
type made struct {
	Record
	zone string // empty for the hook's
}

// Records are the records that one order needs. The zero value of it cannot be used.
type Records struct {
	settings Settings
	made     []made
}

// New makes no record yet.
func New(s Settings) *Records { return &Records{settings: s} }

// Add makes a record, beside others of its name.
func (r *Records) Add(ctx context.Context, record Record) error {
	record.Name = dns.Fqdn(record.Name)
	if !r.updates() {
		r.made = append(r.made, made{Record: record}) // whatever the answer: it is taken away
		return r.settings.Hook.post(ctx, r.settings.Proxy, "present", record)
	}
	record.Name = r.canonical(ctx, record.Name)
	zone, err := r.settings.Update.zone(ctx, record.Name)
	if err != nil {
		return err
	}
	m := made{record, zone}
	r.made = append(r.made, m)
	return r.settings.Update.send(ctx, m, true)
}

func (r *Records) updates() bool { return r.settings.Update.Server != "" }

// Remove takes away all that Add made. It goes on after a failure.
func (r *Records) Remove(ctx context.Context) error {
	var errs []error
	for _, m := range r.made {
		if r.updates() {
			errs = append(errs, r.settings.Update.send(ctx, m, false))
		} else {
			errs = append(errs, r.settings.Hook.post(ctx, r.settings.Proxy, "cleanup", m.Record))
		}
	}
	r.made = nil
	return errors.Join(errs...)
}

// canonical follows CNAMEs: a zone may leave the names of challenges to another one.
func (r *Records) canonical(ctx context.Context, name string) string {
	for range 8 {
		answer, err := ask(ctx, r.resolver(), name, dns.TypeCNAME, true)
		if err != nil {
			return name // the zone may be known to its own server alone
		}
		next := ""
		for _, rr := range answer.Answer {
			if c, ok := rr.(*dns.CNAME); ok && dns.CanonicalName(c.Hdr.Name) == dns.CanonicalName(name) {
				next = c.Target
			}
		}
		if next == "" {
			return name
		}
		name = next
	}
	return name
}

func (r *Records) resolver() string {
	if r.settings.Resolver != "" {
		return r.settings.Resolver
	}
	c, err := dns.ClientConfigFromFile("/etc/resolv.conf")
	if err != nil || len(c.Servers) == 0 {
		return net.JoinHostPort("127.0.0.1", port)
	}
	return net.JoinHostPort(c.Servers[0], c.Port)
}

// ask sends one question, by TCP where UDP does not hold the answer.
func ask(ctx context.Context, server, name string, kind uint16, recurse bool) (*dns.Msg, error) {
	q := new(dns.Msg)
	q.SetQuestion(name, kind)
	q.RecursionDesired = recurse
	q.SetEdns0(1232, false)
	client := &dns.Client{Timeout: askTimeout}
	answer, _, err := client.ExchangeContext(ctx, q, server)
	if err == nil && answer.Truncated {
		client.Net = "tcp"
		answer, _, err = client.ExchangeContext(ctx, q, server)
	}
	if err != nil {
		return nil, fmt.Errorf("the name server %s does not answer: %w", server, err)
	}
	return answer, nil
}

// address is a server with its port.
func address(server string) string {
	if _, _, err := net.SplitHostPort(server); err == nil {
		return server
	}
	return net.JoinHostPort(server, port)
}
