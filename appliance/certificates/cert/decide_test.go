package cert

import (
	"bytes"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net/netip"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A name keeps the authority that its clients trust through every edit; only what
// none permits gets a new one.
func TestNoEditTakesTrustAway(t *testing.T) {
	s := newSite(t)
	s.names(start, "a.example", "b.example")
	first := newPool(t, s.ca("ca.crt"))
	for _, step := range []struct {
		names   []string
		lines   string
		old     []string // names whose clients go on with the first authority
		further []string // names whose clients need the second
	}{
		{[]string{"a.example", "b.example"}, "", []string{"a.example", "b.example"}, nil},
		{[]string{"a.example", "b.example", "x.a.example"}, "make     a certificate for a.example, b.example, x.a.example: the names have changed\n",
			[]string{"a.example", "x.a.example"}, nil},
		{[]string{"a.example", "b.example", "192.0.2.9"}, `make     a certificate authority for 192.0.2.9: no authority of this machine permits it
make     a certificate for a.example, b.example: the names have changed
make     a certificate for 192.0.2.9: there is none yet
trust    clients of 192.0.2.9 must fetch their CA: redoubt ca trust
`, []string{"a.example", "b.example"}, []string{"192.0.2.9"}},
		{[]string{"192.0.2.9", "b.example"}, "make     a certificate for b.example: the names have changed\n", []string{"b.example"}, []string{"192.0.2.9"}},
		{[]string{"b.example", "192.0.2.9"}, "serve    the certificate for b.example to clients that ask for no name\n", []string{"b.example"}, []string{"192.0.2.9"}},
		{[]string{"b.example"}, "drop     the certificate for 192.0.2.9: the machine is not called so any more\n", []string{"b.example"}, nil},
		{[]string{"b.example", "192.0.2.9"}, `make     a certificate for 192.0.2.9: there is none yet
trust    clients of 192.0.2.9 must fetch their CA: redoubt ca trust
`, []string{"b.example"}, []string{"192.0.2.9"}},
		{[]string{"c.example", "a.example"}, `make     a certificate authority for c.example: no authority of this machine permits it
make     a certificate for c.example: there is none yet
make     a certificate for a.example: there is none yet
drop     the certificate for b.example, 192.0.2.9: the machine is not called so any more
trust    clients of c.example must fetch their CA: redoubt ca trust
`, []string{"a.example"}, nil},
	} {
		d := s.names(start, step.names...)
		if got := d.Lines(); step.lines != "-" && got != step.lines {
			t.Errorf("%v:\n%s\nwant:\n%s", step.names, got, step.lines)
		}
		for _, name := range step.old {
			if err := trusts(first, s.pairs(), name); err != nil {
				t.Errorf("%v: a client of %s with the first authority: %v", step.names, name, err)
			}
		}
		for _, name := range step.further {
			if err := trusts(newPool(t, s.ca("ca-2.crt")), s.pairs(), name); err != nil {
				t.Errorf("%v: a client of %s with the second authority: %v", step.names, name, err)
			}
			if trusts(first, s.pairs(), name) == nil {
				t.Errorf("%v: the first authority is for %s too", step.names, name)
			}
		}
		if !slices.Contains(Names(s.pairs()[0].Leaf), step.names[0]) {
			t.Errorf("%v: the first certificate is for %v", step.names, Names(s.pairs()[0].Leaf))
		}
	}
}

func newPool(t *testing.T, file string) *x509.CertPool {
	t.Helper()
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(read(t, file)) {
		t.Fatalf("no certificate in %s", file)
	}
	return pool
}

// trusts says why a client that calls the machine by name and has pool does not
// trust it.
func trusts(pool *x509.CertPool, pairs []*tls.Certificate, name string) error {
	sni, reached := name, netip.Addr{}
	if ip, err := netip.ParseAddr(name); err == nil {
		sni, reached = "", ip
	}
	p := choose(pairs, sni, reached, func(netip.Addr) bool { return true })
	_, err := p.Leaf.Verify(x509.VerifyOptions{Roots: pool, DNSName: name, CurrentTime: p.Leaf.NotBefore.Add(2 * time.Hour)})
	return err
}

func TestDecide(t *testing.T) {
	for name, tc := range map[string]struct {
		names    []string
		validity time.Duration
		now      time.Time
		brought  bool
		want     string // part of the only line; empty: nothing is to be done
	}{
		"the same":               {names: []string{"192.0.2.1", "A.example"}, now: start},
		"before its time":        {names: []string{"a.example", "192.0.2.1"}, now: time.Unix(0, 0)},
		"not due":                {names: []string{"a.example", "192.0.2.1"}, now: start.Add(1430 * time.Hour)},
		"due":                    {names: []string{"a.example", "192.0.2.1"}, now: start.Add(1450 * time.Hour), want: "it is due"},
		"fewer names":            {names: []string{"a.example"}, now: start, want: "the names have changed"},
		"a name that it permits": {names: []string{"a.example", "192.0.2.1", "x.a.example"}, now: start, want: "the names have changed"},
		"another lifetime":       {names: []string{"a.example", "192.0.2.1"}, validity: 24 * time.Hour, now: start, want: "its lifetime has been changed to 24h"},
		"a brought CA":           {names: []string{"a.example", "192.0.2.1"}, now: start, brought: true, want: "it is of another authority"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			s.names(start, "a.example", "192.0.2.1")
			want := Want{Names: tc.names, Validity: tc.validity}
			if tc.brought {
				want.Brought = newCA(t, "a.example", "192.0.2.1")
			}
			before := read(t, s.dirs.Certificates+"/current/tls.crt")
			d := s.ensure(want, tc.now)
			if lines := d.Lines(); (lines != "") != (tc.want != "") || !strings.Contains(lines, tc.want) {
				t.Errorf("lines: %s", lines)
			}
			if trust := d.Trust != nil; trust != tc.brought {
				t.Errorf("trust ends: %v", d.Trust)
			}
			if changed := !bytes.Equal(before, read(t, s.dirs.Certificates+"/current/tls.crt")); changed != (tc.want != "") {
				t.Errorf("the file changed: %v", changed)
			}
		})
	}
}

// A published pair that is damaged is made again by the same authority.
func TestADamagedPairIsMadeAgain(t *testing.T) {
	for _, file := range []string{"tls.crt", "tls.key", "tls-2.crt", "tls-2.key"} {
		s := newSite(t)
		s.names(start, "a.example")
		s.names(start, "a.example", "192.0.2.1")
		first, second := newPool(t, s.ca("ca.crt")), newPool(t, s.ca("ca-2.crt"))
		put(t, s.dirs.Certificates+"/current/"+file, make([]byte, 500))
		s.names(start, "a.example", "192.0.2.1")
		if err := errors.Join(trusts(first, s.pairs(), "a.example"), trusts(second, s.pairs(), "192.0.2.1")); err != nil {
			t.Errorf("%s: %v", file, err)
		}
	}
}

// An authority that is damaged is never replaced: what it signed goes on, and what
// cannot be served without it is an error.
func TestADamagedAuthorityIsNotReplaced(t *testing.T) {
	for name, harm := range map[string]func(t *testing.T, s *site){
		"an empty certificate": func(t *testing.T, s *site) { put(t, s.ca("ca.crt"), nil) },
		"a key of NULs":        func(t *testing.T, s *site) { put(t, s.ca("ca.key"), make([]byte, 300)) },
		"half of a key":        func(t *testing.T, s *site) { put(t, s.ca("ca.key"), read(t, s.ca("ca.key"))[:100]) },
		"no key":               func(t *testing.T, s *site) { remove(t, s.ca("ca.key")) },
		"no certificate":       func(t *testing.T, s *site) { remove(t, s.ca("ca.crt")) },
		"another key": func(t *testing.T, s *site) {
			key, err := newCA(t, "a.example").KeyPEM()
			if err != nil {
				t.Fatal(err)
			}
			put(t, s.ca("ca.key"), key)
		},
		"a server's certificate": func(t *testing.T, s *site) {
			c, key, err := SelfSigned([]string{"a.example"}, start, rand.Reader)
			if err != nil {
				t.Fatal(err)
			}
			put(t, s.ca("ca.crt"), c)
			put(t, s.ca("ca.key"), key)
		},
		"a FIFO": func(t *testing.T, s *site) {
			remove(t, s.ca("ca.crt"))
			if err := syscall.Mkfifo(s.ca("ca.crt"), 0o600); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			s.names(start, "a.example")
			pool := newPool(t, s.ca("ca.crt"))
			crt, key := read(t, s.ca("ca.crt")), read(t, s.ca("ca.key"))
			harm(t, s)
			for _, now := range []time.Time{start, start.AddDate(0, 0, 80)} { // when it is due too
				d, err := s.decide(Want{Names: []string{"a.example"}}, now)
				if err != nil || d.Problem == nil || d.Publish() || len(d.Authorities) > 0 {
					t.Fatalf("%+v, %v", d, err)
				}
				if !strings.Contains(d.Problem.Error(), s.ca("ca.")) || !strings.Contains(d.Problem.Error(), "redoubt ca replace") {
					t.Errorf("the problem: %v", d.Problem)
				}
			}
			if d, err := s.decide(Want{Names: []string{"a.example", "x.a.example"}}, start); err == nil {
				t.Errorf("a name more, which may be its: %s", d.Lines())
			}
			if err := trusts(pool, s.pairs(), "a.example"); err != nil {
				t.Error(err)
			}
			if err := os.RemoveAll(s.ca("ca.crt")); err != nil { // the files are put back
				t.Fatal(err)
			}
			put(t, s.ca("ca.crt"), crt)
			put(t, s.ca("ca.key"), key)
			if d := s.names(start.AddDate(0, 0, 80), "a.example"); !d.Publish() || d.Problem != nil {
				t.Errorf("not renewed with the files put back: %+v", d)
			}
			if err := trusts(pool, s.pairs(), "a.example"); err != nil {
				t.Error(err)
			}
			harm(t, s) // a person has it replaced
			if err := PutAside(s.dirs.Authorities, 1, start); err != nil {
				t.Fatal(err)
			}
			if d := s.names(start, "a.example"); len(d.Authorities) != 1 || len(d.Trust) != 1 {
				t.Errorf("replaced: %+v", d)
			}
		})
	}
}

func remove(t *testing.T, path string) {
	t.Helper()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
}

// A second authority is damaged: the first goes on without it.
func TestADamagedSecondAuthority(t *testing.T) {
	s := newSite(t)
	s.names(start, "a.example")
	s.names(start, "a.example", "192.0.2.1")
	put(t, s.ca("ca-2.key"), nil)
	late := start.AddDate(0, 0, 80)
	d, err := s.decide(Want{Names: []string{"a.example", "192.0.2.1"}}, late)
	if err != nil || d.Problem == nil || d.Serve[0].Keep != nil || d.Serve[1].Keep == nil || len(d.Authorities) > 0 {
		t.Fatalf("%+v, %v", d, err)
	}
	if err := d.CarryOut(s.dirs, late, validity, rand.Reader); err != nil {
		t.Fatal(err)
	}
	if NeedsRenewal(s.pairs()[0].Leaf, late) || !NeedsRenewal(s.pairs()[1].Leaf, late) {
		t.Error("the one is not renewed, or the other is")
	}
}

// An authority at its end is replaced in its place, and that is said.
func TestAnAuthorityEnds(t *testing.T) {
	s := newSite(t)
	s.names(start, "a.example")
	old := read(t, s.ca("ca.crt"))
	if d := s.names(start.AddDate(9, 10, 0), "a.example"); len(d.Authorities) > 0 {
		t.Errorf("too early: %s", d.Lines())
	}
	d := s.names(start.AddDate(9, 11, 20), "a.example")
	if len(d.Authorities) != 1 || len(d.Trust) != 1 || !strings.Contains(d.Lines(), "ends at 2036-10-29") || bytes.Equal(old, read(t, s.ca("ca.crt"))) {
		t.Errorf("%s", d.Lines())
	}
	entries, err := os.ReadDir(s.dirs.Authorities)
	if err != nil || len(entries) != 4 {
		t.Errorf("the old one is not kept: %v %v", entries, err)
	}
}

// What a power cut leaves of an authority is either none or a whole one.
func TestAPowerCutWhileAnAuthorityIsMade(t *testing.T) {
	s := newSite(t)
	s.names(start, "a.example")
	crt := read(t, s.ca("ca.crt"))
	if err := os.Rename(s.ca("ca.crt"), s.ca("ca.crt.new")); err != nil {
		t.Fatal(err)
	}
	if d := s.names(start, "a.example"); len(d.Authorities) > 0 || d.Problem != nil || !bytes.Equal(read(t, s.ca("ca.crt")), crt) {
		t.Errorf("with the key in its place: %+v", d)
	}
	s = newSite(t)
	if err := os.MkdirAll(s.dirs.Authorities, 0o755); err != nil {
		t.Fatal(err)
	}
	put(t, s.ca("ca.crt.new"), crt)
	if d := s.names(start, "a.example"); len(d.Authorities) != 1 || d.Problem != nil {
		t.Errorf("without a key: %+v", d)
	}
}

// A certificate of another CA serves the names that it is for, and takes nothing
// away from those that it is not for.
func TestAnObtainedCertificate(t *testing.T) {
	s := newSite(t)
	public := newCA(t, "a.example", "b.example")
	obtain := func(names ...string) *Checked {
		pair, err := public.IssuePair(names, start, validity, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		checked, err := CheckPair(pair.Chain, pair.Key, nil, start)
		if err != nil {
			t.Fatal(err)
		}
		return &checked
	}
	issuer := func(name string) string { return serving(s.pairs(), name).Leaf.Issuer.CommonName }
	want := Want{Names: []string{"a.example"}, Awaited: true, Origin: "obtained"}
	s.ensure(want, start) // the own authority until there is one
	want.Given = obtain("a.example")
	if d := s.ensure(want, start); d.Trust != nil {
		t.Errorf("the wait is over: %v", d.Trust)
	}
	want.Names = []string{"a.example", "b.example"}
	if d := s.ensure(want, start); d.Trust != nil || serving(s.pairs(), "a.example").Leaf != nil && !serving(s.pairs(), "a.example").Leaf.Equal(want.Given.Leaf) {
		t.Errorf("a name more takes the certificate away: %s", d.Lines())
	}
	if issuer("b.example") == public.Certificate.Subject.CommonName {
		t.Error("a certificate out of nowhere")
	}
	want.Given = obtain("a.example", "b.example")
	s.ensure(want, start)
	if len(s.pairs()) != 1 || issuer("b.example") != public.Certificate.Subject.CommonName {
		t.Errorf("%d pairs, b by %s", len(s.pairs()), issuer("b.example"))
	}
	want.Given = nil // another CA is asked from now on
	s.ensure(want, start)
	if issuer("a.example") != public.Certificate.Subject.CommonName {
		t.Error("what another CA made does not stay until the next is there")
	}
}

// The certificate is chosen by the name, or else by the address.
func TestChoose(t *testing.T) {
	pair := func(age int, names ...string) *tls.Certificate {
		ca, err := NewCA(names, start.AddDate(0, 0, -age), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		issued, err := ca.IssuePair(names, start, time.Hour, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		p, err := ParsePair(issued.Chain, issued.Key)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	byName, public, private := pair(1, "a.example", "b.example"), pair(9, "203.0.113.1", "2001:db8::1"), pair(5, "10.0.0.9", "*.c.example")
	pairs := []*tls.Certificate{byName, public, private}
	for name, tc := range map[string]struct {
		sni, reached string
		local        []string
		want         *tls.Certificate
	}{
		"the first name":      {"a.example", "10.0.0.9", nil, byName},
		"its alias":           {"B.example", "10.0.0.9", nil, byName},
		"a wildcard":          {"x.c.example", "203.0.113.1", nil, private},
		"an unknown name":     {"z.example", "10.0.0.9", nil, byName},
		"the one address":     {"", "203.0.113.1", []string{"203.0.113.1", "10.0.0.9"}, public},
		"the other":           {"", "10.0.0.9", []string{"203.0.113.1", "10.0.0.9"}, private},
		"one that is no name": {"", "10.0.0.7", []string{"203.0.113.1", "10.0.0.9", "10.0.0.7"}, byName},
		"IPv6":                {"", "2001:db8::1", []string{"203.0.113.1", "2001:db8::1", "10.0.0.9"}, public},
		"loopback":            {"", "127.0.0.1", nil, byName},
		"translated":          {"", "10.0.0.7", []string{"10.0.0.7"}, public},
		"translated to a name of another certificate: the older trust": {"", "10.0.0.9", []string{"10.0.0.9"}, public},
		"nobody knows": {"", "", nil, byName},
	} {
		reached, _ := netip.ParseAddr(tc.reached)
		got := choose(pairs, tc.sni, reached, func(ip netip.Addr) bool { return slices.Contains(tc.local, ip.String()) })
		if got != tc.want {
			t.Errorf("%s: the certificate for %v", name, Names(got.Leaf))
		}
	}
	if choose(pairs[:1], "", netip.MustParseAddr("10.0.0.9"), nil) != byName {
		t.Error("the only one is not chosen")
	}
}
