package dns01

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// Await waits until the name servers have all records. The zone's own that do not answer
// are left out: a firewall may be before them, and the CA goes another way.
func (r *Records) Await(ctx context.Context) error {
	if r.settings.Wait == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, r.settings.Wait)
	defer cancel()
	for _, m := range r.made {
		servers, named := r.servers(ctx, m)
		for _, server := range servers {
			if err := r.await(ctx, server, m.Record, named); err != nil {
				return err
			}
		}
	}
	return nil
}

// await waits for one server. named says that it must answer.
func (r *Records) await(ctx context.Context, server string, record Record, named bool) error {
	for {
		answer, err := ask(ctx, server, record.Name, dns.TypeTXT, true)
		switch {
		case err == nil && has(answer, record.Value):
			return nil
		case err != nil && !named && ctx.Err() == nil:
			return nil
		}
		select {
		case <-ctx.Done():
			if err != nil && named {
				return fmt.Errorf("tls.acme.dns.nameservers: %w", err)
			}
			return fmt.Errorf("the name server %s does not have the record %s after tls.acme.dns.wait of %s: does it get the zone from the server that is updated?",
				server, record.Name, r.settings.Wait)
		case <-time.After(pause):
		}
	}
}

// has follows the CNAMEs in an answer by looking at values alone: they are random.
func has(answer *dns.Msg, value string) bool {
	return slices.ContainsFunc(answer.Answer, func(rr dns.RR) bool {
		t, ok := rr.(*dns.TXT)
		return ok && strings.Join(t.Txt, "") == value
	})
}

// servers are those to ask, and whether the configuration names them.
func (r *Records) servers(ctx context.Context, m made) (servers []string, named bool) {
	for _, s := range r.settings.Nameservers {
		servers = append(servers, address(s))
	}
	if servers != nil {
		return servers, true
	}
	zone, from := m.zone, address(r.settings.Update.Server)
	if zone == "" {
		from = r.resolver()
		zone = r.zoneOf(ctx, from, m.Name)
	}
	if zone == "" {
		return nil, false
	}
	answer, err := ask(ctx, from, zone, dns.TypeNS, true)
	if err != nil {
		return nil, false
	}
	for _, rr := range answer.Answer {
		if ns, ok := rr.(*dns.NS); ok {
			servers = append(servers, r.addresses(ctx, ns.Ns)...)
		}
	}
	return servers, false
}

// zoneOf is the zone of a name as a resolver knows it, or empty.
func (r *Records) zoneOf(ctx context.Context, resolver, name string) string {
	for at, end := 0, false; !end; at, end = dns.NextLabel(name, at) {
		answer, err := ask(ctx, resolver, name[at:], dns.TypeSOA, true)
		if err != nil {
			return ""
		}
		for _, rr := range answer.Answer {
			if soa, ok := rr.(*dns.SOA); ok {
				return soa.Hdr.Name
			}
		}
	}
	return ""
}

// addresses are those of a name server, by the resolver.
func (r *Records) addresses(ctx context.Context, host string) []string {
	var all []string
	for _, kind := range []uint16{dns.TypeA, dns.TypeAAAA} {
		answer, err := ask(ctx, r.resolver(), host, kind, true)
		if err != nil {
			continue
		}
		for _, rr := range answer.Answer {
			switch a := rr.(type) {
			case *dns.A:
				all = append(all, address(a.A.String()))
			case *dns.AAAA:
				all = append(all, address(a.AAAA.String()))
			}
		}
	}
	return all
}
