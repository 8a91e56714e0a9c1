package doctor_test

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/redoubt-registry/redoubt/appliance/system/doctor"
)

func TestFindings(t *testing.T) {
	at := func(addresses ...string) []netip.Addr {
		var all []netip.Addr
		for _, a := range addresses {
			all = append(all, netip.MustParseAddr(a))
		}
		return all
	}
	mine := at("192.0.2.1", "2001:db8::1")
	built := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, tc := range []struct {
		got   doctor.Finding
		grade doctor.Grade
		says  string
	}{
		{doctor.Name("a.test", at("192.0.2.1"), nil, mine), doctor.Well, "leads here"},
		{doctor.Name("a.test", at("::ffff:192.0.2.1"), nil, mine), doctor.Well, "192.0.2.1"},
		{doctor.Name("a.test", at("198.51.100.7", "2001:db8::1"), nil, mine), doctor.Well, "leads here"},
		{doctor.Name("a.test", at("198.51.100.7"), nil, mine), doctor.Notice, "leads to 198.51.100.7, and this machine has 192.0.2.1, 2001:db8::1"},
		{doctor.Name("a.test", nil, errors.New("no such host"), mine), doctor.Problem, "no such host"},
		{doctor.Name("a.test", nil, errors.New("no such host"), nil), doctor.Problem, "a.test"},
		{doctor.Name("192.0.2.1", nil, nil, mine), doctor.Well, "an address of this machine"},
		{doctor.Name("198.51.100.7", nil, nil, mine), doctor.Notice, "no address of this machine"},
		{doctor.Proxy("http://proxy.test:3128", nil), doctor.Well, "can be reached"},
		{doctor.Proxy("http://proxy.test:3128", errors.New("refused")), doctor.Problem, "refused"},
		{doctor.Clock(true, built.Add(time.Hour), built), doctor.Well, "keeps"},
		{doctor.Clock(false, built.Add(time.Hour), built), doctor.Problem, "no time server"},
		{doctor.Clock(true, built.Add(-time.Hour), built), doctor.Problem, "before this program"},
		{doctor.Disk("/x", 20, 100, 0, 0), doctor.Well, "/x"},
		{doctor.Disk("/x", 9, 100, 50, 100), doctor.Problem, "left of"},
		{doctor.Disk("/x", 90, 100, 9, 100), doctor.Problem, "inodes"},
		{doctor.Disk("/x", 0, 0, 0, 0), doctor.Well, "/x"},
		{doctor.Memory(500<<20, 1<<30), doctor.Well, "available"},
		{doctor.Memory(60<<20, 256<<20), doctor.Problem, "available"},
		{doctor.Memory(100<<20, 2<<30), doctor.Problem, "available"},
		{doctor.State("the disk is gone"), doctor.Problem, "gone"},
		{doctor.AllWell(), doctor.Well, "well"},
	} {
		if tc.got.Grade != tc.grade || !strings.Contains(tc.got.Found, tc.says) {
			t.Errorf("got %+v, want %s with %q", tc.got, tc.grade, tc.says)
		}
		if needs := tc.grade != doctor.Well && tc.got.Check != "machine"; needs != (tc.got.Cure != "") {
			t.Errorf("the cure of %+v", tc.got)
		}
	}
}

func TestReport(t *testing.T) {
	r := doctor.Report{doctor.AllWell(), doctor.State("bad\x1b[31m"), doctor.Memory(1, 1<<30)}
	if err := r.Err(); err == nil || err.Error() != "2 problems" {
		t.Error(err)
	}
	text := r.String()
	if strings.Contains(text, "\x1b") || !strings.HasPrefix(text, "problem  machine  bad") || strings.Index(text, "ok ") < strings.Index(text, "memory") {
		t.Errorf("got:\n%s", text)
	}
	if err := r[:1].Err(); err != nil {
		t.Error(err)
	}
}
