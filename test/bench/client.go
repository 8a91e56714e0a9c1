package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// client speaks the distribution protocol to one server.
type client struct {
	*http.Client
	url   string
	login bool // a user and a password come with every request
}

// newClient keeps its connections, or makes one for each request.
func newClient(v *server, keep bool) *client {
	return &client{url: v.url, login: v.setup.login || v.kind == redoubt, Client: &http.Client{
		Timeout:   10 * time.Minute,
		Transport: &http.Transport{DisableKeepAlives: !keep, MaxIdleConnsPerHost: 64, TLSClientConfig: &tls.Config{RootCAs: v.roots}},
	}}
}

func (c *client) do(ctx context.Context, method, url string, body io.Reader, headers ...string) (*http.Response, error) {
	if strings.HasPrefix(url, "/") {
		url = c.url + url
	}
	req, err := http.NewRequestWithContext(ctx, method, url, body)
	if err != nil {
		return nil, err
	}
	if c.login {
		req.SetBasicAuth(user, password)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	return c.Do(req)
}

// want does a request, reads the answer, and wants the status.
func (c *client) want(ctx context.Context, status int, method, url string, body io.Reader, headers ...string) (http.Header, error) {
	resp, err := c.do(ctx, method, url, body, headers...)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return nil, err
	}
	if resp.StatusCode != status {
		return nil, fmt.Errorf("%s %s: %s, want %d", method, url, resp.Status, status)
	}
	return resp.Header, nil
}

// push stores a blob and answers its digest.
func (c *client) push(ctx context.Context, blob []byte) (string, error) {
	digest := digestOf(blob)
	return digest, c.send(ctx, bytes.NewReader(blob), digest)
}

func digestOf(parts ...[]byte) string {
	sum := sha256.New()
	for _, p := range parts {
		sum.Write(p)
	}
	return fmt.Sprintf("sha256:%x", sum.Sum(nil))
}

// send stores a blob whose digest is known, as docker does: with one PATCH.
func (c *client) send(ctx context.Context, blob io.Reader, digest string) error {
	h, err := c.want(ctx, http.StatusAccepted, http.MethodPost, "/v2/bench/blobs/uploads/", nil)
	if err != nil {
		return err
	}
	h, err = c.want(ctx, http.StatusAccepted, http.MethodPatch, h.Get("Location"), blob, "Content-Type", "application/octet-stream")
	if err != nil {
		return err
	}
	_, err = c.want(ctx, http.StatusCreated, http.MethodPut, also(h.Get("Location"), digest), nil)
	return err
}

// sendWhole stores a blob as containerd and buildx do: the PUT brings it, and its digest.
func (c *client) sendWhole(ctx context.Context, blob []byte, digest string) error {
	h, err := c.want(ctx, http.StatusAccepted, http.MethodPost, "/v2/bench/blobs/uploads/", nil)
	if err != nil {
		return err
	}
	_, err = c.want(ctx, http.StatusCreated, http.MethodPut, also(h.Get("Location"), digest), bytes.NewReader(blob), "Content-Type", "application/octet-stream")
	return err
}

// also is where an upload ends under a digest.
func also(location, digest string) string {
	if strings.Contains(location, "?") {
		return location + "&digest=" + digest
	}
	return location + "?digest=" + digest
}

// image stores an image of one small layer under the tag bench:1.
func (c *client) image(ctx context.Context) error {
	layer, err := c.push(ctx, random(1<<10))
	if err != nil {
		return err
	}
	config := []byte(`{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":["` + layer + `"]}}`)
	digest, err := c.push(ctx, config)
	if err != nil {
		return err
	}
	const oci = "application/vnd.oci.image."
	manifest := fmt.Sprintf(`{"schemaVersion":2,"mediaType":"%[1]smanifest.v1+json","config":{"mediaType":"%[1]sconfig.v1+json","digest":"%[2]s","size":%[3]d},"layers":[{"mediaType":"%[1]slayer.v1.tar","digest":"%[4]s","size":1024}]}`,
		oci, digest, len(config), layer)
	_, err = c.want(ctx, http.StatusCreated, http.MethodPut, "/v2/bench/manifests/1", strings.NewReader(manifest), "Content-Type", oci+"manifest.v1+json")
	return err
}

// manifest fetches bench:1's manifest.
func (c *client) manifest(ctx context.Context) error {
	_, err := c.want(ctx, http.StatusOK, http.MethodGet, "/v2/bench/manifests/1", nil, "Accept", "application/vnd.oci.image.manifest.v1+json")
	return err
}

// load is what came of doing the same for a while.
type load struct {
	took     []time.Duration // of those that succeeded
	failed   int
	err      error // of one of those that failed
	duration time.Duration
}

// repeat does the same with n workers at once, until ctx ends.
func repeat(ctx context.Context, n int, do func(context.Context) error) load {
	var (
		mu  sync.Mutex
		all load
		wg  sync.WaitGroup
	)
	began := time.Now()
	for range n {
		wg.Go(func() {
			var mine load
			for ctx.Err() == nil {
				at := time.Now()
				// A request in flight is finished.
				if err := do(context.WithoutCancel(ctx)); err != nil {
					mine.failed++
					mine.err = err
				} else {
					mine.took = append(mine.took, time.Since(at))
				}
			}
			mu.Lock()
			defer mu.Unlock()
			all.took = append(all.took, mine.took...)
			all.failed += mine.failed
			if mine.err != nil {
				all.err = mine.err
			}
		})
	}
	wg.Wait()
	all.duration = time.Since(began)
	slices.Sort(all.took)
	return all
}

func (l load) rate() float64 { return float64(len(l.took)) / l.duration.Seconds() }

// quantile of how long a success took, in milliseconds.
func (l load) quantile(q float64) float64 {
	if len(l.took) == 0 {
		return 0
	}
	return l.took[int(q*float64(len(l.took)-1))].Seconds() * 1000
}

// random is bytes that do not compress.
func random(n int) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{byte(rand.Uint32()), byte(rand.Uint32()), byte(rand.Uint32()), byte(rand.Uint32())})
	_, _ = r.Read(b) // never fails
	return b
}
