//go:build integration

package appliance_test

import (
	"strings"
	"testing"
	"time"

	"github.com/redoubt-registry/redoubt/appliance"
	"github.com/redoubt-registry/redoubt/appliance/system/status"
	"github.com/redoubt-registry/redoubt/units"
)

const quiet = good + "  cache: {type: memory}\n"

func (b *box) status() *status.Report {
	b.Helper()
	r, err := b.machine().Status(b.Context(), "9.9.9")
	if err != nil {
		b.Fatal(err)
	}
	return r
}

// What the documents ask for and is not in force is said until it is, or is taken back.
func TestStatusTellsWhatIsPending(t *testing.T) {
	b := newBox(t)
	b.images()
	b.userData(quiet)
	b.mustApply()
	for _, tc := range []struct {
		name, document string
		apply          bool
		want           string // empty: all is well
	}{
		{"at first", quiet, false, ""},
		{"not applied", quiet + "  log: {level: debug}\n", false, "redoubt apply --dry-run shows it"},
		{"taken back", quiet, false, ""},
		{"wrong, not applied", quiet + "  lgo: {level: debug}\n", false, "lgo: unknown key"},
		{"refused", quiet + "  lgo: {level: debug}\n", true, "lgo: unknown key"},
		{"rolled back", quiet + "  registry: {log: {fields: {a: sick}}}\n", true, "redoubt apply --dry-run shows it"},
		{"applied", quiet, true, ""},
	} {
		b.userData(tc.document)
		if tc.apply {
			if err := b.apply(); (err == nil) != (tc.want == "") {
				t.Errorf("%s: %v", tc.name, err)
			}
		}
		before := b.snapshot()
		b.out.Reset()
		r := b.status()
		if b.snapshot() != before || b.out.Len() != 0 {
			t.Errorf("%s: status changed something, or printed:\n%s", tc.name, &b.out)
		}
		if tc.want == "" && r.Verdict != status.OK || tc.want != "" && (r.Verdict != status.Degraded || !strings.Contains(strings.Join(r.Problems, " "), tc.want)) {
			t.Errorf("%s: no %q in:\n%s", tc.name, tc.want, r)
		}
	}
}

// When the certificate is renewed is known before the renewal has run, and that it does not
// run is told.
func TestStatusTellsOfTheRenewal(t *testing.T) {
	b := newBox(t)
	b.images()
	b.userData(quiet)
	b.mustApply()
	if text := b.status().String(); !strings.HasPrefix(text, "ok: ") || !strings.Contains(text, "  renews      2") {
		t.Errorf("before the first run:\n%s", text)
	}
	if err := b.tick(); err != nil {
		t.Fatal(err)
	}
	m := b.machine()
	m.Now = func() time.Time { return time.Now().Add(2 * time.Hour) }
	r, err := m.Status(t.Context(), "9.9.9")
	if err != nil || !strings.Contains(r.String(), "  - the certificate's renewal last ran at ") {
		t.Errorf("%v\n%s", err, r)
	}
	b.registry.runs[units.HealthTimer] = false
	if r := b.status(); r.Verdict != status.Degraded || !strings.Contains(r.String(), "  - redoubt-health.timer is inactive") {
		t.Errorf("a timer was stopped:\n%s", r)
	}
}

// A client's certificate that ends is told fourteen days before, once a day, until there is
// a later one.
func TestEndOfAClientsCertificate(t *testing.T) {
	b, h := newBox(t), newHook(t)
	b.images()
	b.userData(withClients + "  cache: {type: memory}\n  alerts: {webhook: \"" + h.server.URL + "/s3cret\"}\n")
	b.mustApply()
	issue := func() {
		t.Helper()
		if err := b.machine().IssueClient(appliance.ClientOptions{Name: "ci-1", Days: 90, Out: t.TempDir()}); err != nil {
			t.Fatal(err)
		}
	}
	issue()
	start := time.Now()
	for _, tc := range []struct {
		day  float64
		told int // so far
	}{{75, 0}, {76.5, 1}, {76.6, 1}, {77.6, 2}, {91, 2}} {
		m := b.machine()
		m.Now = func() time.Time { return start.Add(time.Duration(tc.day * 24 * float64(time.Hour))) }
		if err := m.Renew(t.Context(), appliance.RenewOptions{}); err != nil {
			t.Fatal(err)
		}
		if len(h.got) != tc.told {
			t.Errorf("day %v: told %v", tc.day, h.got)
		}
		r, err := m.Status(t.Context(), "9.9.9")
		if want := tc.day > 76 && tc.day < 90; err != nil || (len(r.Clients) == 1) != want || strings.Contains(r.String(), "  - client certificates end") != want {
			t.Errorf("day %v: %v\n%s", tc.day, err, r)
		}
	}
	if len(h.got) == 0 || !strings.Contains(h.got[0]["cause"].(string), "client certificates end: ci-1 on ") {
		t.Errorf("told %v", h.got)
	}
}

// So is the CA of clients that was brought.
func TestEndOfAClientCA(t *testing.T) {
	b := newBox(t)
	b.images()
	ca := authority(t, "Company", nil)
	b.put("etc/redoubt/tls/clients.crt", string(ca.certPEM()))
	b.userData(strings.Replace(withClients, "mode: optional", "mode: optional, cas: [\"file:/etc/redoubt/tls/clients.crt\"]", 1) + "  cache: {type: memory}\n")
	b.mustApply()
	if r := b.status(); r.Verdict != status.OK {
		t.Errorf("%s", r)
	}
	m := b.machine()
	m.Now = func() time.Time { return ca.certificate.NotAfter.Add(-10 * 24 * time.Hour) }
	r, err := m.Status(t.Context(), "9.9.9")
	if err != nil || !strings.Contains(strings.Join(r.Problems, " "), `the client CA "CN=Company" of tls.clientAuth.cas ends on `) {
		t.Errorf("%v\n%s", err, r)
	}
}
