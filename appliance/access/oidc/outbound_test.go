package oidc

import (
	"encoding/json"
	"encoding/pem"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/redoubt-registry/redoubt/appliance/outbound"
	"github.com/redoubt-registry/redoubt/appliance/paths"
	"github.com/redoubt-registry/redoubt/test/forward"
	idp "github.com/redoubt-registry/redoubt/test/issuer"
)

// An issuer that only a proxy reaches is asked through it, though the proxy is on this
// machine; and no proxy is asked for a metadata service.
func TestThroughAProxy(t *testing.T) {
	i := idp.New(t, true)
	proxy := forward.New(t, "machine", "secret-of-the-proxy")
	proxy.Lead("example.com:443", i.Listener.Addr().String())
	i.URL = "https://example.com"
	dir := t.TempDir()
	data, err := json.Marshal(outbound.Proxy{URL: proxy.URL, Username: "machine", Password: "secret-of-the-proxy"})
	if err = errors.Join(err, os.WriteFile(filepath.Join(dir, paths.OutboundCredential), data, 0o600)); err != nil {
		t.Fatal(err)
	}
	t.Setenv("CREDENTIALS_DIRECTORY", dir)
	trusted := github(i)
	trusted.CABundle = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: i.Certificate().Raw})
	s, _ := open(t, trusted)
	taken(t, s, i.Token(t, audience, main))
	asked := len(proxy.Asked())
	if asked == 0 {
		t.Error("the proxy was not asked")
	}
	for _, address := range []string{"169.254.169.254", "[fd00:ec2::254]", "100.100.100.200", "127.0.0.1:1"} {
		_, err := Client(nil, false).Get("https://" + address)
		if err == nil || !strings.Contains(err.Error(), "is not asked") {
			t.Errorf("%s: %v", address, err)
		}
	}
	if len(proxy.Asked()) != asked {
		t.Errorf("the proxy was asked for %v", proxy.Asked())
	}
	proxy.Close()
	_, err = Client(nil, false).Do(must(http.NewRequest(http.MethodGet, "https://example.com", nil)))
	if err == nil || !strings.Contains(err.Error(), "the proxy") || strings.Contains(err.Error(), "secret-of") {
		t.Errorf("a dead proxy: %v", err)
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
