package main

import (
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/redoubt-registry/redoubt/appliance/certificates/cert"
)

// TestHeld holds that a registry that has closed its connections is told from one
// that has not, although it answers new ones.
func TestHeld(t *testing.T) {
	server := httptest.NewTLSServer(http.NotFoundHandler())
	defer server.Close()
	h, err := hold(t.Context(), server.Listener.Addr().(*net.TCPAddr).Port)
	if err != nil {
		t.Fatal(err)
	}
	defer h.conn.Close()
	for range 3 {
		if err := h.alive(t.Context()); err != nil {
			t.Fatalf("while it is open: %v", err)
		}
	}
	server.CloseClientConnections()
	if err := h.alive(t.Context()); err == nil {
		t.Error("the connection was cut, and is said to be alive")
	}
}

func TestIssuer(t *testing.T) {
	server := httptest.NewTLSServer(http.NotFoundHandler())
	defer server.Close()
	chain := []*x509.Certificate{server.Certificate()}
	s := settings{dir: t.TempDir(), userData: filepath.Join(t.TempDir(), "user-data.yaml")}
	if ca, err := issuer(chain, s); err != nil || !strings.Contains(ca.proof, "does not trust") {
		t.Errorf("nothing beside the user-data: %+v %v", ca, err)
	}
	file := filepath.Join(filepath.Dir(s.userData), issuerFile)
	other, err := cert.NewCA([]string{"other.test"}, time.Now(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, want string
		root       []byte
	}{
		{"not PEM", "it is no PEM", nil},
		{"another's", "cannot check the certificate", other.Certificate.Raw},
		{"its own", "", chain[0].Raw},
	} {
		var text []byte
		if c.root != nil {
			text = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.root})
		}
		if err := os.WriteFile(file, text, 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := issuer(chain, s)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
	if text, err := os.ReadFile(filepath.Join(s.dir, caFile)); err != nil || len(text) == 0 {
		t.Errorf("the CA was not written: %v", err)
	}
}

func TestPublic(t *testing.T) {
	for text, want := range map[string]bool{"redoubt: {tls: {mode: acme}}": true, "redoubt: {tls: {mode: files}}": false, "redoubt: {}": false, "\t": false} {
		if public([]byte(text)) != want {
			t.Errorf("%q: want %t", text, want)
		}
	}
}
