//go:build integration

package acme

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/redoubt-registry/redoubt/appliance/certificates/dns01"
	"github.com/redoubt-registry/redoubt/test/nameserver"
	"github.com/redoubt-registry/redoubt/test/pebble"
)

// dnsWorld is a world whose CA asks a name server, and of which it reaches nothing else.
func dnsWorld(t *testing.T, names ...string) (*world, *nameserver.Server) {
	t.Helper()
	server := nameserver.New(t)
	w := newMachine(t, names...)
	w.ca = pebble.Start(t, pebble.Options{DNS: server.Address, Fresh: true})
	w.Want.Directory, w.Want.Roots = w.ca.Directory, w.ca.Roots
	w.Want.DNS = &dns01.Settings{Wait: 30 * time.Second, Resolver: server.Address, Nameservers: []string{server.Address},
		Update: dns01.Update{Server: server.Address, KeyName: "redoubt", Algorithm: "hmac-sha256", Secret: nameserver.Secret}}
	return w, server
}

// Names that the CA cannot reach, and a wildcard, are proven by records that a name server
// takes; the records do not stay.
func TestRecordsByUpdates(t *testing.T) {
	t.Parallel()
	w, server := dnsWorld(t, "registry.internal.example.com", "*.apps.internal.example.com", "apps.internal.example.com", "elsewhere.example.com")
	server.Alias("_acme-challenge.elsewhere.example.com.", "elsewhere."+nameserver.Zone) // a zone of others leaves it to ours
	server.Lag(1)
	w.issued()
	if now, ever := server.Records(); now != 0 || ever != 4 {
		t.Errorf("%d records stay of %d", now, ever)
	}
	w.idle()
}

// Each mistake names the key to fix, and never the secret.
func TestRecordsThatCannotBeMade(t *testing.T) {
	t.Parallel()
	w, server := dnsWorld(t, "registry.internal.example.com")
	good := *w.Want.DNS
	for _, c := range []struct {
		spoil func(s *dns01.Settings)
		want  string
	}{
		{func(s *dns01.Settings) { s.Update.Secret = "d3Jvbmc=" }, "tls.acme.dns.rfc2136"},
		{func(s *dns01.Settings) { s.Update.KeyName = "other" }, "tls.acme.dns.rfc2136"},
		{func(s *dns01.Settings) { s.Update.Zone = "example.net" }, "is not in the zone"},
		{func(s *dns01.Settings) { s.Update.Zone = "example.com" }, "tls.acme.dns.rfc2136.zone"},
		{func(s *dns01.Settings) { s.Update.Server = "127.0.0.1:1" }, "tls.acme.dns.rfc2136.server"},
		{func(*dns01.Settings) { server.Refuse(true) }, "does not let this key update the record"},
	} {
		changed := good
		c.spoil(&changed)
		w.Want.DNS = &changed
		w.fails(c.want)
	}
	server.Refuse(false)
	server.Lag(1 << 20)
	slow := good
	slow.Wait = time.Second
	w.Want.DNS = &slow
	w.fails("does not have the record _acme-challenge.registry.internal.example.com.")
	server.Lag(0)
	w.Want.DNS = &good
	w.issued()
	if now, _ := server.Records(); now != 0 {
		t.Errorf("%d records stay", now)
	}
}

// A web service makes the records.
func TestRecordsByAHook(t *testing.T) {
	t.Parallel()
	w, server := dnsWorld(t, "registry.internal.example.com")
	update := w.Want.DNS.Update
	made := dns01.New(dns01.Settings{Update: update, Resolver: server.Address})
	var asked []string
	hook := httptest.NewServer(http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) {
		var body struct{ FQDN, Value string }
		user, password, _ := r.BasicAuth()
		if json.NewDecoder(r.Body).Decode(&body) != nil || user != "machine" || password != "secret-of-the-hook" {
			out.WriteHeader(http.StatusUnauthorized)
			return
		}
		asked = append(asked, r.URL.Path+" "+body.FQDN)
		if r.URL.Path == "/acme/present" {
			if err := made.Add(r.Context(), dns01.Record{Name: body.FQDN, Value: body.Value}); err != nil {
				t.Error(err)
			}
		} else if err := made.Remove(r.Context()); err != nil {
			t.Error(err)
		}
	}))
	t.Cleanup(hook.Close)
	w.Want.DNS.Update = dns01.Update{}
	w.Want.DNS.Hook = dns01.Hook{URL: hook.URL + "/acme", Username: "machine", Password: "wrong"}
	w.fails("tls.acme.dns.hook refuses the login")
	w.Want.DNS.Hook.Password = "secret-of-the-hook"
	w.issued()
	if now, ever := server.Records(); now != 0 || ever != 1 || len(asked) != 2 || asked[0] != "/acme/present _acme-challenge.registry.internal.example.com." {
		t.Errorf("%d of %d records stay: %v", now, ever, asked)
	}
}
