//go:build integration

package acme

import (
	"net/http"
	"testing"
	"time"

	"github.com/redoubt-registry/redoubt/test/pebble"
)

func TestNoStateCertificate(t *testing.T) {
	t.Parallel()
	w := newWorld(t, pebble.Options{}, "registry.example.com")
	began := time.Now()
	m := w.issued()
	t.Logf("issued after %v", time.Since(began).Round(time.Millisecond))
	if m.Profile != "tlsserver" {
		t.Errorf("the profile is %q", m.Profile)
	}
	if m.Suggestion.Window == nil {
		t.Error("the CA was not asked when to renew")
	}
	began = time.Now()
	w.idle()
	t.Logf("nothing to do after %v", time.Since(began).Round(time.Microsecond))
	w.ca.Stop()
	w.idle() // without a request
}

func TestAddressAloneShortlived(t *testing.T) {
	t.Parallel()
	w := newWorld(t, pebble.Options{}, "127.0.0.1")
	m := w.issued()
	if m.Profile != "shortlived" {
		t.Errorf("the profile is %q", m.Profile)
	}
	if life := m.leaf().NotAfter.Sub(m.leaf().NotBefore).Round(time.Hour); life != 160*time.Hour {
		t.Errorf("it lasts %v", life)
	}
}

func TestNameAndAddressOneCertificate(t *testing.T) {
	t.Parallel()
	w := newWorld(t, pebble.Options{}, "registry.example.com", "127.0.0.1", "alias.example.com")
	p := w.front()
	w.issued()
	if n := len(p.Requests(newOrder)); n != 1 {
		t.Errorf("%d orders", n)
	}
	if leaf := w.memory().leaf(); len(leaf.DNSNames) != 2 || len(leaf.IPAddresses) != 1 {
		t.Errorf("%v %v", leaf.DNSNames, leaf.IPAddresses)
	}
}

func TestClearErrorsAndNoLoop(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		spoil func(w *world)
		words []string
	}{
		"untrusted server": {func(w *world) { w.Want.Roots = "" }, []string{"tls.acme.caBundle"}},
		"rejected name": {func(w *world) { w.Want.Names = []string{"blocked-domain.example"} },
			[]string{"gives no certificate for these names", "blocked-domain.example"}},
		"unknown profile": {func(w *world) { w.Want.Profile = "nonsense" },
			[]string{`does not offer the profile "nonsense"`, "default, shortlived, tlsserver"}},
		"no CA there": {func(w *world) { w.ca.Stop() }, []string{"the CA"}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, pebble.Options{}, "registry.example.com")
			p := w.front()
			tc.spoil(w)
			w.fails(append(tc.words, "cannot obtain a certificate", "the next try is not before")...)
			if m := w.memory(); m.Failures.Count != 1 || m.Number != 0 {
				t.Errorf("%d failures, %d certificates", m.Failures.Count, m.Number)
			}
			p.Forget()
			for range 3 {
				w.idle()
			}
			if r := p.Requests(""); len(r) > 0 {
				t.Errorf("requests after the failure: %q", r)
			}
		})
	}
}

func TestBadNonces(t *testing.T) {
	t.Parallel()
	w := newWorld(t, pebble.Options{BadNonces: 30}, "registry.example.com")
	for range 6 {
		w.issued()
		w.due()
	}
}

func TestExternalAccountBinding(t *testing.T) {
	t.Parallel()
	const key = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W"
	w := newWorld(t, pebble.Options{EAB: map[string]string{"kid-1": key}}, "registry.example.com")
	p := w.front()
	w.fails("the CA wants an external account binding", "tls.acme.eab")
	w.idle()
	w.Want.EABKeyID, w.Want.EABKey = "kid-1", "d3Jvbmc"
	w.fails("the CA refuses the account", "tls.acme.eab") // at once, since the configuration has changed
	w.Want.EABKeyID, w.Want.EABKey = "kid-2", key
	w.fails("the CA refuses the account")
	if r := p.Requests(newOrder); len(r) > 0 {
		t.Errorf("orders without an account: %q", r)
	}
	w.Want.EABKeyID, w.Want.EABKey = "kid-1", key
	w.issued()
}

func TestProfileStays(t *testing.T) {
	t.Parallel()
	w := newWorld(t, pebble.Options{}, "registry.example.com")
	w.Want.Profile = "shortlived"
	if m := w.issued(); m.Profile != "shortlived" {
		t.Errorf("the configured profile: %q", m.Profile)
	}
	w.due()
	if m := w.issued(); m.Profile != "shortlived" {
		t.Errorf("renewed with %q", m.Profile)
	}
	w.Want.Profile = ""
	if m := w.issued(); m.Profile != "tlsserver" {
		t.Errorf("no profile is configured any more: %q", m.Profile)
	}
}

// A change of the configuration is ordered at once, and another CA never hears
// of the certificate that the first one made.
func TestChangesAreOrdered(t *testing.T) {
	t.Parallel()
	w := newWorld(t, pebble.Options{}, "registry.example.com")
	first := w.issued()
	w.Want.Names = []string{"registry.example.com", "alias.example.com"}
	w.issued()
	other := newWorld(t, pebble.Options{HTTPPort: w.answer()}, "registry.example.com")
	p := other.front()
	p.Meddle(func(_ http.ResponseWriter, r *http.Request) bool {
		if id, ok := replaces(t, r); ok && id != "" {
			t.Errorf("another CA is told of %s", id)
		}
		return false
	})
	w.Want.Directory, w.Want.Roots = other.Want.Directory, other.Want.Roots
	m := w.issued()
	if m.Account.Directory != other.Want.Directory || m.Account.Location == first.Account.Location {
		t.Errorf("the account is %s at %s", m.Account.Location, m.Account.Directory)
	}
	p.Meddle(nil)
	w.Want.Email = "ops@example.com" // no reason for a certificate
	w.idle()
	w.due()
	if m := w.issued(); m.Account.Email != "ops@example.com" {
		t.Errorf("the account's address is %q", m.Account.Email)
	}
}
