//go:build integration

package blob_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/distribution/distribution/v3/configuration"
	"github.com/distribution/distribution/v3/registry/handlers"

	"github.com/redoubt-registry/redoubt/appliance/registry/blob"
	"github.com/redoubt-registry/redoubt/appliance/registry/links"
	"github.com/redoubt-registry/redoubt/appliance/registry/uses"
	"github.com/redoubt-registry/redoubt/appliance/storage/bucket"
	"github.com/redoubt-registry/redoubt/appliance/storage/driver"
	"github.com/redoubt-registry/redoubt/appliance/storage/trash"
	"github.com/redoubt-registry/redoubt/test/proxy"
	"github.com/redoubt-registry/redoubt/test/stores"
)

// registry serves a bucket, and may send clients there.
func registry(t *testing.T, endpoint string, s *stores.Store, redirect bool) (node string, b *bucket.Bucket) {
	t.Helper()
	driver.Register()
	blob.Register()
	links.Register()
	trash.Register()
	written, guard := &links.Links{}, trash.NewGuard(time.Hour)
	params := configuration.Parameters{
		"bucket": s.NewBucket(t), "region": s.Region, "regionendpoint": endpoint, "accesskey": s.AccessKey, "secretkey": s.SecretKey, "rootdirectory": "images",
	}
	b, err := bucket.OpenDefault(params)
	if err != nil {
		t.Fatal(err)
	}
	c := &configuration.Configuration{}
	c.Storage = configuration.Storage{
		"s3": params, "redirect": {"disable": !redirect}, "cache": {"blobdescriptor": "inmemory"},
		"maintenance": {"uploadpurging": map[any]any{"enabled": false}},
	}
	c.HTTP.Secret = "secret"
	c.Middleware = map[string][]configuration.Middleware{
		"storage":  {{Name: trash.Name, Options: configuration.Parameters{trash.GuardOption: guard}}},
		"registry": {{Name: links.Name, Options: configuration.Parameters{links.Option: written}}},
		"repository": {{Name: blob.Name, Options: configuration.Parameters{blob.SourceOption: blob.Objects(b), blob.RedirectOption: redirect,
			blob.LinksOption: written, blob.UsesOption: uses.New(written), blob.GuardOption: guard}}},
	}
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	server := httptest.NewServer(handlers.NewApp(ctx, c))
	t.Cleanup(server.Close)
	return server.URL, b
}

// ask gives the answer and its body.
func ask(t *testing.T, method, target string, header http.Header, body []byte) (*http.Response, []byte) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, target, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for k, v := range header {
		req.Header[k] = v
	}
	answer, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	data, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer, data
}

// push sends a blob and gives its address.
func push(t *testing.T, node string, data []byte) (target, digest string) {
	t.Helper()
	digest = fmt.Sprintf("sha256:%x", sha256.Sum256(data))
	answer, _ := ask(t, http.MethodPost, node+"/v2/some/repo/blobs/uploads/", nil, nil)
	at, err := url.Parse(answer.Header.Get("Location"))
	if err != nil {
		t.Fatal(err)
	}
	if answer, text := ask(t, http.MethodPut, node+at.RequestURI()+"&digest="+digest, nil, data); answer.StatusCode != http.StatusCreated {
		t.Fatalf("%s: %s", answer.Status, text)
	}
	return node + "/v2/some/repo/blobs/" + digest, digest
}

func TestBlobsOfABucket(t *testing.T) {
	s := stores.MinIO(t)
	front := proxy.HTTP(t, s.Endpoint)
	node, b := registry(t, front.URL, s, false)
	data := make([]byte, 3_000_000)
	if _, err := rand.Read(data); err != nil {
		t.Fatal(err)
	}
	target, digest := push(t, node, data)
	etag := fmt.Sprintf("%q", digest)
	for name, c := range map[string]struct {
		method string
		header http.Header
		status int
		body   []byte
		calls  int // of the store's object
	}{
		"whole":         {"GET", nil, 200, data, 1},
		"head":          {"HEAD", nil, 200, nil, 0},
		"range":         {"GET", http.Header{"Range": {"bytes=100-199"}}, 206, data[100:200], 1},
		"to the end":    {"GET", http.Header{"Range": {"bytes=2999990-"}}, 206, data[2999990:], 1},
		"the last":      {"GET", http.Header{"Range": {"bytes=-10"}}, 206, data[2999990:], 2},
		"too long":      {"GET", http.Header{"Range": {"bytes=2999990-5000000"}}, 206, data[2999990:], 2},
		"beyond":        {"GET", http.Header{"Range": {"bytes=4000000-"}}, 416, nil, 1},
		"not a range":   {"GET", http.Header{"Range": {"bytes=5-1"}}, 416, nil, 1},
		"the same":      {"GET", http.Header{"If-None-Match": {etag}}, 304, nil, 0},
		"another":       {"GET", http.Header{"If-None-Match": {`"x"`}}, 200, data, 1},
		"if it is this": {"GET", http.Header{"Range": {"bytes=1-2"}, "If-Range": {etag}}, 206, data[1:3], 2},
	} {
		t.Run(name, func(t *testing.T) {
			front.Forget()
			answer, got := ask(t, c.method, target, c.header, nil)
			if answer.StatusCode != c.status || c.body != nil && !bytes.Equal(got, c.body) {
				t.Errorf("%s with %d bytes", answer.Status, len(got))
			}
			if c.status == 200 && (answer.Header.Get("Etag") != etag || answer.Header.Get("Docker-Content-Digest") != digest || answer.ContentLength != int64(len(data))) {
				t.Errorf("%v", answer.Header)
			}
			if n := front.Requests("/data"); n > c.calls {
				t.Errorf("%d requests of the store", n)
			}
		})
	}
	t.Run("two ranges", func(t *testing.T) {
		answer, got := ask(t, "GET", target, http.Header{"Range": {"bytes=0-9,2000000-2000009"}}, nil)
		if answer.StatusCode != 206 || !bytes.Contains(got, data[:10]) || !bytes.Contains(got, data[2000000:2000010]) {
			t.Errorf("%s with %d bytes", answer.Status, len(got))
		}
	})
	t.Run("gone", func(t *testing.T) {
		hex := strings.TrimPrefix(digest, "sha256:")
		if err := b.Delete(t.Context(), "docker/registry/v2/blobs/sha256/"+hex[:2]+"/"+hex+"/data"); err != nil {
			t.Fatal(err)
		}
		if answer, text := ask(t, "GET", target, nil, nil); answer.StatusCode != 404 || !strings.Contains(string(text), "BLOB_UNKNOWN") {
			t.Errorf("%s: %s", answer.Status, text)
		}
	})
}

// Clients are sent to the bucket for what they download. All else, of which many
// make something wrong when they are sent elsewhere, is answered here.
func TestWhoIsSentToTheBucket(t *testing.T) {
	s := stores.MinIO(t)
	node, _ := registry(t, s.Endpoint, s, true)
	data := make([]byte, 100_000)
	if _, err := rand.Read(data); err != nil {
		t.Fatal(err)
	}
	target, digest := push(t, node, data)
	etag := fmt.Sprintf("%q", digest)
	for name, c := range map[string]struct {
		method string
		header http.Header
		status int
	}{
		"whole":         {"GET", nil, 307},
		"range":         {"GET", http.Header{"Range": {"bytes=100-199"}}, 307},
		"to the end":    {"GET", http.Header{"Range": {"bytes=100-"}}, 307},
		"head":          {"HEAD", nil, 200},
		"the same":      {"GET", http.Header{"If-None-Match": {etag}}, 304},
		"weakly":        {"GET", http.Header{"If-None-Match": {`"x", W/` + etag}}, 304},
		"another":       {"GET", http.Header{"If-None-Match": {`"x"`}}, 200},
		"not this":      {"GET", http.Header{"If-Match": {`"x"`}}, 412},
		"two ranges":    {"GET", http.Header{"Range": {"bytes=0-9,50000-50009"}}, 206},
		"if it is this": {"GET", http.Header{"Range": {"bytes=1-2"}, "If-Range": {etag}}, 206},
	} {
		answer, got := ask(t, c.method, target, c.header, nil)
		if answer.StatusCode != c.status {
			t.Errorf("%s: %s", name, answer.Status)
		}
		if c.status == 200 && (answer.ContentLength != int64(len(data)) || answer.Header.Get("Etag") != etag) {
			t.Errorf("%s: %v", name, answer.Header)
		}
		if c.status == 206 && len(got) > 1000 {
			t.Errorf("%s: %d bytes", name, len(got))
		}
		if c.status == 307 {
			if answer, got := ask(t, "GET", answer.Header.Get("Location"), c.header, nil); answer.StatusCode > 206 || !bytes.Contains(data, got) || len(got) == 0 {
				t.Errorf("%s, at the bucket: %s, %d bytes", name, answer.Status, len(got))
			}
		}
	}
}
