package acme

import (
	"testing"
	"time"

	"github.com/redoubt-registry/redoubt/test/pebble"
)

func TestACME01NoStateCertificate(t *testing.T) {
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
