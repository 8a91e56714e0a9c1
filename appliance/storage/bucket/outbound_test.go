//go:build integration

package bucket_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/redoubt-registry/redoubt/appliance/outbound"
	"github.com/redoubt-registry/redoubt/appliance/paths"
	"github.com/redoubt-registry/redoubt/appliance/storage/bucket"
	"github.com/redoubt-registry/redoubt/test/forward"
	"github.com/redoubt-registry/redoubt/test/stores"
)

// A bucket that only the proxy reaches is used through it, and one on this machine without.
// Each process has its proxy from its credential.
func TestThroughAProxy(t *testing.T) {
	s := stores.MinIO(t)
	proxy := forward.New(t, "machine", "secret-of-the-proxy")
	at := strings.TrimPrefix(s.Endpoint, "http://")
	proxy.Lead("s3.example:9000", at)
	dir := t.TempDir()
	t.Setenv("CREDENTIALS_DIRECTORY", dir)
	through := func(p outbound.Proxy) {
		t.Helper()
		data, err := json.Marshal(p)
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, paths.OutboundCredential), data, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	name := s.NewBucket(t)
	put := func(endpoint string) error {
		t.Helper()
		p := params(s, name)
		p["regionendpoint"] = endpoint
		_, err := open(t, p).Put(t.Context(), "a", noise(t, 1000), bucket.Condition{})
		return err
	}
	through(outbound.Proxy{URL: proxy.URL, Username: "machine", Password: "secret-of-the-proxy"})
	if err := put("http://s3.example:9000"); err != nil || len(proxy.Asked()) != 1 {
		t.Errorf("the proxy was asked for %v: %v", proxy.Asked(), err)
	}
	if err := put(s.Endpoint); err != nil || len(proxy.Asked()) != 1 { // loopback
		t.Errorf("the proxy was asked for %v: %v", proxy.Asked(), err)
	}
	through(outbound.Proxy{URL: proxy.URL, Username: "machine", Password: "wrong"})
	explainedAs(t, put("http://s3.example:9000"), "proxy.password", "refuses the login")
	proxy.Close()
	explainedAs(t, put("https://s3.example:9000"), "proxy.url", "cannot be reached")
}

func explainedAs(t *testing.T, err error, key, words string) {
	t.Helper()
	p := bucket.Explain(err)
	if p == nil || p.Key != key || !strings.Contains(p.Message, words) {
		t.Errorf("%v is explained as %v", err, p)
	}
}
