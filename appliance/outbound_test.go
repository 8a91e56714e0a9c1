//go:build integration

package appliance_test

import (
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/redoubt-registry/redoubt/appliance/paths"
	"github.com/redoubt-registry/redoubt/test/forward"
	"github.com/redoubt-registry/redoubt/test/stores"
)

const proxyPassword = "s3cret-of-the-proxy"

// The machine reaches its bucket and its webhook through the proxy that the document
// names: a wrong one changes nothing and is named by its key, and its password is root's.
func TestAProxyIsTakenUp(t *testing.T) {
	s := stores.Versity(t)
	proxy := forward.New(t, "machine", proxyPassword)
	proxy.Lead("s3.example:9000", strings.TrimPrefix(s.Endpoint, "http://"))
	told := 0
	hook := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { told++ }))
	t.Cleanup(hook.Close)
	proxy.Lead("example.com:443", hook.Listener.Addr().String())
	ca := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: hook.Certificate().Raw}))
	b := newBox(t)
	b.put("etc/redoubt/proxy-ca.pem", ca)
	bucket := s.NewBucket(t)
	document := func(url, password, noProxy string) string {
		return bucketOf(s, bucket, "endpoint", "http://s3.example:9000") + "  alerts: {webhook: \"https://example.com/hook\"}\n" +
			fmt.Sprintf("  proxy: {url: %q, username: machine, password: %q, caBundle: file:/etc/redoubt/proxy-ca.pem, noProxy: [%s]}\n", url, password, noProxy)
	}
	b.userData(good)
	b.mustApply()
	before := b.get("run/redoubt/registry.yml")
	for want, d := range map[string]string{
		"proxy.url: the proxy 127.0.0.1:1 cannot be reached": document("http://127.0.0.1:1", proxyPassword, ""),
		"proxy.password: the proxy ":                         document(proxy.URL, "wrong", ""),
	} {
		b.userData(d)
		b.wantError(b.apply(), want)
		if b.get("run/redoubt/registry.yml") != before || b.exists(paths.OutboundFile) {
			t.Errorf("%s: something was changed", want)
		}
	}
	b.userData(document(proxy.URL, proxyPassword, "10.0.0.0/8"))
	b.mustApply()
	if strings.Contains(b.out.String(), proxyPassword) {
		t.Errorf("the password is shown:\n%s", &b.out)
	}
	if info, err := os.Stat(filepath.Join(b.root, paths.OutboundFile)); err != nil || info.Mode() != 0o600 {
		t.Errorf("%v %v", info, err)
	}
	asked := len(proxy.Asked())
	if asked == 0 {
		t.Error("the proxy was not asked")
	}
	if text, err := b.alert(time.Now(), "redoubt-registry.service", ""); err != nil || told != 1 || len(proxy.Asked()) != asked+1 {
		t.Errorf("told %d times: %v %s", told, err, text)
	}
}
