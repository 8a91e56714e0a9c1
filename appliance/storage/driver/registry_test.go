//go:build integration

package driver_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"sync"
	"testing"

	"github.com/distribution/distribution/v3/configuration"
	"github.com/distribution/distribution/v3/health"
	"github.com/distribution/distribution/v3/registry/handlers"
	_ "github.com/distribution/distribution/v3/registry/storage/driver/s3-aws" // registers itself: stock's

	"github.com/redoubt-registry/redoubt/appliance/storage/bucket"
	"github.com/redoubt-registry/redoubt/appliance/storage/driver"
	"github.com/redoubt-registry/redoubt/test/stores"
)

// our driver beside stock's, in one process.
const (
	oursName  = "ours"
	stockName = "s3"
)

var registerOurs = sync.OnceFunc(func() { driver.RegisterAs(oursName, bucket.NewBuffers(128*mib, "")) })

// registry runs distribution's own application on a driver.
func registry(t *testing.T, driver string, params map[string]any) string {
	t.Helper()
	registerOurs()
	c := &configuration.Configuration{}
	c.Storage = configuration.Storage{driver: params, "delete": {"enabled": true}, "maintenance": {"uploadpurging": map[any]any{"enabled": false}}}
	c.HTTP.Secret = "the same on all nodes"
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	app := handlers.NewApp(ctx, c)
	_ = health.NewRegistry()
	server := httptest.NewServer(app)
	t.Cleanup(server.Close)
	return server.URL
}

// do asks a registry and wants a status.
func do(t *testing.T, method, target string, body io.Reader, want int) *http.Response {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, target, body)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(answer.Body)
	answer.Body.Close()
	if err != nil || answer.StatusCode != want {
		t.Fatalf("%s %s gave %s, %v: %s", method, target, answer.Status, err, data)
	}
	answer.Body = io.NopCloser(bytes.NewReader(data))
	return answer
}

// location is where an upload goes on, at any node.
func location(t *testing.T, answer *http.Response, node string) string {
	t.Helper()
	u, err := url.Parse(answer.Header.Get("Location"))
	if err != nil {
		t.Fatal(err)
	}
	return node + u.RequestURI()
}

func digestOf(data []byte) string { return fmt.Sprintf("sha256:%x", sha256.Sum256(data)) }

// A way to push is a list of the requests after the first: the sizes of the
// chunks, the last of which comes with the digest.
var ways = map[string]func(size int) []int{
	"in one request":             func(size int) []int { return []int{size} },
	"in one chunk":               func(size int) []int { return []int{size, 0} },
	"in one chunk and the rest":  func(size int) []int { return []int{size / 3, size - size/3} },
	"in three chunks":            func(size int) []int { return []int{size / 3, size / 3, size - 2*(size/3), 0} },
	"in chunks that are smaller": func(size int) []int { return []int{size / 2, 10, size - size/2 - 10, 0} },
}

// push sends a blob, the request n to the node n (they repeat).
func push(t *testing.T, nodes []string, data []byte, chunks []int) {
	t.Helper()
	answer := do(t, http.MethodPost, nodes[0]+"/v2/some/repo/blobs/uploads/", nil, http.StatusAccepted)
	digest := digestOf(data)
	for i, n := range chunks {
		target := location(t, answer, nodes[(i+1)%len(nodes)])
		chunk := data[:n]
		data = data[n:]
		if i < len(chunks)-1 {
			answer = do(t, http.MethodPatch, target, bytes.NewReader(chunk), http.StatusAccepted)
			continue
		}
		answer = do(t, http.MethodPut, target+"&digest="+digest, bytes.NewReader(chunk), http.StatusCreated)
	}
}

func pull(t *testing.T, node string, want []byte) {
	t.Helper()
	answer := do(t, http.MethodGet, node+"/v2/some/repo/blobs/"+digestOf(want), nil, http.StatusTemporaryRedirect)
	answer = do(t, http.MethodGet, answer.Header.Get("Location"), nil, http.StatusOK)
	got, err := io.ReadAll(answer.Body)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%d bytes instead of %d, %v", len(got), len(want), err)
	}
}

// What one of the two drivers pushes the other one pulls, and an upload goes on
// at any node, whichever driver that has.
func TestWithStock(t *testing.T) {
	each(t, func(t *testing.T, s *stores.Store) {
		p := func() map[string]any { return params(s, "", "/images") }
		name := s.NewBucket(t)
		at := func(driver string) string {
			params := p()
			params["bucket"] = name
			return registry(t, driver, params)
		}
		one, two, stock := at(oursName), at(oursName), at(stockName)
		for way, chunks := range ways {
			for names, nodes := range map[string][]string{
				"ours": {one}, "two of ours": {one, two}, "stock": {stock}, "stock and ours": {stock, one}, "all three": {stock, one, two},
				// Before a byte was sent there is nothing that stock would find.
				"ours and stock": {one, one, stock},
			} {
				t.Run(way+" to "+names, func(t *testing.T) {
					for _, size := range []int{1000, 6 * mib, 23*mib + 5} {
						data := noise(t, size)
						push(t, nodes, data, chunks(size))
						pull(t, one, data)
						pull(t, stock, data)
					}
				})
			}
		}
		if left := leftovers(t, p, name); len(left) > 0 {
			t.Errorf("left of the uploads: %v", left)
		}
	})
}

// leftovers are what uploads left behind.
func leftovers(t *testing.T, p func() map[string]any, name string) (left []string) {
	t.Helper()
	params := p()
	params["bucket"] = name
	b, err := bucket.OpenDefault(params)
	if err != nil {
		t.Fatal(err)
	}
	for o, err := range b.List(t.Context(), "docker/registry/v2/repositories/", "", "") {
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains([]byte(o.Key), []byte("/_uploads/")) {
			left = append(left, o.Key)
		}
	}
	uploads, err := b.Multiparts(t.Context(), "docker/")
	if err != nil {
		t.Fatal(err)
	}
	for _, u := range uploads {
		left = append(left, "in parts: "+u.Key)
	}
	return left
}

// counter counts what is asked of a store.
type counter struct {
	mu    sync.Mutex
	calls []string
}

func (c *counter) in(t *testing.T, s *stores.Store) string {
	t.Helper()
	target, err := url.Parse(s.Endpoint)
	if err != nil {
		t.Fatal(err)
	}
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.Out.URL.Scheme, r.Out.URL.Host = target.Scheme, target.Host
		r.Out.Host = r.In.Host // it is signed
	}}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c.mu.Lock()
		c.calls = append(c.calls, r.Method+" "+r.URL.Path+"?"+r.URL.RawQuery)
		c.mu.Unlock()
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	return server.URL
}

func TestCallsForABlob(t *testing.T) {
	s := stores.MinIO(t)
	for _, c := range []struct {
		driver, way string
		size        int
		most        int
	}{
		{oursName, "in one chunk", 1000, 9}, {oursName, "in one request", 1000, 5}, {oursName, "in one request", 20 * mib, 9},
		{stockName, "in one chunk", 1000, 27}, {stockName, "in one request", 1000, 27},
	} {
		t.Run(fmt.Sprintf("%s %s of %d", c.driver, c.way, c.size), func(t *testing.T) {
			var calls counter
			p := params(s, s.NewBucket(t), "")
			p["regionendpoint"] = calls.in(t, s)
			node := registry(t, c.driver, p)
			data := noise(t, c.size)
			push(t, []string{node}, data, ways[c.way](c.size))
			if len(calls.calls) > c.most {
				t.Errorf("%d calls, more than %d", len(calls.calls), c.most)
			}
			for _, call := range calls.calls {
				t.Log(call)
			}
		})
	}
}
