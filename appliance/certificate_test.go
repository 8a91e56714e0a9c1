//go:build integration

package appliance_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/redoubt-registry/redoubt/appliance"
	"github.com/redoubt-registry/redoubt/appliance/system/status"
)

// dryRun is what a dry run prints.
func (b *box) dryRun() (string, error) {
	b.Helper()
	b.out.Reset()
	b.registry.calls = nil
	b.put("run/redoubt/apply.lock", "")
	before := b.snapshot()
	err := b.machine().Apply(b.Context(), appliance.Options{DryRun: true})
	b.wantCalls("")
	if after := b.snapshot(); after != before {
		b.Errorf("a dry run wrote something; before:\n%s\nafter:\n%s", before, after)
	}
	return withoutWarnings(b.out.String()), err
}

// trusting is a client that trusts the authorities in file, as its user has fetched
// them.
func (b *box) trusting(data string) *http.Client {
	b.Helper()
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM([]byte(data)) {
		b.Fatalf("no certificate in %q", data)
	}
	// Where a name would lead: all addresses here are those of the loopback network.
	dial := func(ctx context.Context, _, address string) (net.Conn, error) {
		host, port, err := net.SplitHostPort(address)
		if err != nil || !strings.HasPrefix(host, "127.") {
			host = "127.0.0.1"
		}
		return (&net.Dialer{}).DialContext(ctx, "tcp", net.JoinHostPort(host, port))
	}
	return &http.Client{Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: pool}}}
}

func (b *box) reaches(c *http.Client, host string) error {
	r, err := c.Get("https://" + host + "/v2/")
	if err == nil {
		r.Body.Close()
	}
	return err
}

// trust is what redoubt ca trust prints.
func (b *box) trust() string {
	b.Helper()
	b.out.Reset()
	if err := b.machine().Trust(&strings.Builder{}); err != nil {
		b.Fatal(err)
	}
	return b.out.String()
}

const named = `redoubt:
  hostname: registry.example.com
`

// withoutWarnings is what was said of a plan.
func withoutWarnings(said string) string {
	return regexp.MustCompile(`(?m)^.*warning: .*\n`).ReplaceAllString(said, "")
}

// An apply does what its dry run said, certificates too, and says nothing else.
func TestADryRunSaysWhatAnApplyDoes(t *testing.T) {
	const reload = "reload   redoubt-registry.service\n"
	ca := authority(t, "Company", nil)
	for _, edit := range []struct {
		name, from, to string
		prepare        func(b *box)
		want           string // part of what both print
	}{
		{name: "first", to: named, want: `make     a certificate authority for registry.example.com: there is none yet
make     a certificate for registry.example.com: there is none yet
`},
		{name: "nothing", from: named, to: named, want: "nothing to do\n"},
		{name: "a name that the CA permits", from: named, to: named + "  aliases: [x.registry.example.com]\n",
			want: "make     a certificate for registry.example.com, x.registry.example.com: the names have changed\n"},
		{name: "one that it does not", from: named, to: named + "  aliases: [127.0.0.9]\n",
			want: `make     a certificate authority for 127.0.0.9: no authority of this machine permits it
make     a certificate for 127.0.0.9: there is none yet
trust    clients of 127.0.0.9 must fetch their CA: redoubt ca trust
`},
		{name: "a name less", from: named + "  aliases: [x.registry.example.com]\n", to: named,
			want: "make     a certificate for registry.example.com: the names have changed\n"},
		{name: "an address less", from: named + "  aliases: [x.example.org]\n", to: named,
			want: "make     a certificate for registry.example.com: the names have changed\n"},
		{name: "another hostname", from: named, to: strings.Replace(named, "registry.example.com", "other.example.com", 1),
			want: `make     a certificate authority for other.example.com: no authority of this machine permits it
make     a certificate for other.example.com: there is none yet
drop     the certificate for registry.example.com: the machine is not called so any more
trust    clients of other.example.com must fetch their CA: redoubt ca trust
`},
		{name: "another lifetime", from: named, to: named + "  tls: {internalCA: {leafValidity: 100h}}\n",
			want: "make     a certificate for registry.example.com: its lifetime has been changed to 100h0m0s\n"},
		{name: "a CA that is brought", from: named, to: named + "  tls: {internalCA: {certificate: \"file:/etc/redoubt/tls/ca.crt\", privateKey: \"file:/etc/redoubt/tls/ca.key\"}}\n",
			prepare: func(b *box) {
				b.put("etc/redoubt/tls/ca.crt", string(ca.certPEM()))
				b.put("etc/redoubt/tls/ca.key", string(ca.keyPEM(t)))
			},
			want: `make     a certificate for registry.example.com: it is of another authority
trust    clients of registry.example.com must fetch their CA: redoubt ca trust
`},
		{name: "files", from: named, to: filesMode,
			prepare: func(b *box) {
				pair := server(t, &ca, time.Time{}, "registry.example.com")
				b.put(certFile, string(pair.certPEM()))
				b.put(keyFile, string(pair.keyPEM(t)))
			},
			want: `take     the certificate for registry.example.com: tls.files has another
trust    clients of registry.example.com need the CA of the new certificate: its issuer is Company
`},
		{name: "from acme to the own CA", from: "redoubt:\n  hostname: registry.example.com\n  tls: {mode: acme, acme: {directory: \"https://127.0.0.1:1/dir\"}}\n", to: named},
		{name: "client certificates", from: named, to: named + "  tls: {clientAuth: {mode: optional}}\n",
			want: "make     the certificate authority of clients: there is none yet\n"},
		{name: "a pair that is damaged", from: named, to: named,
			prepare: func(b *box) {
				b.put("var/lib/redoubt/certificates/current/tls.key", "torn")
			},
			want: "make     a certificate for registry.example.com: cannot use the pair "},
		{name: "a registry that has not read it", from: named, to: named,
			prepare: func(b *box) {
				if err := os.Remove(filepath.Join(b.root, "run/redoubt/applied.json")); err != nil {
					t.Fatal(err)
				}
			}, want: reload},
	} {
		t.Run(edit.name, func(t *testing.T) {
			b := newBox(t)
			if edit.from != "" {
				b.userData(edit.from)
				b.mustApply()
			}
			if edit.prepare != nil {
				edit.prepare(b)
			}
			b.userData(edit.to)
			said, err := b.dryRun()
			if err != nil {
				t.Fatal(err)
			}
			b.mustApply()
			did, _, _ := strings.Cut(withoutWarnings(b.out.String()), "its CA has the SHA-256")
			did, _, _ = strings.Cut(did, "https://")
			if did != said {
				t.Errorf("the dry run said:\n%s\nthe apply:\n%s", said, did)
			}
			if !strings.Contains(said, edit.want) {
				t.Errorf("said:\n%s\nwant:\n%s", said, edit.want)
			}
			if said, err := b.dryRun(); err != nil || said != "nothing to do\n" {
				t.Errorf("afterwards: %v\n%s", err, said)
			}
		})
	}
}

// An alias that comes takes no client's trust away; who uses it is told what to
// fetch, by the dry run, by status and by an alert. One that goes takes none away
// either, nor one that comes back.
func TestAnAliasTakesNoTrustAway(t *testing.T) {
	b, h := newBox(t), newHook(t)
	base := named + "  alerts: {webhook: \"" + h.server.URL + "/s3cret\"}\n"
	b.userData(base)
	b.mustApply()
	old := b.trusting(b.trust())
	check := func(what string, c *http.Client, host string, want bool) {
		t.Helper()
		if err := b.reaches(c, host); (err == nil) != want {
			t.Errorf("%s: %s: %v", what, host, err)
		}
	}
	check("before", old, "registry.example.com", true)
	b.userData(base + "  aliases: [127.0.0.9, mirror.example.org]\n")
	b.mustApply()
	all := b.trust()
	second := b.trusting(b.get("var/lib/redoubt/ca/ca-2.crt"))
	check("the old CA alone", old, "registry.example.com", true)
	check("the old CA alone", old, "127.0.0.9", false)
	check("the new CA alone", second, "127.0.0.9", true)
	check("the new CA alone", second, "mirror.example.org", true)
	check("the new CA alone", second, "registry.example.com", false)
	for _, host := range []string{"registry.example.com", "127.0.0.9", "mirror.example.org"} {
		check("what ca trust prints", b.trusting(all), host, true)
	}
	const told = "clients of 127.0.0.9, mirror.example.org must fetch their CA: redoubt ca trust"
	if len(h.got) != 1 || !strings.Contains(h.got[0]["message"].(string), told) {
		t.Errorf("alerts: %v", h.got)
	}
	r, err := b.machine().Status(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	c := r.Certificate
	if len(c.More) != 1 || c.Authority != "/var/lib/redoubt/ca/ca.crt" || c.More[0].File != "/var/lib/redoubt/ca/ca-2.crt" ||
		strings.Join(c.More[0].Names, " ") != "mirror.example.org 127.0.0.9" || c.More[0].Fingerprint == c.Fingerprint ||
		!strings.Contains(r.String(), "also        mirror.example.org, 127.0.0.9\n  CA file     /var/lib/redoubt/ca/ca-2.crt\n") {
		t.Errorf("status:\n%s", r)
	}
	b.userData(base)
	b.mustApply()
	check("without the alias", old, "registry.example.com", true)
	b.userData(base + "  aliases: [127.0.0.9]\n")
	b.mustApply()
	check("the alias came back", second, "127.0.0.9", true)
	check("the alias came back", old, "registry.example.com", true)
	b.userData(strings.Replace(base, "registry.example.com", "other.example.com", 1) + "  aliases: [registry.example.com, 127.0.0.9]\n")
	b.mustApply()
	check("another hostname", old, "registry.example.com", true)
	check("another hostname", second, "127.0.0.9", true)
	check("another hostname", b.trusting(b.trust()), "other.example.com", true)
}

// A document that is refused for its certificate is no good one: the one before it
// serves, now and after a reboot, and it is said once.
func TestFilesThatAreMissingAreRefused(t *testing.T) {
	b := newBox(t)
	b.userData(named)
	b.mustApply()
	old := b.trusting(b.trust())
	for _, when := range []string{"dry run", "apply", "boot"} {
		b.userData(filesMode + "  log: {level: debug}\n")
		var err error
		switch when {
		case "dry run":
			_, err = b.dryRun()
		case "boot":
			b.reboot()
			err = b.apply()
		default:
			err = b.apply()
		}
		b.wantError(err, "the last good configuration serves", "user-data:4:", "tls.files.certificate: cannot read /etc/redoubt/tls/tls.crt",
			"tls.files.privateKey: cannot read /etc/redoubt/tls/tls.key")
		said := b.out.String() + err.Error()
		if strings.Count(said, "cannot read /etc/redoubt/tls/tls.crt") != 1 || strings.Contains(said, "generation 2") {
			t.Errorf("%s: it is said otherwise than once:\n%s", when, said)
		}
		if strings.Contains(b.lastGood(), "mode: files") || b.exists("var/lib/redoubt/generations/2") || strings.Contains(b.get("run/redoubt/registry.yml"), "level: debug") {
			t.Errorf("%s: what was refused is kept", when)
		}
		if err := b.reaches(old, "registry.example.com"); err != nil && when != "dry run" {
			t.Errorf("%s: %v", when, err)
		}
	}
}

// A CA that is damaged is never replaced but by a person's word: what it signed goes
// on, and the exit code, status and an alert say so.
func TestADamagedCA(t *testing.T) {
	for name, harm := range map[string]func(b *box){
		"truncated": func(b *box) { b.put("var/lib/redoubt/ca/ca.key", b.get("var/lib/redoubt/ca/ca.key")[:50]) },
		"unreadable": func(b *box) {
			path := filepath.Join(b.root, "var/lib/redoubt/ca/ca.key")
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
			if err := os.Mkdir(path, 0o700); err != nil {
				t.Fatal(err)
			}
		},
		"the certificate": func(b *box) { b.put("var/lib/redoubt/ca/ca.crt", "") },
	} {
		t.Run(name, func(t *testing.T) {
			b := newBox(t)
			b.userData(named)
			b.mustApply()
			old, serial := b.trusting(b.trust()), b.published()
			harm(b)
			dry, dryErr := b.dryRun()
			b.wantError(dryErr, "redoubt ca replace")
			if dry != "nothing to do\n" {
				t.Errorf("the dry run:\n%s", dry)
			}
			for verb, err := range map[string]error{"renew": b.tick(), "apply": b.apply()} {
				if err == nil || !strings.Contains(err.Error(), "the old certificate stays: ") || !strings.Contains(err.Error(), "redoubt ca replace") {
					t.Errorf("%s: %v", verb, err)
				}
				if b.published() != serial || b.reaches(old, "registry.example.com") != nil {
					t.Errorf("%s: the certificate in force is gone", verb)
				}
			}
			if b.exists("var/lib/redoubt/ca/ca-2.crt") {
				t.Error("a new CA was made")
			}
			if text, err := b.alert(time.Now(), "redoubt-renew.service", "exit-code"); err != nil || !strings.Contains(text, "a certificate authority of this machine is damaged") {
				t.Errorf("alert: %v %q", err, text)
			}
			r, err := b.machine().Status(t.Context(), "")
			if err != nil || r.Verdict == status.OK || !strings.Contains(r.String(), "the old certificate stays: ") {
				t.Errorf("status: %v\n%s", err, r)
			}
			b.userData(named + "  log: {level: debug}\n") // all else can be changed
			b.wantError(b.apply(), "the old certificate stays")
			if !strings.Contains(b.lastGood(), "debug") {
				t.Error("a change that has nothing to do with it is refused")
			}
			b.reboot()
			b.wantError(b.apply(), "the old certificate stays")
			if err := b.reaches(old, "registry.example.com"); err != nil {
				t.Errorf("after a reboot: %v", err)
			}
			b.out.Reset()
			if err := b.machine().ReplaceCA(t.Context(), false); err != nil {
				t.Fatal(err)
			}
			if out := b.out.String(); !strings.Contains(out, "make     a certificate authority for registry.example.com") ||
				!strings.Contains(out, "trust    clients of registry.example.com must fetch their CA") {
				t.Errorf("out:\n%s", out)
			}
			if err := b.reaches(b.trusting(b.trust()), "registry.example.com"); err != nil || b.reaches(old, "registry.example.com") == nil {
				t.Errorf("with the new CA: %v", err)
			}
			b.mustApply()
			b.wantError(b.machine().ReplaceCA(t.Context(), false), "nothing was replaced", "--all")
		})
	}
}

// A certificate that cannot be written, as on a full disk, stops nothing: the old one
// serves, after a boot too.
func TestACertificateThatCannotBeWritten(t *testing.T) {
	b := newBox(t)
	b.userData(named)
	b.mustApply()
	old, serial := b.trusting(b.trust()), b.published()
	b.userData(named + "  tls: {internalCA: {leafValidity: 100h}}\n")
	for _, when := range []string{"apply", "boot"} {
		if when == "boot" {
			b.reboot()
		}
		b.put("var/lib/redoubt/certificates/2", "in the way")
		b.wantError(b.apply(), "the old certificate stays: ")
		if err := b.reaches(old, "registry.example.com"); err != nil || b.published() != serial || b.exists("run/redoubt/maintenance.json") {
			t.Errorf("%s: %v", when, err)
		}
	}
}
