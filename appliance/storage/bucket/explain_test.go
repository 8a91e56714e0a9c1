//go:build integration

package bucket_test

import (
	"crypto/tls"
	"encoding/pem"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/redoubt-registry/redoubt/appliance/storage/bucket"
	"github.com/redoubt-registry/redoubt/test/stores"
)

// What an operator can have wrong, on both stores, by what a first write says.
func TestExplain(t *testing.T) {
	each(t, func(t *testing.T, s *stores.Store) {
		good := params(s, s.NewBucket(t))
		for name, c := range map[string]struct {
			change map[string]any
			key    string
			words  string
		}{
			"wrong access key": {map[string]any{"accesskey": "nobody"}, "storage.s3.accessKey", "does not know this access key"},
			"wrong secret":     {map[string]any{"secretkey": "wrong-secret"}, "storage.s3.secretKey", "does not belong to the access key"},
			"wrong region":     {map[string]any{"region": "eu-north-7"}, "storage.s3.region", "it is in us-east-1"},
			"no such bucket":   {map[string]any{"bucket": "not-there"}, "storage.s3.bucket", "no such bucket"},
			"refused":          {map[string]any{"regionendpoint": "http://127.0.0.1:" + closedPort(t)}, "storage.s3.endpoint", "refuses the connection"},
			"no such host":     {map[string]any{"regionendpoint": "http://store.invalid"}, "storage.s3.endpoint", "store.invalid"},
			"https to http":    {map[string]any{"regionendpoint": strings.Replace(s.Endpoint, "http:", "https:", 1)}, "storage.s3.endpoint", "http://"},
		} {
			t.Run(name, func(t *testing.T) {
				all := map[string]any{}
				for k, v := range good {
					all[k] = v
				}
				for k, v := range c.change {
					all[k] = v
				}
				explained(t, all, c.key, c.words)
			})
		}
	})
}

// explained tries a write and wants it explained.
func explained(t *testing.T, params map[string]any, key, words string) {
	t.Helper()
	b := open(t, params)
	began := time.Now()
	_, err := b.Put(t.Context(), "probe", []byte("x"), bucket.Condition{})
	if err == nil {
		t.Fatal("it succeeded")
	}
	p := bucket.Explain(err)
	if p == nil || p.Key != key || !strings.Contains(p.Message, words) {
		t.Errorf("%v is explained as %+v", err, p)
	}
	if took := time.Since(began); took > longest {
		t.Errorf("it took %v", took)
	}
	if secret, ok := params["secretkey"].(string); ok && (strings.Contains(err.Error(), secret) || p != nil && strings.Contains(p.Message, secret)) {
		t.Error("the secret is in the message")
	}
}

func closedPort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

func TestExplainTLS(t *testing.T) {
	s := stores.MinIO(t, stores.Options{TLS: true})
	good := params(s, "any")
	explained(t, good, "storage.s3.caBundle", "CA that this machine does not know")

	bundle := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(bundle, []byte(s.Roots), 0o600); err != nil {
		t.Fatal(err)
	}
	good["cabundle"] = bundle
	good["bucket"] = s.NewBucket(t)
	b := open(t, good)
	if _, err := b.Put(t.Context(), "x", []byte("x"), bucket.Condition{}); err != nil {
		t.Errorf("with the store's own CA: %v", err)
	}
	if data, _, err := b.ReadAll(t.Context(), "x", 10); err != nil || string(data) != "x" {
		t.Errorf("%q, %v", data, err)
	}
	insecure := params(s, b.Settings().Bucket)
	insecure["skipverify"] = true
	if _, err := open(t, insecure).Put(t.Context(), "x", []byte("x"), bucket.Condition{}); err != nil {
		t.Errorf("without a check: %v", err)
	}

	good["regionendpoint"] = strings.Replace(s.Endpoint, "https:", "http:", 1)
	explained(t, good, "storage.s3.endpoint", "https://")
}

func pemOf(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// What the test stores cannot be made to say, from a server that answers so.
func TestExplainAnswers(t *testing.T) {
	for name, c := range map[string]struct {
		status     int
		header     http.Header
		body       string
		key, words string
	}{
		"clock":                  {403, nil, `<Error><Code>RequestTimeTooSkewed</Code><Message>too large</Message></Error>`, "storage.s3.endpoint", "clocks"},
		"moved":                  {301, http.Header{"X-Amz-Bucket-Region": {"eu-central-1"}}, `<Error><Code>PermanentRedirect</Code><Message>elsewhere</Message></Error>`, "storage.s3.region", "eu-central-1"},
		"moved, without a body":  {301, http.Header{"X-Amz-Bucket-Region": {"eu-central-1"}}, "", "storage.s3.region", "eu-central-1"},
		"malformed":              {400, nil, `<Error><Code>AuthorizationHeaderMalformed</Code><Message>the region 'us-east-1' is wrong; expecting 'ch-dk-2'</Message></Error>`, "storage.s3.region", "ch-dk-2"},
		"denied":                 {403, nil, `<Error><Code>AccessDenied</Code><Message>no</Message></Error>`, "storage.s3.accessKey", "PutObject"},
		"denied, without a body": {403, nil, "", "storage.s3.accessKey", "refuses"},
		"full":                   {507, nil, `<Error><Code>XMinioStorageFull</Code><Message>full</Message></Error>`, "storage.s3.bucket", "full"},
		"full, without a body":   {507, nil, "", "storage.s3.bucket", "full"},
		"quota":                  {403, nil, `<Error><Code>QuotaExceeded</Code><Message>full</Message></Error>`, "storage.s3.bucket", "quota"},
		"key service":            {400, nil, `<Error><Code>KMS.NotFoundException</Code><Message>no key</Message></Error>`, "storage.s3.kmsKeyID", "encryption"},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				for k, v := range c.header {
					w.Header()[k] = v
				}
				w.WriteHeader(c.status)
				_, _ = w.Write([]byte(c.body))
			}))
			defer server.Close()
			explained(t, map[string]any{"bucket": "b", "regionendpoint": server.URL, "accesskey": "a", "secretkey": "sekret"}, c.key, c.words)
		})
	}
}

// A name that the certificate has not.
func TestExplainName(t *testing.T) {
	server := httptest.NewUnstartedServer(http.NotFoundHandler())
	server.TLS = &tls.Config{}
	server.StartTLS()
	defer server.Close()
	bundle := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(bundle, pemOf(server.Certificate().Raw), 0o600); err != nil {
		t.Fatal(err)
	}
	_, port, err := net.SplitHostPort(server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	explained(t, map[string]any{
		"bucket": "b", "regionendpoint": "https://localhost:" + port, "accesskey": "a", "secretkey": "sekret", "cabundle": bundle,
	}, "storage.s3.endpoint", "another name")
}

// A server that answers nothing.
func TestExplainSilence(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	explained(t, map[string]any{"bucket": "b", "regionendpoint": "http://" + l.Addr().String(), "accesskey": "a", "secretkey": "sekret"}, "storage.s3.endpoint", "does not answer in time")
}
