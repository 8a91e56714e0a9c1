// Package gateway stands in front of an object store, as gateways do, and gets
// wrong what some get wrong: conditional writes, and answers that are lost.
package gateway

import (
	"bytes"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"github.com/redoubt-registry/redoubt/test/stores"
)

// Gateway speaks to a store for its clients. It signs each request again, with the
// store's own keys.
type Gateway struct {
	Endpoint string // its URL

	store  *stores.Store
	target *url.URL

	mu       sync.Mutex
	meddle   func(w http.ResponseWriter, r *http.Request) bool
	requests []string
}

// Start starts a gateway that passes everything on.
func Start(t stores.Owner, s *stores.Store) *Gateway {
	t.Helper()
	target, err := url.Parse(s.Endpoint)
	if err != nil {
		t.Fatal(err)
	}
	g := &Gateway{store: s, target: target}
	proxy := &httputil.ReverseProxy{
		Rewrite:   func(r *httputil.ProxyRequest) { g.sign(r.Out) },
		Transport: &http.Transport{MaxIdleConnsPerHost: 64},
		ErrorLog:  log.New(io.Discard, "", 0), // a client that goes is none
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		g.mu.Lock()
		g.requests = append(g.requests, r.Method+" "+r.URL.Path)
		meddle := g.meddle
		g.mu.Unlock()
		if meddle == nil || !meddle(w, r) {
			proxy.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(server.Close)
	g.Endpoint = server.URL
	return g
}

// sign turns a client's request into the gateway's own.
func (g *Gateway) sign(r *http.Request) {
	r.URL.Scheme, r.URL.Host, r.Host = g.target.Scheme, g.target.Host, g.target.Host
	r.Header.Del("Authorization")
	if q := r.URL.Query(); q.Has("X-Amz-Signature") { // an address for anybody
		for name := range q {
			if strings.HasPrefix(name, "X-Amz-") {
				q.Del(name)
			}
		}
		r.URL.RawQuery = q.Encode()
		r.Header.Set("X-Amz-Content-Sha256", "UNSIGNED-PAYLOAD")
	}
	keys := aws.Credentials{AccessKeyID: g.store.AccessKey, SecretAccessKey: g.store.SecretKey}
	// S3 signs the path as it is sent. The signature cannot fail but for its
	// context, which has not ended.
	_ = v4.NewSigner(func(o *v4.SignerOptions) { o.DisableURIPathEscaping = true }).
		SignHTTP(r.Context(), keys, r, r.Header.Get("X-Amz-Content-Sha256"), "s3", g.store.Region, time.Now())
}

// Send passes a request on and returns the answer, whose body is read.
func (g *Gateway) Send(r *http.Request) (*http.Response, error) {
	out := r.Clone(r.Context())
	out.RequestURI = ""
	g.sign(out)
	response, err := http.DefaultTransport.RoundTrip(out)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	response.Body = io.NopCloser(bytes.NewReader(body))
	return response, err
}

// Meddle sets what answers a request before the store does; it says whether it did.
func (g *Gateway) Meddle(f func(w http.ResponseWriter, r *http.Request) bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.meddle = f
}

// Requests are the methods and paths of those so far.
func (g *Gateway) Requests() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return append([]string(nil), g.requests...)
}

// Forget empties what Requests returns.
func (g *Gateway) Forget() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.requests = nil
}

// Ignore makes the gateway leave headers of requests out, as one that does not
// know them.
func (g *Gateway) Ignore(headers ...string) {
	g.Meddle(func(_ http.ResponseWriter, r *http.Request) bool {
		for _, h := range headers {
			r.Header.Del(h)
		}
		return false
	})
}

// TwoSteps makes the gateway keep the conditions of a write itself: it looks, and
// then it writes, and in between another does.
func (g *Gateway) TwoSteps(between time.Duration) {
	g.Meddle(func(w http.ResponseWriter, r *http.Request) bool {
		match, none := r.Header.Get("If-Match"), r.Header.Get("If-None-Match")
		if r.Method != http.MethodPut || match == "" && none == "" {
			return false
		}
		look, err := http.NewRequestWithContext(r.Context(), http.MethodHead, r.URL.String(), nil)
		if err != nil {
			panic(err)
		}
		look.Header.Set("X-Amz-Content-Sha256", "UNSIGNED-PAYLOAD")
		have, err := g.Send(look)
		if err != nil {
			w.WriteHeader(http.StatusBadGateway)
			return true
		}
		exists := have.StatusCode == http.StatusOK
		if none != "" && exists || match != "" && (!exists || have.Header.Get("ETag") != match) {
			w.WriteHeader(http.StatusPreconditionFailed)
			return true
		}
		time.Sleep(between)
		r.Header.Del("If-Match")
		r.Header.Del("If-None-Match")
		return false
	})
}

// Lose loses the answers to all requests that which says: the store has done what
// it was told, and the client's connection is cut.
func (g *Gateway) Lose(which func(r *http.Request) bool) {
	g.Meddle(func(_ http.ResponseWriter, r *http.Request) bool {
		if !which(r) {
			return false
		}
		_, _ = g.Send(r) // whatever it is, the client does not hear it
		panic(http.ErrAbortHandler)
	})
}
