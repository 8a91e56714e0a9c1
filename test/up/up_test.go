package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/redoubt-registry/redoubt/appliance/certificates/cert"
)

func TestFindCA(t *testing.T) {
	make := func() (*cert.CA, *x509.Certificate) {
		ca, err := cert.NewCA([]string{"registry.test"}, time.Now(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		leaf, err := ca.Issue(key.Public(), []string{"registry.test"}, time.Now(), time.Hour, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		return ca, leaf
	}
	ca, leaf := make()
	other, _ := make()
	sum := sha256.Sum256(ca.Certificate.Raw)
	colons := strings.TrimSuffix(strings.ReplaceAll(fmt.Sprintf("% X", sum), " ", ":"), ":")
	for _, c := range []struct {
		name, console, proof string
		sent                 []*x509.Certificate
	}{
		{"sent", "", "loopback", []*x509.Certificate{leaf, ca.Certificate}},
		{"sent and shown", "CA SHA-256 " + colons + "\n", "console", []*x509.Certificate{leaf, ca.Certificate}},
		{"shown whole", "x\n" + string(ca.PEM()) + fmt.Sprintf("%x", sum), "console", []*x509.Certificate{leaf}},
		{"leaf alone", "", "", []*x509.Certificate{leaf}},
		{"another's CA", string(other.PEM()), "", []*x509.Certificate{leaf, other.Certificate}},
	} {
		root, got, err := findCA(c.sent, c.console)
		if (err == nil) != (c.proof != "") {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if err == nil && (!root.Equal(ca.Certificate) || !strings.Contains(got.proof, c.proof)) {
			t.Errorf("%s: proof %q, want %q", c.name, got.proof, c.proof)
		}
	}
}

func TestMaintenanceAnswer(t *testing.T) {
	for body, want := range map[string]bool{
		`{"errors":[{"code":"UNAVAILABLE","message":"m is in maintenance: user-data:4:10: nodes","detail":{"errors":[{"line":4}]}}]}`: true,
		`{"errors":[{"code":"UNAVAILABLE","message":"the registry's storage is not available"}]}`:                                     false,
		`not JSON`: false,
	} {
		if err := maintenance([]byte(body)); errors.Is(err, errMaintenance) != want {
			t.Errorf("%s: %v, want maintenance %t", body, err, want)
		}
	}
}

// A document with mistakes is not booted, or only by force, and then the mistakes are
// shown all the same, and nobody is promised its users.
func TestRefusedUserData(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "user-data.yaml")
	if err := os.WriteFile(file, []byte("redoubt:\n  hostnme: a\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, force := range []bool{false, true} {
		var out strings.Builder // cat knows no file called validate, and fails
		data, valid, err := settings{userData: file, agent: "cat", force: force}.readUserData(&out)
		if valid || !strings.Contains(out.String(), "hostnme") || (err == nil) != force || (data != nil) != force {
			t.Errorf("force %t: %t, %v, %q\n%s", force, valid, err, data, out.String())
		}
	}
	var out strings.Builder
	describe(&out, settings{dir: dir, port: 8443}, nil, authority{fingerprint: "00"}, 0)
	if !strings.Contains(out.String(), "docker login localhost:8443 -u NAME\n") {
		t.Errorf("whose login?\n%s", out.String())
	}
}

func TestSettings(t *testing.T) {
	for _, c := range []struct{ name, value, want string }{
		{"PORT", "many", "cannot use PORT=many"},
		{"PORT", "0", "from 1 to 65535"},
		{"HTTP_PORT", "65536", "from 1 to 65535"},
	} {
		_, err := readSettings(func(name string) string {
			if name == c.name {
				return c.value
			}
			return ""
		})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s=%s: %v, want %q", c.name, c.value, err, c.want)
		}
	}
	data := []byte("#cloud-config\nredoubt:\n  auth:\n    users: [{name: carol}]\n")
	if got := firstUser(data); got != "carol" {
		t.Errorf("the first user is %s, want carol", got)
	}
}
