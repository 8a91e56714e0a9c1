// Package nameserver is a name server for tests: it has one zone, takes updates of it (RFC
// 2136) that are signed with its key, and counts them.
package nameserver

import (
	"net"
	"sync"
	"testing"

	"github.com/miekg/dns"
)

// The key and the zone of each server.
const (
	Zone    = "internal.example.com."
	KeyName = "redoubt."
	Secret  = "c2VjcmV0LW9mLXRoZS1rZXk="
)

// Server answers on loopback, by UDP and TCP.
type Server struct {
	Address string

	mu      sync.Mutex
	txt     map[string][]string
	cnames  map[string]string
	added   int
	refused bool // it answers REFUSED to updates
	lag     int  // so many questions for TXT find nothing
}

// New starts a server that ends with its test.
func New(t *testing.T) *Server {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p, err := net.ListenPacket("udp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{Address: l.Addr().String(), txt: map[string][]string{}, cnames: map[string]string{}}
	for _, server := range []*dns.Server{{Listener: l}, {PacketConn: p}} {
		server.Handler, server.TsigSecret = dns.HandlerFunc(s.serve), map[string]string{KeyName: Secret}
		server.MsgAcceptFunc = func(dns.Header) dns.MsgAcceptAction { return dns.MsgAccept } // updates too
		started := make(chan struct{})
		server.NotifyStartedFunc = func() { close(started) }
		go func() { _ = server.ActivateAndServe() }() // ends with the test
		<-started
		t.Cleanup(func() { _ = server.Shutdown() })
	}
	return s
}

// Alias makes name lead to another one.
func (s *Server) Alias(name, to string) { s.set(func() { s.cnames[name] = to }) }

// Refuse makes the server refuse updates, or take them again.
func (s *Server) Refuse(refuse bool) { s.set(func() { s.refused = refuse }) }

// Lag hides records from so many questions.
func (s *Server) Lag(questions int) { s.set(func() { s.lag = questions }) }

func (s *Server) set(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
}

// Records is how many TXT records there are, and how many were ever added.
func (s *Server) Records() (now, ever int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, values := range s.txt {
		now += len(values)
	}
	return now, s.added
}

func (s *Server) serve(w dns.ResponseWriter, q *dns.Msg) {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := new(dns.Msg)
	m.SetReply(q)
	m.Authoritative = true
	if q.Opcode == dns.OpcodeUpdate {
		s.update(w, q, m)
	} else {
		s.answer(m, q.Question[0])
	}
	_ = w.WriteMsg(m) // a client that went away
}

func (s *Server) update(w dns.ResponseWriter, q, m *dns.Msg) {
	switch key := q.IsTsig(); {
	case key == nil || w.TsigStatus() != nil:
		m.Rcode = dns.RcodeNotAuth
	case s.refused:
		m.Rcode = dns.RcodeRefused
	case q.Question[0].Name != Zone:
		m.Rcode = dns.RcodeNotAuth
	default:
		for _, rr := range q.Ns {
			s.apply(rr)
		}
	}
	if key := q.IsTsig(); key != nil && w.TsigStatus() == nil {
		m.SetTsig(key.Hdr.Name, key.Algorithm, 300, int64(key.TimeSigned))
	}
}

func (s *Server) apply(rr dns.RR) {
	t, ok := rr.(*dns.TXT)
	if !ok {
		return
	}
	name := dns.CanonicalName(t.Hdr.Name)
	if t.Hdr.Class == dns.ClassINET {
		s.txt[name] = append(s.txt[name], t.Txt[0])
		s.added++
		return
	}
	var left []string
	for _, value := range s.txt[name] {
		if value != t.Txt[0] {
			left = append(left, value)
		}
	}
	s.txt[name] = left
}

func (s *Server) answer(m *dns.Msg, q dns.Question) {
	name := dns.CanonicalName(q.Name)
	head := func(kind uint16) dns.RR_Header {
		return dns.RR_Header{Name: name, Rrtype: kind, Class: dns.ClassINET}
	}
	if to := s.cnames[name]; to != "" {
		m.Answer = append(m.Answer, &dns.CNAME{Hdr: head(dns.TypeCNAME), Target: to})
		name = to
	}
	switch {
	case q.Qtype == dns.TypeSOA && name == Zone:
		m.Answer = append(m.Answer, &dns.SOA{Hdr: head(dns.TypeSOA), Ns: "ns." + Zone, Mbox: "admin." + Zone})
	case q.Qtype == dns.TypeTXT && s.lag > 0:
		s.lag--
	case q.Qtype == dns.TypeTXT:
		for _, value := range s.txt[name] {
			m.Answer = append(m.Answer, &dns.TXT{Hdr: head(dns.TypeTXT), Txt: []string{value}})
		}
	}
}
